"""What only embeddings have: words, padding, and an output layer that is tied to them."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.func import functional_call
from transformers import LlamaForCausalLM

from lora_dropout.injection import adapted_layers
from lora_dropout.peft import LoraDropoutConfig
from tests.lora_dropout.peft.models import batch, randomize, tied_llama


def test_a_dropped_word_has_the_frozen_embedding_wherever_it_stands():
    base = nn.Embedding(9, 4)
    config = LoraDropoutConfig(r=2, target_modules=["0"], dropout_rate=0.5, dropout_rate_out=0.0)
    model = randomize(get_peft_model(nn.Sequential(base), config)).train()
    dropped = adapted_layers(model)[0][1].mask_in == 0
    assert 0 < dropped.sum() < 9
    words = torch.arange(9).repeat(3, 2)
    changed = (model(words) != base(words)).any(-1)
    assert torch.equal(changed, ~dropped[words])


def test_padding_is_not_trained():
    config = LoraDropoutConfig(r=2, target_modules=["0"], dropout_rate=0.2)
    model = get_peft_model(nn.Sequential(nn.Embedding(9, 4, padding_idx=3)), config)
    model = randomize(model).train()
    (_, masks), = adapted_layers(model)  # fmt: skip
    model(torch.arange(9)).square().sum().backward()
    trained = masks.factors[0].grad.abs().sum(0) > 0
    assert not trained[3]
    assert torch.equal(trained, masks.mask_in.bool() & (torch.arange(9) != 3))


def tied(config, **settings):
    targets = {"target_modules": ["embed_tokens", "lm_head"], "ensure_weight_tying": True}
    return get_peft_model(tied_llama(), config(r=2, **targets, **settings))


def masked_logits(model, ids):
    """Logits of the tied weight plus each layer's masked update, computed without PEFT."""
    base = model.base_model.model
    weights, frozen = {}, base.model.embed_tokens.base_layer.weight.detach()
    for name, masks in adapted_layers(model):
        A, B, scaling = masks.low_rank()
        update = scaling * (B * masks.mask_out[:, None]) @ (A * masks.mask_in)
        place = "lm_head" if "lm_head" in name else "model.embed_tokens"
        weights[f"{place}.weight"] = frozen + (update if place == "lm_head" else update.mT)
    untied = tied_llama()
    untied.lm_head.weight = nn.Parameter(untied.lm_head.weight.detach().clone())
    return functional_call(untied, weights, kwargs=ids, tie_weights=False).logits


IDS = {"input_ids": batch()["input_ids"]}


def test_an_output_layer_that_is_tied_by_the_adapter_has_masks_of_its_own():
    model = randomize(tied(LoraDropoutConfig, dropout_rate=0.5)).train()
    head, words = model.base_model.model.lm_head, model.base_model.model.model.embed_tokens
    assert torch.equal(head.lora_A.default.weight, words.lora_embedding_B.default.mT)
    torch.testing.assert_close(model(**IDS).logits, masked_logits(model, IDS))


def test_at_rate_0_a_tied_output_layer_is_pefts():
    models = tied(LoraDropoutConfig, dropout_rate=0.0), tied(LoraConfig)
    one, other = (randomize(model)(**IDS).logits for model in models)
    assert torch.equal(one, other)


TARGETS = {
    "tied by the adapter": {
        "target_modules": ["embed_tokens", "lm_head"], "ensure_weight_tying": True
    },
    "output alone": {"target_modules": ["lm_head"]},
    "embedding alone": {"target_modules": ["embed_tokens"]},
}  # fmt: skip


# PEFT says that merging can lead to complications, and that the weights are tied no longer.
@pytest.mark.filterwarnings(
    "ignore:Model (with|has) `tie_word_embeddings", "ignore:Input and output embeddings",
    "ignore:Setting `save_embedding_layers`",
)  # fmt: skip
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_merging_into_a_tied_weight_changes_no_output(targets, tmp_path):
    """Each layer gets its own weight; PEFT's merging would change that of the other one, too."""
    model = get_peft_model(tied_llama(), LoraDropoutConfig(r=2, dropout_rate=0.5, **targets))
    randomize(model).eval()
    expected = model(**IDS).logits
    model.save_pretrained(tmp_path / "adapter")
    read = PeftModel.from_pretrained(tied_llama(), tmp_path / "adapter")
    torch.testing.assert_close(read(**IDS).logits, expected)
    for safe in (False, True):
        model.merge_adapter(safe_merge=safe)
        torch.testing.assert_close(model(**IDS).logits, expected)
        model.double().unmerge_adapter()
        torch.testing.assert_close(model(**IDS).logits, expected, check_dtype=False)
        model.float()
        base = model.base_model.model
        one, other = base.get_input_embeddings(), base.get_output_embeddings()
        assert getattr(one, "base_layer", one).weight is getattr(other, "base_layer", other).weight
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(**IDS).logits, expected)
    merged.save_pretrained(tmp_path / "merged")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(again(**IDS).logits, expected)


@pytest.mark.filterwarnings("ignore:Model (with|has) `tie_word_embeddings")
@pytest.mark.filterwarnings("ignore:Already following adapters were merged")
@pytest.mark.parametrize("safe", [False, True])
def test_adapters_of_dora_are_merged_into_a_tied_weight_together(safe):
    """PEFT takes out those before, to find the norm; the weight was then the shared one again."""
    settings = {"r": 2, "dropout_rate": 0.5, "target_modules": ["lm_head"]}
    model = get_peft_model(tied_llama(), LoraDropoutConfig(**settings))
    model.add_adapter("dora", LoraDropoutConfig(**settings, use_dora=True))
    model.base_model.set_adapter(["default", "dora"])
    expected = randomize(model).eval()(**IDS).logits
    model.merge_adapter(safe_merge=safe)
    torch.testing.assert_close(model(**IDS).logits, expected)
    model.unmerge_adapter()
    torch.testing.assert_close(model(**IDS).logits, expected)
    base = model.base_model.model
    assert base.lm_head.base_layer.weight is base.model.embed_tokens.weight


@pytest.mark.filterwarnings("ignore:Model (with|has) `tie_word_embeddings")
def test_nothing_is_merged_into_rows_that_are_trained_themselves():
    """Of an output layer that is tied to trained tokens; the update was lost in their rows."""
    config = LoraDropoutConfig(
        r=2, dropout_rate=0.5, target_modules=["q_proj", "lm_head"],
        trainable_token_indices={"embed_tokens": [1, 5]},
    )  # fmt: skip
    model = randomize(get_peft_model(tied_llama(), config)).eval()
    expected = model(**IDS).logits
    before = str(model)
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(ValueError, match="trainable_token_indices replaces rows"):
            merge()
        assert str(model) == before
        assert model.get_model_status().merged_adapters == []
    assert torch.equal(model(**IDS).logits, expected)


def test_peft_itself_merges_it_wrongly():
    """Which is why it is done otherwise here: once this fails, PEFT does it as well."""
    model, ids = randomize(tied(LoraConfig)).eval(), {"input_ids": batch()["input_ids"]}
    expected = model(**ids).logits
    with pytest.warns(UserWarning, match="tie_word_embeddings"):
        merged = model.merge_and_unload()
    assert (merged(**ids).logits - expected).abs().max() > 0.1

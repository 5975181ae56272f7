"""What only embeddings have: words, padding, and an output layer that is tied to them."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

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


def test_an_output_layer_that_is_tied_by_the_adapter_is_refused():
    with pytest.raises(ValueError, match=r"lm_head, which shares .* adds the update twice"):
        tied(LoraDropoutConfig, dropout_rate=0.5)
    tied(LoraDropoutConfig, dropout_rate=0.0)


def test_peft_itself_merges_it_wrongly():
    """Which is why it is refused: once this fails, PEFT does better and it can be allowed."""
    model, ids = randomize(tied(LoraConfig)).eval(), {"input_ids": batch()["input_ids"]}
    expected = model(**ids).logits
    with pytest.warns(UserWarning, match="tie_word_embeddings"):
        merged = model.merge_and_unload()
    assert (merged(**ids).logits - expected).abs().max() > 0.1

"""Generation by an ensemble: next token by averaged logits, one part of the cache a member."""

import pytest
import torch
from peft import get_peft_model
from transformers import T5Config, T5ForConditionalGeneration

from lora_dropout import Ensemble, members
from lora_dropout.injection import adapted_layers
from lora_dropout.peft import ensemble_generation
from tests.lora_dropout.peft.models import adapted, batch, lora, randomize

NEW = 5


def prompt():
    inputs = batch(rows=2, causal=True)
    inputs["attention_mask"][0, :2] = 0
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def likeliest(logits):
    return logits.argmax(-1, keepdim=True)


def sampled(logits):
    return torch.multinomial(logits.softmax(-1), 1)


def by_hand(model, inputs, size, choose=likeliest):
    """Generate without a cache: every step runs all members over the whole text."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    for _ in range(NEW):
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.no_grad():
            logits = Ensemble(model, size, lambda result: result.logits)(
                input_ids=ids, attention_mask=mask, position_ids=positions
            )
        token = choose(logits[:, -1])
        ids, mask = torch.cat([ids, token], 1), torch.cat([mask, torch.ones_like(token)], 1)
    return ids


@pytest.mark.parametrize("size", [1, 3])
def test_greedy_search_follows_the_averaged_logits(size):
    model = adapted("llama", p=0.5).eval()
    expected = by_hand(model, prompt(), size)
    with ensemble_generation(model, size):
        found = model.generate(**prompt(), max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    assert found.tolist() == expected.tolist()


def test_members_matter():
    """Otherwise the test above would hold without any masks."""
    model = adapted("llama", p=0.5).eval()
    texts = {tuple(by_hand(model, prompt(), size)[1].tolist()) for size in range(1, 7)}
    assert len(texts) > 1


def test_sampling_draws_one_text_for_all_members():
    model = adapted("llama", p=0.5).eval()
    torch.manual_seed(0)
    expected = by_hand(model, prompt(), 3, sampled)
    torch.manual_seed(0)
    with ensemble_generation(model, 3):
        found = model.generate(**prompt(), max_new_tokens=NEW, do_sample=True, pad_token_id=0)
    assert found.tolist() == expected.tolist() != by_hand(model, prompt(), 3).tolist()


def test_afterwards_the_model_is_as_before():
    model = adapted("llama", p=0.5).eval()
    inputs = batch(causal=True)
    with torch.no_grad():
        before = model(**inputs).logits
        with ensemble_generation(model, 3):
            model.generate(**prompt(), max_new_tokens=2, do_sample=False, pad_token_id=0)
        torch.testing.assert_close(model(**inputs).logits, before, rtol=0, atol=0)
    assert [number for number in members(model, 2)] == [0, 1]


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_1_are_refused(size):
    with pytest.raises(ValueError, match="at least 1"), ensemble_generation(adapted("llama"), size):
        pass


def test_beams_are_refused():
    model = adapted("llama").eval()
    with (
        pytest.raises(ValueError, match="no beams"),
        ensemble_generation(model, 2),
    ):
        model.generate(**prompt(), max_new_tokens=3, num_beams=2, do_sample=False, pad_token_id=0)


def test_a_loss_is_refused_as_it_would_be_the_members_and_not_the_averages():
    model = adapted("llama", p=0.5).eval()
    with pytest.raises(ValueError, match="computes no loss"), ensemble_generation(model, 2):
        model(**prompt(), labels=prompt()["input_ids"])


def test_another_adapter_set_meanwhile_is_an_ensemble_too():
    model = adapted("llama", p=0.5).eval()
    model.add_adapter("other", lora(["q_proj"], "CAUSAL_LM", p=0.5, mask_seed=4))
    randomize(model)
    model.set_adapter("other")
    expected = by_hand(model, prompt(), 3)
    model.set_adapter("default")
    with ensemble_generation(model, 3):
        model.set_adapter("other")
        found = model.generate(**prompt(), max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    assert found.tolist() == expected.tolist()
    assert {masks.inference for _, masks in adapted_layers(model)} == {"expected weight"}


def t5():
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2,
        decoder_start_token_id=0, eos_token_id=39,
    )  # fmt: skip
    model = get_peft_model(T5ForConditionalGeneration(config), lora(["q", "v"], "SEQ_2_SEQ_LM"))
    return randomize(model).eval()


def test_an_encoder_is_a_member_too():
    """Greedily, without a cache, each member with its own encoder."""
    model, size = t5(), 3
    inputs = prompt()
    tokens = torch.zeros(2, 1, dtype=torch.long)
    for _ in range(NEW):
        with torch.no_grad():
            logits = Ensemble(model, size, lambda result: result.logits)(
                **inputs, decoder_input_ids=tokens
            )
        tokens = torch.cat([tokens, likeliest(logits[:, -1])], 1)
    with ensemble_generation(model, size):
        found = model.generate(**inputs, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
    assert found.tolist() == tokens.tolist()
    with torch.no_grad(), ensemble_generation(model, size):
        called = model(**inputs, decoder_input_ids=tokens).logits
        expected = Ensemble(model, size, lambda result: result.logits)
    torch.testing.assert_close(called, expected(**inputs, decoder_input_ids=tokens).detach())


def test_what_generates_nothing_is_refused():
    with pytest.raises(ValueError, match="generates nothing"), ensemble_generation(adapted(), 2):
        pass

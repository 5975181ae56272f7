"""Factors loaded into the place of others mean there what they meant, or are refused."""

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import hotswap, loftq_utils

from tests.lora_dropout.peft.models import batch, bert, lora, randomize

TARGETS = ["query", "value"]
OTHERS = {
    "rate": lora(TARGETS, p=0.6),
    "inference": lora(TARGETS, inference="no masks"),
    "without dropout": LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, task_type="SEQ_CLS"),
    "alpha": lora(TARGETS, lora_alpha=16),
    "alpha of a layer": lora(TARGETS, alpha_pattern={"value": 2}),
}


def saved(folder, config, seed):
    model = randomize(get_peft_model(bert(), config), seed)
    model.save_pretrained(folder)
    return model


def logits(model):
    with torch.no_grad():
        return model.eval()(**batch()).logits


def peft_loads(first, second):
    model = PeftModel.from_pretrained(bert(), first)
    model.load_adapter(second, "default")
    return model


def transformers_swaps(first, second):
    model = bert()
    model.load_adapter(first, adapter_name="default")
    model.load_adapter(second, adapter_name="default", hotswap=True)
    return model


@pytest.mark.parametrize("load", [peft_loads, transformers_swaps])
def test_factors_of_the_same_settings_are_loaded_in_place(load, tmp_path):
    saved(tmp_path / "first", lora(TARGETS), seed=1)
    second = saved(tmp_path / "second", lora(TARGETS), seed=2)
    loaded = load(tmp_path / "first", tmp_path / "second")
    torch.testing.assert_close(logits(loaded), logits(second), rtol=0, atol=0)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("load", [peft_loads, transformers_swaps])
def test_factors_that_mean_something_else_are_refused(load, other, tmp_path):
    """The rate, and (1-p)^2 with it, would stay those of the adapter before."""
    saved(tmp_path / "first", lora(TARGETS), seed=1)
    saved(tmp_path / "second", OTHERS[other], seed=2)
    with pytest.raises(ValueError, match="under a name of their own"):
        load(tmp_path / "first", tmp_path / "second")


def peft_takes(folder, config):
    return PeftModel.from_pretrained(bert(), folder, config=config)


def peft_takes_its_own(folder, config):
    """Onto a name that a plain adapter has."""
    model = get_peft_model(bert(), config)
    model.load_adapter(folder, "default")
    return model


def transformers_takes(folder, config):
    model = bert()
    model.load_adapter(folder, peft_config=config)
    return model


@pytest.mark.parametrize("load", [peft_takes, peft_takes_its_own, transformers_takes])
def test_a_config_that_is_given_beside_the_factors_is_asked(load, tmp_path):
    """Also a plain one, under which (1-p)^2 would be lost."""
    model = saved(tmp_path, lora(TARGETS), seed=1)
    for name in ("without dropout", "rate"):
        with pytest.raises(ValueError, match="under a name of their own"):
            load(tmp_path, OTHERS[name])
    loaded = load(tmp_path, lora(TARGETS))
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=0)


def test_factors_without_a_config_of_their_own_are_taken_as_they_are(tmp_path):
    model = saved(tmp_path, lora(TARGETS), seed=1)
    (tmp_path / "adapter_config.json").unlink()
    loaded = peft_takes(tmp_path, lora(TARGETS))
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=0)


@pytest.mark.parametrize("other", [lora(TARGETS, p=0.6), lora(TARGETS, lora_alpha=16)])
def test_a_state_dict_of_other_settings_is_loaded_with_a_warning(other):
    state = get_peft_model(bert(), lora(TARGETS)).state_dict()
    get_peft_model(bert(), lora(TARGETS)).load_state_dict(state)
    with pytest.warns(UserWarning, match="in eval.. their update is too large or too small"):
        get_peft_model(bert(), other).load_state_dict(state)


def test_loftq_is_refused_where_its_share_of_the_weight_would_be_dropped():
    model = get_peft_model(bert(), lora(TARGETS))
    for function in (peft.replace_lora_weights_loftq, loftq_utils.replace_lora_weights_loftq):
        with pytest.raises(ValueError, match="a part of the frozen weight into the update"):
            function(model)


def test_factors_swapped_by_hand_are_asked_too():
    model = get_peft_model(bert(), lora(TARGETS))
    with pytest.raises(ValueError, match="under a name of their own"):
        hotswap.hotswap_adapter_from_state_dict(model, {}, "default", lora(TARGETS, p=0.6))


PATTERNS = [{"rank_pattern": {"query": 2}}, {"alpha_pattern": {"query": 2}}]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_ranks_and_alphas_by_layer_are_not_swapped_in_as_peft_scales_them_wrongly(
    pattern, tmp_path
):
    """PEFT compares a pattern with names of parameters, which it never matches."""
    get_peft_model(bert(), lora(TARGETS, **pattern)).save_pretrained(tmp_path)
    model = get_peft_model(bert(), lora(TARGETS, **pattern))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="under a name of its own"):
        hotswap.hotswap_adapter(model, tmp_path, "default", torch_device="cpu")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_peft_itself_scales_them_wrongly(pattern, tmp_path):
    settings = {"r": 4, "target_modules": TARGETS, "init_lora_weights": False} | pattern
    other = get_peft_model(bert(), LoraConfig(**settings))
    other.save_pretrained(tmp_path)
    model = get_peft_model(bert(), LoraConfig(**settings))
    hotswap.hotswap_adapter(model, tmp_path, "default", torch_device="cpu")
    name = "base_model.model.bert.encoder.layer.0.attention.self.query"
    assert model.get_submodule(name).scaling != other.get_submodule(name).scaling

"""What PEFT has adapted already is not adapted again by ``inject``, and the reverse."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from lora_dropout import inject, merge
from lora_dropout.peft import LoraDropoutConfig

CONFIGS = (
    LoraConfig(r=2, target_modules=["0"]),
    LoraDropoutConfig(r=2, target_modules=["0"], dropout_rate=0.3),
)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_model_with_adapters_of_peft_is_refused_and_unchanged(config):
    model = get_peft_model(nn.Sequential(nn.Linear(4, 3)), config)
    known = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with pytest.raises(ValueError, match=r"the model has adapters of PEFT \(itself\)"):
        inject(model, rank=2, p=0.3)
    with pytest.raises(ValueError, match=r"the model has adapters of PEFT \(0\)"):
        inject(model.base_model.model, rank=2, p=0.3)
    assert {name: one.requires_grad for name, one in model.named_parameters()} == known


def test_a_merged_model_is_adapted():
    model = get_peft_model(
        nn.Sequential(nn.Linear(4, 3)), LoraConfig(r=2, target_modules=["0"])
    ).merge_and_unload()
    assert len(inject(model, rank=2, p=0.3).state_dict()) > 2


@pytest.mark.parametrize("target", ["all-linear", ["1"]])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_a_model_with_layers_of_inject_is_refused_and_unchanged(target, rate):
    """Their factors would be neither saved nor merged."""
    model = inject(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), rank=2, p=0.3, target="0")
    known = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    config = LoraDropoutConfig(r=2, target_modules=target, dropout_rate=rate)
    with pytest.raises(ValueError, match=r"the model has layers of inject\(\) \(0\)"):
        get_peft_model(model, config)
    assert {name: one.requires_grad for name, one in model.named_parameters()} == known
    assert get_peft_model(merge(model), config).peft_config["default"].r == 2


def test_a_layer_that_peft_adapted_in_its_turn_is_not_merged_without_its_update():
    model = inject(nn.Sequential(nn.Linear(4, 4)), rank=2, p=0.3).eval()
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["base"]))
    with torch.no_grad():
        for factor in adapted.parameters():
            factor.fill_(0.5)
    x = torch.ones(1, 4)
    before = adapted(x)
    with pytest.raises(ValueError, match="PEFT has adapted 0 in its turn"):
        merge(model)
    torch.testing.assert_close(merge(adapted.merge_and_unload())(x), before)

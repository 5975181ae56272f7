"""What PEFT has adapted already is not adapted again by ``inject``."""

import pytest
from peft import LoraConfig, get_peft_model
from torch import nn

from lora_dropout import inject
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

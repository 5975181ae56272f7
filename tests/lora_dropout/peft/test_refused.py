"""Adapters that cannot be put into a model, and that are put there a second time."""

import pytest
import torch
from peft import get_peft_model
from torch import nn

from lora_dropout.injection import adapted_layers, mask_schedule
from lora_dropout.peft import LoraDropoutConfig


class Model(nn.Module):
    """Its last layer is refused, after the others were adapted."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.linear, self.head = nn.Linear(8, 8), nn.Linear(8, 8)
        self.groups = nn.Conv2d(4, 4, 3, groups=2)

    def forward(self, x):
        return self.head(self.linear(x))


def config(p, *targets, **settings):
    return LoraDropoutConfig(r=2, target_modules=list(targets), dropout_rate=p, **settings)


REFUSED = {
    "a layer": config(0.9, "attention", "linear", "groups"),
    "every rate is 0 where it matters": config(0.0, "attention", dropout_pattern={"head": 0.9}),
    "modules_to_save beside it": config(0.9, "linear", "groups", modules_to_save=["head"]),
}


def state(model):
    return str(model), {name: one.requires_grad for name, one in model.named_parameters()}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_model_is_as_it_was_after_an_adapter_that_is_refused(reason):
    model = Model()
    model.head.requires_grad_(False)
    before = state(model)
    with pytest.raises(ValueError, match=r"LoRA Dropout|dropout"):
        get_peft_model(model, REFUSED[reason])
    assert state(model) == before
    adapted = get_peft_model(model, config(0.1, "linear"))
    assert [masks.shape.p_in for _, masks in adapted_layers(adapted)] == [0.1]


def test_so_is_one_that_has_other_adapters():
    model = get_peft_model(Model(), config(0.5, "attention"))
    before = state(model)
    with pytest.raises(ValueError, match="groups"):
        model.add_adapter("other", REFUSED["a layer"])
    assert state(model) == before
    model.add_adapter("other", config(0.1, "attention", "linear"))
    rates = {masks.shape.p_in for _, masks in adapted_layers(model) if masks.adapter == "other"}
    assert rates == {0.1}


@pytest.mark.filterwarnings("ignore:You are trying to modify a model:UserWarning")
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
def test_a_model_that_is_adapted_once_more_has_the_new_masks_alone():
    base = Model()
    get_peft_model(base, config(0.9, "linear", "head", mask_seed=1))
    model = get_peft_model(base, config(0.1, "linear", "head", mask_seed=2))
    masks = [masks for _, masks in adapted_layers(model)]
    assert {(one.shape.p_in, one.masks.seed) for one in masks} == {(0.1, 2)}
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
    model(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    drawn = [one.mask_in.clone() for one in masks]
    assert mask_schedule(model).step == 1
    mask_schedule(model).seek(0)
    mask_schedule(model).seek(1)
    assert all(map(torch.equal, drawn, [one.mask_in for one in masks]))


@pytest.mark.filterwarnings("ignore:You are trying to modify a model:UserWarning")
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
def test_a_layer_that_keeps_its_earlier_rate_is_not_saved_under_another(tmp_path):
    base = Model()
    get_peft_model(base, config(0.9, "linear", "head"))
    model = get_peft_model(base, config(0.1, "linear"))
    with pytest.raises(ValueError, match=r"masks were made with 0\.9"):
        model.save_pretrained(tmp_path)

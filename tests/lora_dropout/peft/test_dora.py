"""DoRA with dropout: members are DoRA networks, and their mean is "expected weight" at first."""

import itertools
import math

import pytest
import torch
from peft import LoraConfig, PeftModel, convert_to_lora, get_peft_model
from torch import nn

from lora_dropout import Ensemble, grouped_samples, inference_mode
from lora_dropout.functional import GroupsNotSupportedError
from lora_dropout.injection import adapted_layers
from lora_dropout.masks import ENSEMBLE_STEP
from lora_dropout.peft import AdaLoraDropoutConfig, LoraDropoutConfig
from tests.lora_dropout.peft.layer_kinds import KINDS, drawn
from tests.lora_dropout.peft.models import gradients

P, P_OUT = 0.4, 0.3
KEPT = (1 - P) * (1 - P_OUT)
linear = pytest.mark.parametrize("name", ["nn.Linear", "Conv1D of transformers"])


def made(name="nn.Linear", config=LoraDropoutConfig, **changes):
    settings = {"dropout_rate": P, "dropout_rate_out": P_OUT, "mask_seed": 1, "use_dora": True}
    model = KINDS[name].adapted(config, **settings | changes)
    # A magnitude that training has moved.
    layer = model.base_model.model[0]
    layer.lora_magnitude_vector["default"].weight.data *= torch.tensor([0.5, 1.0, 1.5, 2.0])
    return model


def twin(name, model, mask_in=None, mask_out=None, factor=1.0):
    """DoRA as its paper has it, with the masked update: Liu et al., Eq. 5."""
    kind = KINDS[name]
    (_, masks), = adapted_layers(model)  # fmt: skip
    A, B = masks.factors
    update = 4 / 2 * factor * B @ A
    if mask_in is not None:
        update = mask_out[:, None] * update * mask_in
    layer = kind.layer()
    direction = (layer.weight.mT if kind.transposed else layer.weight) + update
    norm = direction.norm(dim=1, keepdim=True).detach()
    magnitude = masks.layer.lora_magnitude_vector["default"].weight[:, None]
    return nn.functional.linear(kind.x, magnitude * direction / norm, layer.bias)


@linear
def test_a_pass_is_the_dora_network_of_the_masked_factors(name):
    model = made(name).train()
    (_, masks), = adapted_layers(model)  # fmt: skip
    trained = [*masks.factors, masks.layer.lora_magnitude_vector["default"].weight]
    found, expected = model(KINDS[name].x), twin(name, model, *drawn(model))
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        *(torch.autograd.grad(y.square().sum(), trained) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert other.abs().max() > 0.1


def test_a_dropped_row_has_the_frozen_direction_and_the_trained_magnitude():
    model = made(dropout_rate=0.0).train()
    (_, masks), = adapted_layers(model)  # fmt: skip
    dropped = masks.mask_out == 0
    assert 0 < dropped.sum() < 4
    base, kind = KINDS["nn.Linear"].layer(), KINDS["nn.Linear"]
    magnitude = masks.layer.lora_magnitude_vector["default"].weight
    expected = (kind.x @ base.weight.mT) * magnitude / base.weight.norm(dim=1) + base.bias
    torch.testing.assert_close(model(kind.x)[..., dropped], expected[..., dropped])


@linear
def test_eval_merging_and_saving_are_the_network_of_the_expected_update(name, tmp_path):
    model, kind = made(name).eval(), KINDS[name]
    expected = twin(name, model, factor=KEPT)
    torch.testing.assert_close(model(kind.x), expected)
    with inference_mode(model, "no masks"):
        torch.testing.assert_close(model(kind.x), twin(name, model))
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(nn.Sequential(kind.layer()), tmp_path)
    torch.testing.assert_close(loaded(kind.x), expected)
    model.train().merge_adapter()
    torch.testing.assert_close(model(kind.x), expected)
    model.unmerge_adapter()
    torch.testing.assert_close(model(kind.x), twin(name, model, *drawn(model)))
    torch.testing.assert_close(model.merge_and_unload(safe_merge=True)(kind.x), expected)


@linear
def test_pefts_own_reads_it_with_the_saved_alpha(name):
    model, kind = made(name).eval(), KINDS[name]
    plain = {"r": 2, "lora_alpha": 4 * KEPT, "use_dora": True, "target_modules": ["0"]}
    other = get_peft_model(nn.Sequential(kind.layer()), LoraConfig(**plain, **kind.for_peft))
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(kind.x), model(kind.x))


def test_an_ensemble_averages_dora_networks():
    model = made().eval()
    members = [twin("nn.Linear", model, *drawn(model, one, ENSEMBLE_STEP)) for one in range(3)]
    found = Ensemble(model, 3)(KINDS["nn.Linear"].x)
    torch.testing.assert_close(found, torch.stack(members).mean(0))


def distance_from_the_mean(size):
    """Norm of (mean over all masks) - (expected weight), for an update of a given size."""
    model = made("nn.Linear").double()
    kind, layer = KINDS["nn.Linear"], model.base_model.model[0]
    (_, masks), = adapted_layers(model)  # fmt: skip
    masks.factors[1].data *= size
    x = kind.x.double()
    expected = model.eval()(x)
    layer.train()
    mean = torch.zeros_like(expected)
    with torch.no_grad():
        for bits in itertools.product([0.0, 1.0], repeat=9):
            masks.mask_in, masks.mask_out = torch.tensor(bits).double().split(kind.sides)
            kept_in, kept_out = int(sum(bits[:5])), int(sum(bits[5:]))
            weight = (1 - P) ** kept_in * P ** (5 - kept_in)
            weight *= (1 - P_OUT) ** kept_out * P_OUT ** (4 - kept_out)
            mean += weight * layer(x)
    return float((mean - expected).detach().norm())


def test_expected_weight_is_the_mean_to_first_order_in_the_update():
    """The difference is of second order, nearer to it than to another, and not 0."""
    distances = [distance_from_the_mean(2.0**-power) for power in (6, 7, 8)]
    assert distances[-1] > 1e-8
    for larger, smaller in itertools.pairwise(distances):
        assert 1.5 < math.log2(larger / smaller) < 2.5


def test_at_rate_0_it_is_pefts_own():
    plain = {"r": 2, "lora_alpha": 4, "use_dora": True, "target_modules": ["0"]}
    kind, found = KINDS["nn.Linear"], []
    ours = made(dropout_rate=0.0, dropout_rate_out=0.0)
    theirs = get_peft_model(nn.Sequential(kind.layer()), LoraConfig(**plain))
    theirs.load_state_dict(ours.state_dict())
    for model in (ours, theirs.requires_grad_(True)):
        output = model.train()(kind.x)
        output.square().sum().backward()
        found.append((output, gradients(model)))
    torch.testing.assert_close(found[0], found[1])


def test_groups_are_refused():
    model = made().train()
    with grouped_samples(model, 2), pytest.raises(GroupsNotSupportedError, match="one direction"):
        model(KINDS["nn.Linear"].x)


@pytest.mark.parametrize("name", ["nn.Conv1d", "nn.Conv2d", "nn.Embedding"])
def test_other_layers_are_refused(name):
    with pytest.raises(ValueError, match=r"has no LoRA Dropout with use_dora"):
        made(name)


def test_it_is_not_converted_to_lora_without_its_magnitude():
    """PEFT's conversion takes the update alone."""
    with pytest.raises(TypeError, match="do not support LoRA conversion"):
        convert_to_lora(made(), rank=2)


def test_adalora_has_no_dora():
    with pytest.raises(ValueError, match="DoRA"):
        AdaLoraDropoutConfig(dropout_rate=P, use_dora=True, total_step=9)

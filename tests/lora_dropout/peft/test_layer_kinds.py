"""Layers of every kind have the masked update, and PEFT's operations on it go on being right."""

import copy
import itertools
import json
import subprocess
import sys
import weakref

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lora_dropout import Ensemble, grouped_samples, inference_mode, mask_schedule
from lora_dropout.functional import GroupsNotSupportedError
from lora_dropout.injection import adapted_layers
from lora_dropout.masks import ENSEMBLE_STEP
from lora_dropout.objective import sparsity_penalty
from lora_dropout.peft import LoraDropoutConfig
from tests.lora_dropout.peft.layer_kinds import KINDS, Plain, drawn
from tests.lora_dropout.peft.models import gradients, randomize
from tests.memory import without_collection

every = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
P, P_OUT = 0.4, 0.3
KEPT = (1 - P) * (1 - P_OUT)


def made(kind, seed=1, **changes):
    settings = {"dropout_rate": P, "dropout_rate_out": P_OUT, "mask_seed": seed} | changes
    return kind.adapted(**settings)


@every
def test_outputs_and_gradients_are_those_of_the_masked_weight(kind):
    model = made(kind).train()
    mask_in, mask_out = drawn(model)
    assert (len(mask_in), len(mask_out)) == kind.sides
    assert 0 < mask_in.mean() < 1 > mask_out.mean() > 0
    factors = adapted_layers(model)[0][1].factors
    found, expected = model(kind.x), kind.output(model, mask_in, mask_out)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        *(torch.autograd.grad(y.square().sum(), factors) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert other.abs().max() > 0.1


@every
def test_a_model_that_nobody_needs_is_freed_at_once(kind):
    def used():
        model = made(kind).train()
        model(kind.x).sum().backward()
        copied = copy.deepcopy(model)
        return [weakref.ref(one) for one in (*model.modules(), *copied.modules())]

    with without_collection():
        assert [one() for one in used() if one() is not None] == []


@every
def test_each_group_of_the_batch_has_masks_of_its_own(kind):
    model = made(kind).train().requires_grad_(False)
    with grouped_samples(model, 3):
        found = model(kind.x.repeat(3, *[1] * (kind.x.dim() - 1))).chunk(3)
    for sample, part in enumerate(found):
        torch.testing.assert_close(part, kind.output(model, *drawn(model, sample)))
    with grouped_samples(model, 4), pytest.raises(GroupsNotSupportedError, match="4 groups"):
        model(kind.x)


@every
def test_the_average_over_all_masks_is_the_expected_weight(kind):
    """By enumeration of all masks, so to rounding."""
    model = made(kind)
    layer, (_, masks) = model.base_model.model[0], adapted_layers(model)[0]
    expected = model.eval()(kind.x)
    sides = sum(kind.sides)
    total = torch.zeros_like(expected)
    layer.train()
    with torch.no_grad():
        for bits in itertools.product([0.0, 1.0], repeat=sides):
            mask = torch.tensor(bits)
            masks.mask_in, masks.mask_out = mask.split(kind.sides)
            kept_in, kept_out = int(masks.mask_in.sum()), int(masks.mask_out.sum())
            weight = (1 - P) ** kept_in * P ** (kind.sides[0] - kept_in)
            weight *= (1 - P_OUT) ** kept_out * P_OUT ** (kind.sides[1] - kept_out)
            total += weight * layer(kind.x)
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(expected, kind.output(model, factor=KEPT))


@every
def test_merging_unmerging_and_unloading_are_the_expected_weight(kind):
    model = made(kind).train()
    expected = kind.output(model, factor=KEPT)
    for merge in (lambda: model.merge_adapter(), lambda: model.merge_adapter(safe_merge=True)):
        merge()
        torch.testing.assert_close(model(kind.x), expected)
        model.unmerge_adapter()
        torch.testing.assert_close(model.train()(kind.x), kind.output(model, *drawn(model)))
    with inference_mode(model.eval(), "no masks"):
        torch.testing.assert_close(model(kind.x), kind.output(model))
    with model.disable_adapter():
        torch.testing.assert_close(model(kind.x), kind.layer()(kind.x))
    torch.testing.assert_close(model.merge_and_unload()(kind.x), expected)


@every
def test_what_was_merged_in_another_mode_is_taken_out_as_it_was_put_in(kind):
    """Also where the rate has changed meanwhile: otherwise the frozen weight would not be back."""
    model = made(kind).eval()
    expected = model(kind.x)
    with inference_mode(model, "no masks"):
        model.merge_adapter()
        torch.testing.assert_close(model(kind.x), kind.output(model))
    (_, masks), = adapted_layers(model)  # fmt: skip
    masks.shape = masks.shape._replace(p_in=0.1)
    torch.testing.assert_close(model(kind.x), kind.output(model))
    model.unmerge_adapter()
    masks.shape = masks.made[0]
    torch.testing.assert_close(model(kind.x), expected)


@every
def test_an_ensemble_averages_its_members(kind):
    model = made(kind).eval()
    members = [kind.output(model, *drawn(model, member, ENSEMBLE_STEP)) for member in range(3)]
    torch.testing.assert_close(Ensemble(model, 3)(kind.x), torch.stack(members).mean(0))


@every
def test_at_rate_0_it_is_pefts_own(kind):
    found = []
    for model in (
        made(kind, dropout_rate=0.0, dropout_rate_out=0.0),
        kind.adapted(LoraConfig, **kind.for_peft),
    ):
        output = model.train()(kind.x)
        output.square().sum().backward()
        found.append((output, gradients(model), list(model.state_dict())))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert found[0][2] == found[1][2]
    assert found[0][1].keys() == found[1][1].keys()
    for name, value in found[1][1].items():
        torch.testing.assert_close(found[0][1][name], value, rtol=1e-4, atol=1e-4)


@every
def test_it_is_saved_and_read(kind, tmp_path):
    model = made(kind).eval()
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(nn.Sequential(kind.layer()), tmp_path)
    torch.testing.assert_close(loaded(kind.x), model(kind.x), rtol=0, atol=0)
    torch.testing.assert_close(loaded.train()(kind.x), kind.output(model, *drawn(model)))


@every
def test_rows_of_a_mixed_batch_have_their_adapters(kind):
    model = made(kind)
    model.add_adapter("plain", LoraConfig(r=1, target_modules=["0"], **kind.for_peft))
    model.add_adapter("second", LoraDropoutConfig(r=3, target_modules=["0"], dropout_rate=0.8))
    randomize(model.eval(), seed=2)
    names = ["second", "default", "__base__", "plain", "default", "second"]
    mixed = model(kind.x, adapter_names=names)
    for row, name in enumerate(names):
        if name != "__base__":
            model.set_adapter(name)
            alone = model(kind.x)
        else:
            with model.disable_adapter():
                alone = model(kind.x)
        torch.testing.assert_close(mixed[row], alone[row])


@every
def test_a_layer_that_peft_made_takes_masks(kind):
    model = kind.adapted(LoraConfig, **kind.for_peft)
    config = LoraDropoutConfig(r=2, lora_alpha=4, target_modules=["0"], dropout_rate=P)
    model.add_adapter("dropped", config)
    model.set_adapter("dropped")
    randomize(model.train())
    model.delete_adapter("default")
    torch.testing.assert_close(model(kind.x), kind.output(model, *drawn(model)))


@every
def test_masks_advance_with_the_optimizer(kind):
    model = made(kind).train()
    optimizer = torch.optim.SGD(mask_schedule(model).factors(), lr=1e-3)
    model(kind.x).square().sum().backward()
    optimizer.step()
    torch.testing.assert_close(model(kind.x), kind.output(model, *drawn(model, step=1)))


@every
def test_the_penalty_is_that_of_the_update(kind):
    """L_lambda's penalty, (2p - p^2) times the squared norm of the update's weight."""
    model = made(kind)
    layer = model.base_model.model[0]
    with inference_mode(model, "no masks"):
        norm = layer.get_delta_weight("default").square().sum()
    torch.testing.assert_close(sparsity_penalty(model, 0.5), 0.5 * (1 - KEPT) * norm)


WITHOUT_US = """
import sys, torch
sys.modules["lora_dropout"] = None
from peft import PeftModel
for number, (layer, x) in enumerate(torch.load("layers.pt", weights_only=False)):
    model = PeftModel.from_pretrained(torch.nn.Sequential(layer), str(number)).eval()
    torch.save(model(x), f"{number}.pt")
"""


@pytest.mark.slow
def test_without_this_package_peft_reads_the_expected_weight(tmp_path):
    for number, kind in enumerate(KINDS.values()):
        made(kind).save_pretrained(tmp_path / str(number))
    layers = [kind.layer() for kind in KINDS.values()]
    for layer in layers:
        if isinstance(layer, Plain):  # This package's tests, which have the class, are not there.
            layer.__class__ = nn.Linear
    inputs = [kind.x for kind in KINDS.values()]
    torch.save(list(zip(layers, inputs, strict=True)), tmp_path / "layers.pt")
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_US)
    subprocess.run([sys.executable, script], check=True, cwd=tmp_path, capture_output=True)
    for number, kind in enumerate(KINDS.values()):
        found = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        torch.testing.assert_close(found, kind.output(made(kind), factor=KEPT))
        held = json.loads((tmp_path / str(number) / "adapter_config.json").read_text())
        assert held["lora_alpha"] == pytest.approx(4 * KEPT)


def encoder(config):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return randomize(get_peft_model(model, config)).eval()


@torch.no_grad()
def outputs_with_and_without(model):
    """Outputs of the adapted, the frozen and the merged model."""
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    found = model(x)
    with model.disable_adapter():
        frozen = model(x)
    return found, frozen, model.merge_and_unload()(x)


def test_encoder_layers_of_pytorch_have_the_update_in_eval():
    """Their fast path reads weights, and would leave the update out."""
    config = LoraDropoutConfig(r=2, target_modules=["linear1"], dropout_rate=P)
    found, frozen, merged = outputs_with_and_without(encoder(config))
    torch.testing.assert_close(found, merged)
    assert (found - frozen).abs().max() > 0.01


def test_peft_itself_leaves_the_update_out_of_encoder_layers():
    found, frozen, merged = outputs_with_and_without(
        encoder(LoraConfig(r=2, target_modules=["linear1"]))
    )
    assert torch.equal(found, frozen)
    assert (found - merged).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_merged_into_a_weight_that_is_computed(kind):
    """It was lost without a word, as in PEFT itself."""
    model = KINDS[kind].adapted(dropout_rate=0.5).eval()
    weight_norm(model.base_model.model[0].base_layer)
    expected = model(KINDS[kind].x).detach()
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(ValueError, match="would be lost"):
            merge()
    torch.testing.assert_close(model(KINDS[kind].x), expected)


@pytest.mark.filterwarnings("ignore:Already unmerged")
def test_an_adapter_is_merged_where_another_one_is_in_a_layer_whose_weight_is_computed():
    settings = {"r": 2, "dropout_rate": 0.5}
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model = get_peft_model(model, LoraDropoutConfig(target_modules=["0"], **settings))
    model.add_adapter("second", LoraDropoutConfig(target_modules=["1"], **settings))
    weight_norm(randomize(model).base_model.model[0].base_layer)
    model.set_adapter("second")
    expected = model.eval()(torch.eye(4)).detach()
    with pytest.raises(ValueError, match="would be lost"):
        model.merge_adapter(["default"])
    model.merge_adapter()
    torch.testing.assert_close(model(torch.eye(4)), expected)
    model.unmerge_adapter()
    torch.testing.assert_close(model.merge_and_unload()(torch.eye(4)), expected)

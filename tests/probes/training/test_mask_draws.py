"""Masks of cells that are trained together, drawn on the CPU and where they are used."""

import pytest
import torch

from lora_dropout import device_draw
from lora_dropout.masks import ENSEMBLE_STEP, LayerShape, stack_masks
from probes.training import mask_draws
from probes.training.mask_draws import draw_steps, masks_of_cells, stacked_masks
from probes.training.plan import Dropout, Penalty, Training
from tests.lora_dropout.test_device_draw import lend_kernel
from tests.probes.training.test_retrain import make_network

#: Of one network: p with one seed, with another, rescaled, and none.
OBJECTIVES = (Dropout(0.3), Dropout(0.6, rescale=True), Dropout(0.0), Penalty(0.1))


@pytest.fixture(params=["host", "twin", pytest.param("kernel", marks=pytest.mark.cuda)])
def network(request, monkeypatch):
    """A network on a device that draws: the host, or something that stands for a GPU."""
    device = torch.device("cpu")
    if request.param != "host":
        device = lend_kernel(request.param, monkeypatch)
        monkeypatch.setattr(mask_draws, "draws", lambda device: True)
        monkeypatch.setattr(mask_draws, "stack_uniforms", None)
    return make_network(device, (5, 4, 3), 2)


def plans_of(objectives, samples=1):
    return [
        (Training(steps=3, lr=0.1, seed=seed, samples=samples), objective)
        for objective in objectives
        for seed in (0, 7)
    ]


def expected(seed, p, rescale, layer, sides, steps, samples):
    shape = LayerShape(*sides, p, p)
    return stack_masks(shape, seed=seed, steps=steps, layer=layer, samples=samples, rescale=rescale)


@pytest.mark.parametrize(("objectives", "samples"), [(OBJECTIVES, 1), (OBJECTIVES[:2], 2)])
def test_every_cell_has_the_masks_that_it_has_alone(network, objectives, samples):
    plans = plans_of(objectives, samples)
    stacked = stacked_masks(network, plans)
    by_step = masks_of_cells(network, plans)
    for layer, sides in enumerate(network.sides):
        for cell, (training, objective) in enumerate(plans):
            p, rescale = getattr(objective, "p", 0.0), getattr(objective, "rescale", False)
            drawn = expected(training.seed, p, rescale, layer, sides, range(3), range(samples))
            for side in (0, 1):
                right = drawn[side].to(network.weights[0])
                assert torch.equal(stacked[layer][side][:, :, cell], right)
                for step in range(3):
                    mask = by_step[step][layer][side]
                    assert mask.shape == (samples, len(plans), 1, 1, sides[side])
                    assert torch.equal(mask[:, cell, 0, 0], right[step])


def test_a_single_cell_has_one_dimension_less(network):
    (plan,) = plans_of([Dropout(0.3)])[:1]
    for step, masks in enumerate(masks_of_cells(network, [plan])):
        for layer, sides in enumerate(network.sides):
            drawn = expected(0, 0.3, False, layer, sides, [step], range(1))
            for mask, right in zip(masks[layer], drawn, strict=True):
                assert mask.shape == (1, 1, 1, right.shape[-1])
                assert torch.equal(mask[0, 0, 0], right[0, 0].to(mask))


def test_members_are_drawn_by_their_number(network):
    (masks,) = draw_steps(
        network, 0.4, range(ENSEMBLE_STEP, ENSEMBLE_STEP + 1), range(5, 7), seed=3
    )
    for layer, sides in enumerate(network.sides):
        drawn = expected(3, 0.4, False, layer, sides, [ENSEMBLE_STEP], range(5, 7))
        for mask, right in zip(masks[layer], drawn, strict=True):
            assert torch.equal(mask[:, 0, 0], right[0].to(mask))


def test_other_kinds_are_drawn_on_the_host(monkeypatch):
    monkeypatch.setattr(mask_draws, "draws", lambda device: True)
    monkeypatch.setattr(device_draw, "import_module", None)
    network = make_network(torch.device("cpu"), (5, 4, 3), 2)
    ((mask, _), _) = masks_of_cells(network, plans_of([Dropout(0.4, kind="mean")])[:1])[0]
    assert torch.equal(mask, torch.full((1, 1, 1, 5), 0.6, dtype=torch.float32).to(mask))

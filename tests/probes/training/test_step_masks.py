"""Masks that are drawn when a step is taken."""

import pytest
import torch

from lora_dropout.masks import LayerShape
from probes.training import step_masks
from probes.training.step_masks import StepMasks, draw_entries
from tests.probes.training.test_retrain import make_network


def test_masks_that_fit_are_drawn_once_and_all_are_the_same_again(monkeypatch):
    monkeypatch.setattr(step_masks, "KEPT_BYTES", 2 * 32)
    asked = []

    def draw(step):
        asked.append(step)
        return [(torch.full((4,), float(step)), torch.zeros(4))]

    masks = StepMasks(3, draw)
    for _ in range(2):
        assert [float(step[0][0][0]) for step in masks] == [0, 1, 2]
    assert asked == [0, 1, 2, 2]
    assert len(masks) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masks_have_the_dtype_of_the_network(dtype):
    network = make_network().place(torch.empty((), dtype=dtype))
    for mask in draw_entries(network, LayerShape(3, 2, 0.5, 0.5), seed=0, step=0, layer=0):
        assert mask.dtype == dtype


@pytest.mark.parametrize("step", [3, -1])
def test_steps_begin_and_end_with_the_training(step):
    with pytest.raises(IndexError):
        StepMasks(3, lambda step: [])[step]

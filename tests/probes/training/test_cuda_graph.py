"""A captured step is the step; the graph itself needs a GPU, its memory and masks do not."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from probes.training.cuda_graph import capture, captured
from probes.training.example_weights import full_sample
from probes.training.gradients import AutogradGradient, FeedForwardGradient
from probes.training.mask_draws import draw_steps
from probes.training.optimizers import OPTIMIZER_STEPS
from tests.devices import DEVICES
from tests.probes.models.test_encoder import make as make_encoder
from tests.probes.training.test_retrain import N, make_inputs, make_network, start_of

STEPS = 6


def run_twice_first(step):
    """Record without a GPU: run the step, as warming up does; replay it by calling it."""
    step()
    step()
    return step


def train(device, kind, optimizer, samples, through):
    network = make_network(device, (5, 16, 4), rank=2)
    inputs = make_inputs(network)
    flat = torch.empty(2 * network.size, dtype=torch.float64, device=device)
    gradient = torch.empty_like(flat)
    factors, views = network.views(flat, 2), network.views(gradient, 2)
    for pair, start in zip(factors, start_of(network), strict=True):
        for factor, first in zip(pair, start, strict=True):
            factor.copy_(first.expand_as(factor))
    if kind is FeedForwardGradient:
        of = FeedForwardGradient(network, factors, views, samples=samples, examples=N)
    else:
        of = AutogradGradient(network, factors, views, samples=samples)
    of.feed(inputs, full_sample(N).repeat(2, 1).to(flat))
    update = OPTIMIZER_STEPS[optimizer](flat, gradient, 0.05, 0.1)

    def step(masks):
        of.write(masks)
        of.add_penalty(0.1)
        update()

    masks = draw_steps(network, 0.4, range(STEPS), range(samples), seed=3)
    advance = through(step, masks[0], [flat, *update.state])
    for drawn in masks:
        advance(drawn)
    return flat


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [FeedForwardGradient, AutogradGradient])
@pytest.mark.parametrize("optimizer", OPTIMIZER_STEPS)
@pytest.mark.parametrize("samples", [1, 3])
@torch.no_grad()
def test_a_captured_step_is_the_step(device, kind, optimizer, samples):
    recorder = capture if device == "cuda" else run_twice_first

    def through(step, masks, state):
        return captured(step, masks, state, recorder)

    plain = train(device, kind, optimizer, samples, lambda step, masks, state: step)
    torch.testing.assert_close(train(device, kind, optimizer, samples, through), plain)


class NothingWaits(TorchDispatchMode):
    """Refuses what makes the host wait for a device or feed it, which no graph can hold."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "is_nonzero")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in self.WAITS, name
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["feed-forward", "autograd", "cls", "mean"])
@torch.no_grad()
def test_a_step_holds_nothing_that_a_graph_cannot(kind):
    if kind in ("cls", "mean"):
        network, inputs, _ = make_encoder(2, kind)
    else:
        network = make_network("cpu", (5, 16, 4), rank=2)
        inputs = make_inputs(network)
    count = len(inputs)
    flat, gradient = torch.ones(2, network.size, dtype=torch.float64).unbind()
    pair = network.views(flat, 1), network.views(gradient, 1)
    if kind == "feed-forward":
        of = FeedForwardGradient(network, *pair, samples=2, examples=count)
    else:
        of = AutogradGradient(network, *pair, samples=2)
    of.feed(inputs, full_sample(count).double())
    (masks,) = draw_steps(network, 0.4, range(1), range(2), seed=3)
    update = OPTIMIZER_STEPS["adam"](flat, gradient, 0.05, 0.1)
    with NothingWaits():
        of.write(masks)
        of.add_penalty(0.1)
        update()
    with NothingWaits(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        float(flat.sum())

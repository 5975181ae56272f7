"""A training in one launch is the training step by step.

The kernel runs on a GPU, or on the CPU by Triton's interpreter, with Triton installed:

    TRITON_INTERPRET=1 python -m pytest tests/probes/training/test_fused_training.py
"""

import os
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from probes.models.losses import cross_entropy, logistic, squared
from probes.training import fused_training, retrain
from probes.training.fused_training import Launch, can_be_fused
from probes.training.plan import Dropout, Penalty, Training
from probes.training.retrain import retrain_cells
from tests.probes.training.test_retrain import make_network
from tests.probes.training.test_retrain_cells import DROPOUT, make_cells

PLAN = Training(steps=8, lr=0.02)
#: What is interpreted and what is compiled is decided when Triton is imported.
PLACE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
THERE = find_spec("triton") is not None and (PLACE == "cpu" or torch.cuda.is_available())
NOWHERE = "Triton has neither a GPU nor its interpreter"


def in_float32(device, widths, rank, loss):
    like = torch.empty((), dtype=torch.float32, device=device)
    return make_network(device, widths, rank, loss).place(like)


@pytest.mark.cuda
@pytest.mark.skipif(not THERE, reason=NOWHERE)
@pytest.mark.parametrize(
    ("loss", "widths", "rank", "n", "samples", "most_in_float32"),
    [
        (cross_entropy, (5, 16, 4), 2, 7, 1, 128),
        (cross_entropy, (6, 7, 3), 3, 33, 2, 128),
        (logistic, (5, 17, 1), 1, 6, 1, 128),
        (squared, (5, 4, 1), 4, 6, 1, 128),
        (cross_entropy, (5, 16, 4), 2, 7, 1, 0),
        (squared, (9, 17, 1), 9, 6, 1, 0),
    ],
)
def test_in_one_launch_every_number_is_that_of_the_steps(
    monkeypatch, loss, widths, rank, n, samples, most_in_float32
):
    launch = Launch(most_in_float32=most_in_float32, registers=168)
    monkeypatch.setattr(fused_training, "LAUNCH", launch)
    network = in_float32(PLACE, widths, rank, loss)
    cells = make_cells(network, n, DROPOUT[1:3] if samples > 1 else DROPOUT, samples=samples)
    seen = {True: [], False: []}
    trained = {}
    for fused in (True, False):
        monkeypatch.setattr(retrain, "can_be_fused", lambda *plan, fused=fused: fused)
        trained[fused] = retrain_cells(
            network, cells, lambda step, factors, fused=fused: seen[fused].append(step), at={3, 5}
        )
    for found, expected in zip(trained[True], trained[False], strict=True):
        for pair, others in zip(found, expected, strict=True):
            # Of float32, and Adam divides rounding by small gradients.
            torch.testing.assert_close(pair, others, rtol=1e-4, atol=1e-5)
    assert seen[True] == [3, 5, 8]
    assert set(seen[True]) <= set(seen[False])


@pytest.mark.cuda
@pytest.mark.skipif(not THERE, reason=NOWHERE)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_replica_that_diverges_is_not_finite_and_leaves_the_others_alone(monkeypatch):
    monkeypatch.setattr(retrain, "can_be_fused", lambda *plan: True)
    network = in_float32(PLACE, (5, 16, 4), 2, cross_entropy)
    (cell,) = make_cells(network, 6, [Dropout(0.1)])
    weights = cell.weights.clone()
    weights[2] = float("nan")
    (expected,), (found,) = (
        retrain_cells(network, [replace(cell, weights=given)]) for given in (cell.weights, weights)
    )
    others = torch.arange(len(weights)) != 2
    for pair, wanted in zip(found, expected, strict=True):
        for factor, right in zip(pair, wanted, strict=True):
            assert not factor[2].isfinite().any()
            assert torch.equal(factor[others], right[others])


@pytest.fixture
def network(monkeypatch):
    """A network whose device is one that Triton compiles for."""
    monkeypatch.setattr(fused_training, "compiles_for", lambda device: True)
    return in_float32("cpu", (64, 64, 10), 8, cross_entropy)


def test_dropout_by_adam_on_full_batches_of_a_narrow_network_can_be_fused(network):
    assert can_be_fused(network, PLAN, Dropout(0.1))
    assert can_be_fused(network, replace(PLAN, samples=4, weight_decay=0.1), Dropout(0.0))


@pytest.mark.parametrize(
    "changed", [{"optimizer": "sgd"}, {"batch": 4}], ids=["SGD", "mini-batches"]
)
def test_other_trainings_cannot_be_fused(network, changed):
    assert not can_be_fused(network, replace(PLAN, **changed), Dropout(0.1))


def test_nor_can_what_does_not_fit(network, monkeypatch):
    assert not can_be_fused(network, PLAN, Penalty(0.1))
    for widths, rank in (((65, 64, 10), 8), ((64, 65, 10), 8), ((9, 9, 17), 8), ((20, 20, 2), 17)):
        assert not can_be_fused(in_float32("cpu", widths, rank, cross_entropy), PLAN, Dropout(0.1))
    assert not can_be_fused(in_float32("cpu", (64, 10), 8, cross_entropy), PLAN, Dropout(0.1))
    double = network.place(torch.empty((), dtype=torch.float64))
    assert not can_be_fused(double, PLAN, Dropout(0.1))
    monkeypatch.undo()
    assert not can_be_fused(network, PLAN, Dropout(0.1))


def test_a_training_that_nobody_watches_stops_at_its_end_alone(monkeypatch):
    asked = []

    def fused_steps(network, cells, masks, flat, stops):
        asked.append(list(stops))
        yield PLAN.steps

    monkeypatch.setattr(retrain, "can_be_fused", lambda *plan: True)
    monkeypatch.setattr(retrain, "fused_steps", fused_steps)
    network = in_float32("cpu", (5, 6, 4), 2, cross_entropy)
    (cell,) = make_cells(network, 6, [Dropout(0.1)])
    retrain_cells(network, [cell])
    retrain_cells(network, [cell], lambda step, factors: None, at={2})
    retrain_cells(network, [cell], lambda step, factors: None)
    assert asked == [[], [2], [*range(1, 9)]]

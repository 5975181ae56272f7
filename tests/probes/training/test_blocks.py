"""How many replicas, cells and examples are computed together, counted by hand."""

from types import SimpleNamespace

import pytest
import torch

from probes.training import blocks
from probes.training.blocks import (
    cells_per_block,
    examples_per_block,
    replica_blocks,
    replicas_per_block,
    step_samples,
)
from probes.training.example_masks import ExampleMasks
from probes.training.plan import Dropout, Penalty, Training
from tests.probes.training.test_retrain import make_network

DROPOUT = Dropout(0.1)
PLAN = Training(steps=1, lr=0.1, samples=3)


def network_of(*widths, rank=8, activations=None):
    network = make_network("cpu", widths, rank).place(torch.empty((), dtype=torch.float32))
    network.activations = activations or network.activations
    return network


@pytest.mark.parametrize(
    ("objective", "samples"),
    [(Dropout(0.3), 3), (Dropout(0.0), 1), (Penalty(0.1), 1), (ExampleMasks("inputs", 0.3), 3)],
)
def test_a_step_has_samples_where_something_is_drawn(objective, samples):
    assert step_samples(PLAN, objective) == samples


def test_a_block_holds_what_its_activations_allow_and_one_replica_at_least():
    network = network_of(5, 4, activations=10)
    network.block_activations = 1199
    assert replicas_per_block(network, examples=20) == 5
    assert replicas_per_block(network, examples=20, samples=2) == 2
    assert replicas_per_block(network, examples=1000) == 1
    assert examples_per_block(network) == 119
    network.block_activations = 9
    assert examples_per_block(network) == 1
    on_gpu = SimpleNamespace(activations=2**20, weights=[torch.empty(0, device="meta")])
    assert replicas_per_block(on_gpu, examples=32) == 8
    assert examples_per_block(on_gpu) == 256


@pytest.mark.parametrize(("most", "longest"), [(None, 3), (2, 2), (7, 3)])
def test_replicas_are_cut_into_the_shorter_of_what_fits_and_what_is_allowed(most, longest):
    network = network_of(5, 4, activations=10)
    network.block_activations = 3 * 3 * 20 * 10
    found = replica_blocks(network, 6, 20, PLAN, Dropout(0.3), max_replicas=most)
    assert [rows.stop - rows.start for rows in found] == [longest] * (6 // longest)


def cells(network, replicas, examples, objective=DROPOUT, **training):
    return cells_per_block(
        network, replicas, examples, Training(steps=1, lr=0.1, **training), objective
    )


def test_cells_are_trained_together_as_far_as_their_activations_go(monkeypatch):
    network = network_of(64, 64, 10, activations=100)
    assert cells(network, 16, 16) == 300_000 // (16 * 16 * 100)
    assert cells(network, 16, 16, samples=2) == 300_000 // (2 * 16 * 16 * 100)
    # What is drawn for no masks is a single sample.
    assert cells(network, 16, 16, Dropout(0.0), samples=2) == 300_000 // (16 * 16 * 100)
    assert cells(network, 16, 16, ExampleMasks("inputs", 0.1)) == 1
    monkeypatch.setattr(blocks, "CPU_CELLS_ACTIVATIONS", 100)
    assert cells(network, 16, 16) == 1


@pytest.mark.parametrize(
    ("widths", "rank", "replicas", "examples", "batch", "together"),
    [
        ((16, 16), 1, 16, 16, None, True),
        # Numbers of 4 bytes: 16 of them fill a multiple of 64 bytes, and 8 do not.
        ((16, 16), 1, 8, 8, None, True),
        # An activation: 16 of a batch, but not 17 or 8 of 1 output.
        ((16, 1), 16, 16, 16, None, True), ((16, 1), 16, 16, 8, None, False),
        ((16, 1), 16, 16, 32, 16, True), ((16, 1), 16, 16, 32, 8, False),
        # A x of all replicas, factors, and the update.
        ((16, 16), 1, 1, 1, None, False), ((16, 1), 4, 2, 16, None, False),
        ((4, 4), 4, 1, 16, None, True), ((4, 2), 8, 1, 16, None, False),
    ],
)  # fmt: skip
def test_cells_are_together_where_all_of_each_begins_as_alone(
    widths, rank, replicas, examples, batch, together
):
    network = network_of(*widths, rank=rank, activations=1)
    assert (cells(network, replicas, examples, batch=batch) > 1) == together


def test_on_a_gpu_they_may_begin_anywhere(monkeypatch):
    network = network_of(16, 1, activations=1).place(torch.empty((), device="meta"))
    monkeypatch.setattr(blocks, "CUDA_BLOCK_ACTIVATIONS", 5 * 3 * 7)
    network.activations = 1
    assert cells(network, 3, 7) == 5


def test_what_is_no_feed_forward_network_is_trained_cell_by_cell():
    assert cells(SimpleNamespace(), 16, 16) == 1

"""Several cells as one block are each cell alone."""

import pytest
import torch
from torch.nn import functional as F

from probes.models.losses import cross_entropy, logistic, squared
from probes.training import gradients, replica_maps
from probes.training.blocks import cells_per_block
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.plan import Dropout, Penalty, Training
from probes.training.retrain import retrain, retrain_cells
from probes.training.retraining import Retraining
from tests.devices import DEVICES
from tests.probes.training.test_retrain import assert_same_factors, make_network

#: Rates and kinds of one group; without masks, and with what every kind of mask does to them.
DROPOUT = [Dropout(0.0), Dropout(0.1), Dropout(0.5, rescale=True), Dropout(0.3, kind="gaussian")]
PENALTY = [Penalty(0.0), Penalty(0.1), Penalty(0.5)]


def make_cells(network, n, objectives, **training):
    """Cells of draws of their own: examples, start, masks and order."""
    (d_in, _), (_, outputs) = network.sides[0], network.sides[-1]
    cells = []
    for draw, objective in enumerate(objectives):
        generator = torch.Generator().manual_seed(draw)
        features = torch.randn(n, d_in, generator=generator, dtype=torch.float64)
        labels = torch.randint(max(2, outputs), (n,), generator=generator)
        targets = F.one_hot(labels, outputs) if outputs > 1 else labels[:, None]
        cells.append(
            Retraining(
                network.read(features, targets),
                torch.cat([full_sample(n), leave_one_out(n)]).to(network.weights[0]),
                network.initial_factors(generator),
                Training(steps=8, lr=0.02, weight_decay=0.1, seed=draw, **training),
                objective,
            )
        )
    return cells


def alone(network, cell):
    every = [slice(0, len(cell.weights))]
    return retrain(
        network, cell.inputs, cell.weights, cell.start, cell.training, cell.objective, pieces=every
    )


@pytest.fixture
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    ("loss", "widths", "rank", "n", "samples", "batch", "objectives"),
    [
        (cross_entropy, (64, 64, 10), 8, 32, 1, None, DROPOUT),
        (cross_entropy, (64, 64, 10), 8, 32, 1, 16, DROPOUT),
        (cross_entropy, (64, 64, 10), 8, 16, 2, None, DROPOUT[1:]),
        (logistic, (32, 16, 1), 16, 16, 1, None, DROPOUT),
        (logistic, (32, 16, 1), 16, 16, 2, None, DROPOUT[1:]),
        (squared, (32, 1), 16, 16, 1, None, PENALTY),
    ],
)
def test_together_every_number_is_what_it_is_alone(
    loss, widths, rank, n, samples, batch, objectives, optimizer
):
    network = make_network("cpu", widths, rank, loss).place(torch.empty((), dtype=torch.float32))
    cells = make_cells(network, n, objectives, samples=samples, batch=batch, optimizer=optimizer)
    first = cells[0]
    assert cells_per_block(network, n + 1, n, first.training, first.objective) > 1
    for cell, together in zip(cells, retrain_cells(network, cells), strict=True):
        for pair, expected in zip(together, alone(network, cell), strict=True):
            assert all(map(torch.equal, pair, expected))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("objectives", [DROPOUT, DROPOUT[:2], PENALTY])
@pytest.mark.parametrize(
    ("loss", "widths", "n", "samples", "batch"),
    [
        (cross_entropy, (5, 16, 4), 7, 1, None),
        (cross_entropy, (5, 16, 4), 7, 1, 3),
        (squared, (9, 1), 6, 1, None),
    ],
)
def test_of_any_shape_they_differ_by_rounding(device, objectives, loss, widths, n, samples, batch):
    network = make_network(device, widths, rank=1, loss=loss)
    cells = make_cells(network, n, objectives, samples=samples, batch=batch)
    for cell, together in zip(cells, retrain_cells(network, cells), strict=True):
        assert_same_factors(together, alone(network, cell))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("loss", "widths"), [(cross_entropy, (5, 16, 4)), (squared, (9, 1))])
def test_one_call_for_all_cells_is_one_a_cell(monkeypatch, samples, loss, widths):
    # As on a GPU.
    for module in (gradients, replica_maps):
        monkeypatch.setattr(module, "in_one_call", lambda tensor: True)
    network = make_network("cpu", widths, rank=2, loss=loss)
    cells = make_cells(network, 6, DROPOUT[1:], samples=samples)
    together = retrain_cells(network, cells)
    monkeypatch.undo()
    for cell, found in zip(cells, together, strict=True):
        assert_same_factors(found, alone(network, cell))


@pytest.mark.parametrize("objective", [Dropout(0.3), Penalty(0.1)])
def test_a_single_cell_is_a_block_too(objective):
    network = make_network("cpu", (5, 16, 4), rank=2)
    cells = make_cells(network, 6, [objective])
    (found,) = retrain_cells(network, cells)
    assert_same_factors(found, alone(network, cells[0]))


def test_cells_that_begin_elsewhere_in_memory_than_alone_are_not_trained_together():
    network = make_network("cpu", (64, 64, 10), 8).place(torch.empty((), dtype=torch.float32))
    plan = Training(steps=1, lr=0.1)
    assert cells_per_block(network, 33, 32, plan, Dropout(0.1)) == 2
    assert cells_per_block(network, 17, 16, plan, Dropout(0.1)) == 8
    assert cells_per_block(network, 32, 31, plan, Dropout(0.1)) == 1
    # Nor are those that would fall out of the caches.
    assert cells_per_block(network, 65, 64, plan, Dropout(0.1)) == 1


def test_a_checkpoint_sees_every_cell_after_every_step():
    network = make_network()
    cells = make_cells(network, 5, DROPOUT[:2])
    seen = []

    def checkpoint(step, factors):
        seen.append((step, [[(A.clone(), B.clone()) for A, B in of_cell] for of_cell in factors]))

    trained = retrain_cells(network, cells, checkpoint)
    assert [step for step, _ in seen] == [*range(1, 9)]
    first, last = seen[0][1], seen[-1][1]
    assert len(first) == len(last) == 2
    for before, at_the_end, factors in zip(first, last, trained, strict=True):
        assert_same_factors(at_the_end, factors)
        assert not torch.equal(before[0][0], factors[0][0])

"""Training a cell's replicas, that of S and those of all S^i, or estimating the latter."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from probes.cells.cell import Cell, objective_of
from probes.cells.prepare import Prepared, prepare
from probes.jobs.job import Progress, silent
from probes.landscape.lipschitz import LipschitzTracker, visit_together
from probes.landscape.newton_plan import MEMORY_BUDGET
from probes.models.feedforward import FeedForward
from probes.models.network import (
    Factors,
    Inputs,
    Network,
    one_after_another,
    replica,
    some_replicas,
)
from probes.training.blocks import blocks, replica_blocks, replicas_per_block
from probes.training.plan import penalty_weight_of
from probes.training.retrain import retrain, retrain_cells
from probes.training.retraining import Retraining


@dataclass(frozen=True)
class Trained:
    """What retraining a cell leaves.

    Attributes:
        network: the frozen network.
        train: S, n examples.
        test: the rest of the data set.
        index: of the examples of S in the data set, (n,); those of the test set follow.
        factors: of n + 1 replicas: trained on S, then without example 0, 1, ...
        lipschitz: largest gradient norm met on the way.
        lipschitz_how: how it was obtained.
        effect_how: how the factors of the replicas that leave an example out were obtained.
        checked: where these are estimated, factors of the first few of them by retraining.
    """

    network: Network
    train: Inputs
    test: Inputs
    index: Tensor
    factors: Factors
    lipschitz: float
    lipschitz_how: str
    effect_how: str = "retrained"
    checked: Factors | None = None


@dataclass(frozen=True)
class TrainedPart:
    """What training some replicas of a cell leaves: factors, and the largest gradient norm."""

    factors: Factors
    lipschitz: float
    lipschitz_how: str


def train_cell(cell: Cell, progress: Progress = silent) -> Trained:
    """Train the replica of S and those of all S^i.

    Args:
        cell: of method retrain.
        progress: told the number of replicas after every step of a block.

    Returns:
        The data, the network and the trained factors; those of replicas that diverge are not
        finite.
    """
    ready = prepare(cell)
    return joined(ready, [train_part(cell, ready, replica_blocks_of(cell, ready), progress)])


def estimate_cell(
    cell: Cell,
    ready: Prepared,
    progress: Progress = silent,
    *,
    max_replicas: int | None = None,
    memory_budget: int = MEMORY_BUDGET,
) -> Trained:
    """Train on S, and as many replicas as are checked; estimate all that leave an example out.

    Args:
        cell: of method influence.
        ready: of :func:`probes.cells.prepare.prepare` for this cell.
        progress: told the number of replicas after every step of a block, and by the estimate as in
            :func:`probes.landscape.newton_step.newton_step`.
        max_replicas: replicas that train together at most; None for as many as are best.
        memory_budget: bytes that the products of the estimate may hold.

    Returns:
        As :func:`train_cell`, with estimated factors of the n replicas that leave an example out.
        ``checked`` holds those of the first ``cell.validate`` by retraining, None if that is 0.
    """
    few = replace(ready, weights=ready.weights[: 1 + cell.validate])
    part = train_part(cell, few, replica_blocks_of(cell, few, max_replicas), progress)
    full = replica(part.factors, 0)
    estimated, how = estimated_factors(cell, ready, full, progress, memory_budget)
    # Training did not visit the estimates: their gradients count as well.
    tracker = LipschitzTracker(ready.network, ready.train, cell.steps, cell.update_scale)
    for rows in blocks(cell.n, replicas_per_block(ready.network, cell.n)):
        tracker.see(some_replicas(estimated, rows))
    whole = TrainedPart(
        one_after_another([full, estimated]),
        max(part.lipschitz, tracker.largest),
        f"{part.lipschitz_how} that were trained, and at the estimates",
    )
    checked = some_replicas(part.factors, slice(1, None)) if cell.validate else None
    return replace(joined(ready, [whole]), effect_how=how, checked=checked)


def estimated_factors(
    cell: Cell,
    ready: Prepared,
    full: Factors,
    progress: Progress = silent,
    memory_budget: int = MEMORY_BUDGET,
) -> tuple[Factors, str]:
    """Estimate the factors of all S^i from those trained on S.

    Args:
        cell: of method influence.
        ready: of :func:`probes.cells.prepare.prepare` for this cell.
        full: factors trained on S, of one replica.
        progress: as in :func:`probes.landscape.newton_step.newton_step`.
        memory_budget: bytes that the products may hold.

    Returns:
        Factors of the n replicas that leave an example out, and how they were obtained.
    """
    # Imported where it is needed: it brings PyTorch's function transforms, which take a while.
    from probes.landscape.newton_step import newton_step

    assert cell.damping is not None
    assert cell.solver is not None
    return newton_step(
        ready.network, ready.train, full, ready.weights, update_scale=cell.update_scale,
        penalty_weight=penalty_weight_of(objective_of(cell)),
        damping=cell.damping, solver=cell.solver, seed=cell.seeds()[2] % 2**63,
        memory_budget=memory_budget, progress=progress,
    )  # fmt: skip


def train_part(
    cell: Cell, ready: Prepared, pieces: Sequence[slice], progress: Progress = silent
) -> TrainedPart:
    """Train some blocks of a cell's replicas.

    Args:
        cell: the cell.
        ready: of :func:`probes.cells.prepare.prepare` for this cell.
        pieces: the blocks, slices of 0 to n; with a warm start they must be all of them, as all
            replicas are trained again from the factors of replica 0.
        progress: told the number of replicas after every step of a block.

    Returns:
        Factors of these replicas, in order, and the largest gradient norm met on the way.
    """
    tracker = LipschitzTracker(ready.network, ready.train, cell.steps, cell.update_scale)
    last = 0

    def checkpoint(step: int, rows: slice, factors: Factors) -> None:
        nonlocal last
        tracker.visit(step, factors)
        progress((rows.stop - rows.start) * _steps_since(last, step))
        last = step

    def run(start: Factors) -> Factors:
        return retrain(
            ready.network, ready.train, ready.weights, start, ready.training, objective_of(cell),
            checkpoint=checkpoint, at=tracker.at, pieces=pieces,
        )  # fmt: skip

    with torch.no_grad():
        factors = run(ready.start)
        if cell.warm_start:
            factors = run(replica(factors, 0))
    return TrainedPart(factors, tracker.largest, tracker.how)


def train_cells(
    cells: Sequence[Cell], ready: Sequence[Prepared], progress: Progress = silent
) -> list[TrainedPart]:
    """Train all replicas of several cells as one block.

    Args:
        cells: of method retrain, alike but for the draw and the rate; see
            :func:`probes.training.blocks.cells_per_block` for how many.
        ready: of :func:`probes.cells.prepare.prepare` for each of them.
        progress: told the number of replicas of all cells after every step.

    Returns:
        For each cell what :func:`train_part` returns of all its replicas.
    """
    trackers = [
        LipschitzTracker(one.network, one.train, cell.steps, cell.update_scale)
        for cell, one in zip(cells, ready, strict=True)
    ]
    replicas = sum(len(one.weights) for one in ready)
    last = 0

    def checkpoint(step: int, factors: Sequence[Factors]) -> None:
        nonlocal last
        visit_together(trackers, step, factors)
        progress(replicas * _steps_since(last, step))
        last = step

    def run(starts: Sequence[Factors]) -> list[Factors]:
        network = ready[0].network
        assert isinstance(network, FeedForward)
        alike = zip(cells, ready, starts, strict=True)
        return retrain_cells(
            network,
            [
                Retraining(one.train, one.weights, start, one.training, objective_of(cell))
                for cell, one, start in alike
            ],
            checkpoint,
            at=trackers[0].at,
        )

    with torch.no_grad():
        trained = run([one.start for one in ready])
        if cells[0].warm_start:
            trained = run([replica(factors, 0) for factors in trained])
    return [
        TrainedPart(factors, tracker.largest, tracker.how)
        for factors, tracker in zip(trained, trackers, strict=True)
    ]


def _steps_since(last: int, step: int) -> int:
    """Steps from one checkpoint to the next; those of every block begin at 1."""
    return step - last if step > last else step


def replica_blocks_of(cell: Cell, ready: Prepared, max_replicas: int | None = None) -> list[slice]:
    """Cut a cell's replicas into those that are trained together.

    Args:
        cell: the cell.
        ready: of :func:`probes.cells.prepare.prepare`; its ``weights`` have one row a replica.
        max_replicas: largest length of a block; None for as many as are best.

    Returns:
        Slices of the replicas, in order, that cover them.
    """
    return replica_blocks(
        ready.network, len(ready.weights), len(ready.train), ready.training, objective_of(cell),
        max_replicas,
    )  # fmt: skip


def joined(ready: Prepared, parts: Sequence[TrainedPart]) -> Trained:
    """Put the parts of a cell together.

    Args:
        ready: of :func:`probes.cells.prepare.prepare` for this cell.
        parts: in the order of their replicas, all of them.

    Returns:
        The whole cell, with the largest gradient norm of all parts.
    """
    factors = one_after_another(part.factors for part in parts)
    return Trained(
        ready.network, ready.train, ready.test, ready.index, factors,
        max(part.lipschitz for part in parts), parts[0].lipschitz_how,
    )  # fmt: skip

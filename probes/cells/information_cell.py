"""One draw of a supersample at one rate: what is trained, and every bound that follows from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from probes.cells.bounded_loss import (
    ZERO_ONE,
    BoundedLoss,
    by_pair,
    clipped_loss,
    zero_one_loss,
)
from probes.cells.cell import CellJob, objective_of
from probes.cells.evaluation import inferred_outputs
from probes.cells.information_bounds import (
    BOUNDS,
    LeftOut,
    leave_one_out_records,
    supersample_records,
)
from probes.cells.leave_one_out import Trained, train_cell
from probes.cells.prepare import prepare
from probes.cells.supersample import Outcome, draw_supersample, outcomes, train_selections
from probes.jobs.job import Progress, TableKind, Tables
from probes.landscape.curvature import Curvature, smallest_curvature
from probes.metrics.quantile_bins import quantile_bins
from probes.models.network import replica


@dataclass(frozen=True)
class InformationCell(CellJob):
    """One supersample at one rate.

    Attributes:
        base: the cell; its n is the number of pairs, its S the first example of each.
        selections: K.
        loss: "0-1" or "clipped".
        bins: largest number of values that the clipped loss is rounded to.
        delta: failure probability of Theorem 4.4 and Lemma 4.3.
    """

    selections: int
    loss: str
    bins: int
    delta: float

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return (self.selections + self.base.n + 1) * self.base.steps


def measure_information(cell: InformationCell, progress: Progress) -> Tables:
    """Train a replica a selection, and those of S and all S^i; state every bound.

    Args:
        cell: one supersample at one rate.
        progress: told the number of replicas after every step of a block.

    Returns:
        One row an inference mode and bound: the settings, ``p``, ``ensemble`` (N, 0 without),
        ``inference``, ``selections`` (K), ``loss``, ``loss_bound`` (C), ``largest_loss`` (that was
        seen, at most C; 1 for the 0-1 loss), and the records of
        :mod:`probes.cells.information_bounds`, NaN where a replica diverged.
    """
    base, ready = cell.base, prepare(cell.base)
    sample = draw_supersample(base, ready, cell.selections)
    factors = train_selections(ready, sample, objective_of(base), progress)
    trained = train_cell(base, progress)
    full = replica(trained.factors, 0)
    curvature = smallest_curvature(ready.network, full, trained.train, base.update_scale, base.seed)
    infer = partial(inferred_outputs, base, ready.network)
    evaluated = zip(
        outcomes(ready.network, factors, sample.pairs, infer),
        outcomes(ready.network, factors, sample.test, infer),
        outcomes(ready.network, trained.factors, trained.train, infer),
        outcomes(ready.network, full, sample.test, infer),
        strict=True,
    )
    parts = []
    for (size, pairs), (_, test), (_, left), (_, left_test) in evaluated:
        found = _Evaluated(pairs, test, left, left_test)
        records = pd.DataFrame(_records(cell, sample.selections, found, trained, curvature))
        parts.append(
            records.assign(ensemble=size, inference="ensemble" if size else "expected weight")
        )
    table = pd.concat(parts, ignore_index=True)
    return {
        TableKind.ROWS: table.assign(
            **ready.columns, p=base.p, selections=cell.selections, loss=cell.loss,
            task_loss=ready.network.loss.name,
        )
    }  # fmt: skip


@dataclass(frozen=True)
class _Evaluated:
    """What the networks make of their examples, held-out ones included.

    Attributes:
        pairs, test: those of the selections.
        left, left_test: those of S and all S^i, of which the held-out examples see the first.
    """

    pairs: Outcome
    test: Outcome
    left: Outcome
    left_test: Outcome

    @property
    def largest(self) -> float:
        """The largest of the task's losses; NaN where one is not finite."""
        parts = (self.pairs, self.test, self.left, self.left_test)
        largest = float(np.max([part.losses.max() for part in parts]))
        return largest if np.isfinite(largest) else float("nan")


def _records(
    cell: InformationCell, selections: np.ndarray, found: _Evaluated, trained: Trained,
    curvature: Curvature,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    if not np.isfinite([found.largest, curvature.value]).all():
        yield from (_unmeasured(name) for name in BOUNDS)
        return
    loss, classes = _loss(cell, selections, found)
    largest = 1.0 if cell.loss == ZERO_ONE else min(found.largest, loss.loss_bound)
    more = {"loss_bound": loss.loss_bound, "largest_loss": largest}
    for record in supersample_records(loss, classes):
        yield record | more
    left = _left_out(cell, loss, found, trained.lipschitz, curvature.value)
    for record in leave_one_out_records(left, cell.base.p, cell.delta):
        yield record | more


def _unmeasured(name: str) -> dict[str, Any]:
    """The record of a bound where a replica diverged."""
    nothing = (
        "bound", "bound_half", "information", "information_bias", "gap", "gap_test", "train_loss",
        "test_loss", "rounding", "loss_bound", "largest_loss",
    )  # fmt: skip
    return {"name": name} | dict.fromkeys(nothing, float("nan"))


def _loss(
    cell: InformationCell, selections: np.ndarray, found: _Evaluated
) -> tuple[BoundedLoss, np.ndarray | None]:
    """The loss, and the predicted classes where it depends on nothing else."""
    if cell.loss == ZERO_ONE:
        assert found.pairs.classes is not None
        loss = zero_one_loss(found.pairs, found.test, selections)
        return loss, by_pair(found.pairs.classes)
    bound, bins = cell.base.loss_bound, cell.bins
    return clipped_loss(found.pairs, found.test, selections, bound, bins), None


def _left_out(
    cell: InformationCell, loss: BoundedLoss, found: _Evaluated, lipschitz: float, curvature: float
) -> LeftOut:
    if cell.loss == ZERO_ONE:
        assert found.left.wrong is not None
        assert found.left_test.wrong is not None
        codes = found.left.wrong.astype(np.int64)
        losses, rounding = codes.astype(np.float64), 0.0
        test_loss = float(found.left_test.wrong.mean())
    else:
        losses = np.minimum(found.left.losses, loss.loss_bound)
        binned = quantile_bins(losses, cell.bins)
        codes = binned.codes
        # The example left out is one of n, so its rounding counts n times as much.
        off = np.abs(losses - binned.values)[1:]
        n = len(off)
        rounding = float(off.diagonal().mean() + off[~np.eye(n, dtype=bool)].mean())
        test_loss = float(np.minimum(found.left_test.losses, loss.loss_bound).mean())
    return LeftOut(losses, codes, rounding, test_loss, loss.loss_bound, lipschitz, curvature)

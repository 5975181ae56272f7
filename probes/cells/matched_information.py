"""Bounds from supersamples for dropout and for its controls, to compare at equal fit.

Dropout also fits less at a fixed number of steps, and fitting less changes gap and bounds by
itself: see ``probes.cells.matched_controls``, whose controls these are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from probes.cells.bounded_loss import ZERO_ONE, by_pair, chosen, clipped_loss, zero_one_loss
from probes.cells.cell import CellJob
from probes.cells.information_bounds import bounds_of
from probes.cells.matched_controls import WEIGHT_DECAYS, control_networks
from probes.cells.prepare import Prepared, prepare
from probes.cells.supersample import Supersample, draw_supersample, outcomes
from probes.jobs.job import Progress, TableKind, Tables
from probes.models.network import Factors, Inputs

#: What is compared: the gap, and the bounds that apply to every network.
COMPARED = ("gap", "e-CMI", "ld-CMI", "binary kl", "fast rate")


@dataclass(frozen=True)
class MatchedInformationCell(CellJob):
    """One supersample with all rates and all controls but that of the learning rate.

    Attributes:
        base: the cell of the draw; its own rate does not matter.
        rates: the rates p > 0 that are compared with the controls.
        selections, loss, bins: as for ``probes.cells.information_cell.InformationCell``.
    """

    rates: tuple[float, ...]
    selections: int
    loss: str
    bins: int

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return self.selections * self.base.steps * (1 + len(self.rates) + len(WEIGHT_DECAYS))


def measure_matched(cell: MatchedInformationCell, progress: Progress) -> Tables:
    """Train every selection with dropout at every rate, and as every control.

    Args:
        cell: one supersample.
        progress: told the number of replicas after every step of a block.

    Returns:
        One row a trained (or shrunk, or stopped) network: ``variant`` and ``value`` as of
        :func:`probes.cells.matched_controls.control_networks`, the settings, ``train_loss`` (the
        task's, mean over selections), ``train_bounded`` (that of the loss of the bounds: the train
        error for 0-1) and ``COMPARED``; not finite where a replica diverged.
    """
    base, ready = cell.base, prepare(cell.base)
    sample = draw_supersample(base, ready, cell.selections)
    paired = replace(ready, train=sample.pairs, weights=sample.weights)
    records = [
        {"variant": variant, "value": value} | _measured(cell, ready, sample, factors, update_scale)
        for factors, update_scale, variant, value in control_networks(
            paired, cell.rates, base.rescale, progress, rate_shares=()
        )
    ]
    table = pd.DataFrame(records).assign(
        **ready.columns, selections=cell.selections, loss=cell.loss,
        task_loss=ready.network.loss.name,
    )  # fmt: skip
    return {TableKind.ROWS: table}


def _measured(
    cell: MatchedInformationCell,
    ready: Prepared,
    sample: Supersample,
    factors: Factors,
    update_scale: float,
) -> dict[str, Any]:
    def infer(some: Factors, inputs: Inputs) -> Iterator[tuple[int, Tensor]]:
        yield 0, ready.network.replica_outputs(some, inputs, update_scale=update_scale)

    ((_, pairs),) = outcomes(ready.network, factors, sample.pairs, infer)
    train_loss = float(chosen(by_pair(pairs.losses), sample.selections).mean())
    if not np.isfinite(pairs.losses).all():
        return {"train_loss": float("nan")} | dict.fromkeys(
            ("train_bounded", *COMPARED), float("nan")
        )
    if cell.loss == ZERO_ONE:
        loss = zero_one_loss(pairs, None, sample.selections)
    else:
        bound = cell.base.loss_bound
        loss = clipped_loss(pairs, None, sample.selections, bound, cell.bins)
    stated = {name: found.bound for name, found in bounds_of(loss, None).items()}
    measured = {"train_loss": train_loss, "train_bounded": loss.train_loss, "gap": loss.gap}
    return measured | {name: stated[name] for name in COMPARED[1:]}

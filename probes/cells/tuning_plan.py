"""What a recommendation tries on some draws, and measures on others, in the time that there is."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import pandas as pd

from probes.cells.cell import Cell
from probes.cells.own_rival_cells import OwnDraw, OwnMeasuredCell, OwnTuningCell
from probes.cells.rival_cells import (
    SHARES,
    Beside,
    MeasuredCell,
    TuningCell,
    tried_values,
)
from probes.cells.stopped_training import Setting
from probes.metrics.tuned_settings import SETTING
from probes.training.rivals import RIVALS

#: The grid is the largest that leaves time for this many draws of each kind.
PLANNED_CHOOSING, PLANNED_TELLING = 3, 6
#: With fewer draws nothing can be recommended.
LEAST_CHOOSING, LEAST_TELLING = 1, 2
#: Number of the first draw that measures: its start and masks differ from those of all draws
#: that choose.
FIRST_TELLING = 1000
#: Smallest numbers of trainings, and of methods, that the grid shrinks to.
TRAININGS = (16, 9, 4, 2, 1)
FEWEST_METHODS = 2


@dataclass(frozen=True)
class Grid:
    """What is tried.

    Attributes:
        methods: their names; LoRA first.
        trainings: of a method on a draw that chooses, at most.
    """

    methods: tuple[str, ...]
    trainings: int

    @property
    def choosing_cost(self) -> float:
        """Of a draw that chooses, in trainings of plain LoRA."""
        return sum(self.trainings * RIVALS[method].passes for method in self.methods)

    @property
    def telling_cost(self) -> float:
        """Of a draw that tells, likewise."""
        return sum(RIVALS[method].passes for method in self.methods)

    def smaller(self) -> "list[Grid]":
        """This grid and those that it may shrink to, the largest first."""
        counts = [self.trainings, *(count for count in TRAININGS if count < self.trainings)]
        sizes = range(len(self.methods), min(FEWEST_METHODS, len(self.methods)) - 1, -1)
        grids = [Grid(self.methods[:size], count) for size, count in product(sizes, counts)]
        return sorted(grids, key=lambda grid: -grid.choosing_cost)


@dataclass(frozen=True)
class Plan:
    """What is to be done in the time.

    Attributes:
        started: when, on the clock ``time.perf_counter``.
        base: the first draw of S.
        grid: that is tried if there is time.
        held_out: whether held-out data judge, or networks that did not see an example of S.
    """

    started: float
    base: Cell | OwnDraw
    grid: Grid
    held_out: bool

    def choosing(self, grid: Grid, draw: int) -> list[TuningCell | OwnTuningCell]:
        """Return what is trained on a draw that chooses.

        Args:
            grid: that is tried.
            draw: its number, from 0.

        Returns:
            One cell a method.
        """
        base = self.base
        return [
            self.tuning(draw, method, *tried_values(method, grid.trainings, base.lr, base.rank))
            for method in grid.methods
        ]

    def tuning(
        self, draw: int, method: str, strengths: tuple[float, ...], rates: tuple[float, ...]
    ) -> TuningCell | OwnTuningCell:
        """Return what is trained of a method on a draw that chooses.

        Args:
            draw: its number, from 0.
            method: its name.
            strengths, rates: that are tried.

        Returns:
            The cell, which tries every combination of strength, learning rate and stopping time.
        """
        folds = not self.held_out
        if isinstance(self.base, OwnDraw):
            base = replace(self.base, draw=draw)
            return OwnTuningCell(base, method, strengths, rates, SHARES, folds)
        cell = replace(self.base, draw=draw)
        return TuningCell(cell, "all", method, strengths, rates, SHARES, folds)

    def telling(
        self, tuned: pd.DataFrame, beside: Beside, draw: int
    ) -> list[MeasuredCell | OwnMeasuredCell]:
        """Return what is trained on a draw that tells.

        Args:
            tuned: one row a method: its setting.
            beside: which networks are trained beside that of S.
            draw: its number, from 0.

        Returns:
            One cell a method; its draw is none of those that choose.
        """
        return [
            self._measured(
                FIRST_TELLING + draw, row["method"], Setting(*(row[one] for one in SETTING)), beside
            )
            for row in tuned.to_dict("records")
        ]

    def _measured(
        self, draw: int, method: str, setting: Setting, beside: Beside
    ) -> MeasuredCell | OwnMeasuredCell:
        judge: Literal["test set", "unseen"] = "test set" if self.held_out else "unseen"
        if isinstance(self.base, OwnDraw):
            base = replace(self.base, draw=draw)
            return OwnMeasuredCell(base, method, setting, beside, judge)
        cell = replace(self.base, draw=draw)
        return MeasuredCell(cell, "all", method, (setting,), beside, judge)


def fitting(grid: Grid, training: float, seconds: float) -> Grid | None:
    """Shrink a grid to a time.

    Args:
        grid: the largest.
        training: seconds that one training of plain LoRA takes.
        seconds: that there are.

    Returns:
        The largest grid that leaves time for the planned draws; the smallest one where only the
        least draws fit; None where not even these do.
    """
    grids = grid.smaller()
    for one in grids:
        cost = PLANNED_CHOOSING * one.choosing_cost + PLANNED_TELLING * one.telling_cost
        if cost * training <= seconds:
            return one
    return grids[-1] if least_seconds(grid, training) <= seconds else None


def least_seconds(grid: Grid, training: float) -> float:
    """Seconds that the smallest grid and the least draws take; arguments as for ``fitting``."""
    smallest = grid.smaller()[-1]
    cost = LEAST_CHOOSING * smallest.choosing_cost + LEAST_TELLING * smallest.telling_cost
    return cost * training

"""How a sweep runs a cell: as a whole, or in parts on several machines."""

import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from probes.cells.cell import Cell, objective_of
from probes.cells.landscapes import Landscape, landscapes_of
from probes.cells.leave_one_out import (
    Trained,
    TrainedPart,
    estimate_cell,
    joined,
    replica_blocks_of,
    train_cells,
    train_part,
)
from probes.cells.measure_cell import loss_matrix, measure_cell, measure_cells
from probes.cells.memory_limit import Size, safe_limit
from probes.cells.prepare import Prepared, prepare, prepare_all
from probes.jobs.amounts import how_many
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.late_interrupt import interrupt_put_off
from probes.landscape.newton_plan import MEMORY_BUDGET
from probes.training.blocks import blocks, cells_per_block


@dataclass(frozen=True)
class CellRun:
    """Retrain and measure cells, each as a whole or in parts: some of its replicas each.

    Attributes:
        matrix: whether a cell's loss matrix is made, too.
        max_memory: bytes that a process may hold; a safe share of what is free if None.
        processes: how many share this machine's memory.
    """

    matrix: bool = False
    max_memory: int | None = None
    processes: int = 1

    def __call__(self, cell: Cell, progress: Progress) -> Tables:
        """Retrain and measure a cell.

        Args:
            cell: the cell.
            progress: told the number of replica steps since the last call.

        Returns:
            ``rows``, and ``matrix`` where it is asked for.

        Raises:
            ValueError: it does not fit into memory.
        """
        with _memory_in_words(cell):
            ready = prepare(cell)
            if cell.method == "influence":
                trained = self._estimate(cell, ready, progress)
            else:
                trained = joined(ready, [self._train(cell, ready, progress)])
            return self._tables(cell, trained, measure_cell(cell, trained))

    def _train(self, cell: Cell, ready: Prepared, progress: Progress) -> TrainedPart:
        """Train all replicas; if the GPU runs out of memory, in blocks of half the size."""
        cut = self._blocks(cell, ready)
        with suppress(torch.OutOfMemoryError):
            return train_part(cell, ready, cut, progress)
        half = -(-max(rows.stop - rows.start for rows in cut) // 2)
        _say_full(f"{how_many(half, 'replica')} of this block at a time")
        return train_part(cell, ready, replica_blocks_of(cell, ready, half))

    def groups(self, cells: Sequence[Cell], places: int) -> list[list[Cell]]:
        """Put cells together that train as one block, as in :meth:`GroupedJobRunner.groups`.

        Args:
            cells: of a sweep.
            places: how many groups can run at once.

        Returns:
            Groups that hold every cell once: draws and rates of equal shapes.
        """
        alike: dict[Hashable, list[Cell]] = {}
        for cell in cells:
            masked = cell.p > 0 or cell.samples == 1
            alike.setdefault((replace(cell, p=0.0, draw=0), masked), []).append(cell)
        groups = []
        for some in alike.values():
            fair = -(-len(some) // places)
            size = min(self._cells_together(some[0]), fair) if len(some) > 1 else 1
            groups += [some[rows] for rows in blocks(len(some), size)]
        return groups

    def run_group(self, cells: Sequence[Cell], progress: Progress) -> Iterator[Tables]:
        """Retrain cells as one block and measure each, as in :meth:`GroupedJobRunner.run_group`.

        Args:
            cells: of :meth:`groups`, two or more.
            progress: told the number of replica steps since the last call.

        Yields:
            The tables of every cell, in order.

        Raises:
            ValueError: they do not fit into the GPU's memory.
        """
        with _memory_in_words(cells[0]):
            trained = self._train_group(cells, progress)
            # Training took long: Ctrl-C waits until every cell is measured and kept.
            with interrupt_put_off():
                for cell, one, rows in zip(cells, trained, rows_of(cells, trained), strict=True):
                    yield self._tables(cell, one, rows)

    def _train_group(self, cells: Sequence[Cell], progress: Progress) -> list[Trained]:
        """Train all replicas of some cells; if the GPU runs out of memory, half the cells each."""
        ready = prepare_all(cells)
        parts: list[TrainedPart] = []
        with suppress(torch.OutOfMemoryError):
            parts = train_cells(cells, ready, progress)
        if not parts:
            half = -(-len(cells) // 2)
            _say_full(f"{how_many(half, 'cell')} of this block at a time")
            for rows in blocks(len(cells), half):
                parts += train_cells(cells[rows], ready[rows])
        return [joined(one, [part]) for one, part in zip(ready, parts, strict=True)]

    def _cells_together(self, cell: Cell) -> int:
        """How many cells such as this one train as one block, within the memory."""
        if cell.method == "influence":
            return 1
        ready = prepare(cell)
        replicas = len(ready.weights)
        best = cells_per_block(
            ready.network, replicas, len(ready.train), ready.training, objective_of(cell)
        )
        if best == 1:
            return 1
        return min(best, self._size(cell, ready).cells_within(self._limit(ready)))

    def split(self, cell: Cell, pieces: int) -> list[list[slice]]:
        """Cut a cell into parts, as in :meth:`SplitJobRunner.split`.

        A part is a list of whole blocks of replicas: products then round as they do in one piece.

        Args:
            cell: the cell.
            pieces: largest number of parts.

        Returns:
            The parts; none for a warm start or an estimate, which cannot be cut.

        Raises:
            ValueError: it does not fit into memory.
        """
        if cell.warm_start or cell.method == "influence":
            # Its replicas start from what another of them has learned.
            return []
        cut = self._blocks(cell, prepare(cell))
        groups = np.array_split(np.arange(len(cut)), min(pieces, len(cut)))
        return [[cut[number] for number in group] for group in groups]

    def part(self, cell: Cell, part: list[slice]) -> TrainedPart:
        """Train the replicas of a part, as in :meth:`SplitJobRunner.part`."""
        with _memory_in_words(cell):
            return train_part(cell, prepare(cell), part)

    def join(self, cell: Cell, parts: Sequence[TrainedPart]) -> Tables:
        """Measure a cell of which all parts are trained, as in :meth:`SplitJobRunner.join`."""
        with _memory_in_words(cell):
            trained = joined(prepare(cell), parts)
            return self._tables(cell, trained, measure_cell(cell, trained))

    def _tables(self, cell: Cell, trained: Trained, rows: pd.DataFrame) -> Tables:
        tables = {TableKind.ROWS: rows}
        if self.matrix:
            tables[TableKind.LOSS_MATRIX] = loss_matrix(cell, trained)
        return tables

    def _estimate(self, cell: Cell, ready: Prepared, progress: Progress) -> Trained:
        # The estimates are made on the CPU wherever the training is.
        limit = self.max_memory or safe_limit(self.processes, torch.device("cpu"))
        left = self._size(cell, ready).products_within(limit)
        max_replicas = self._together(cell, ready)
        return estimate_cell(
            cell, ready, progress, max_replicas=max_replicas, memory_budget=min(MEMORY_BUDGET, left)
        )

    def _blocks(self, cell: Cell, ready: Prepared) -> list[slice]:
        return replica_blocks_of(cell, ready, self._together(cell, ready))

    def _together(self, cell: Cell, ready: Prepared) -> int:
        """How many replicas may train together, by the memory of the device."""
        return self._size(cell, ready).replicas_within(self._limit(ready))

    def _limit(self, ready: Prepared) -> int:
        device = ready.network.weights[0].device
        return self.max_memory or safe_limit(self.processes, device)

    def _size(self, cell: Cell, ready: Prepared) -> Size:
        replicas, examples = len(ready.weights), len(ready.train)
        pairs = replicas * (examples + len(ready.test)) if self.matrix else 0
        return Size(ready.network, replicas, examples, cell.samples, cell.steps, pairs)


def rows_of(cells: Sequence[Cell], trained: Sequence[Trained]) -> Iterable[pd.DataFrame]:
    """Measure cells at once where that is quick, otherwise each when it is asked for."""
    known = _landscapes(cells, trained)
    return measure_cells(cells, trained, known) if known else map(measure_cell, cells, trained)


def _landscapes(cells: Sequence[Cell], trained: Sequence[Trained]) -> list[Landscape]:
    """Measure curvature and expansion of cells at once; if the memory is short, none of them."""
    with suppress(torch.OutOfMemoryError):
        return landscapes_of(cells, trained)
    _say_full("curvature is measured on the CPU, cell by cell")
    return []


def _say_full(instead: str) -> None:
    """Say that a block did not fit and what is done instead, and free what it held."""
    print(f"the GPU's memory is full: {instead}", file=sys.stderr)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _memory_in_words(cell: Cell) -> Iterator[None]:
    """Say in a line that a cell does not fit, not even in half a block.

    Raises:
        ValueError: it does not.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise ValueError(
            f"max_memory must be less than what is free on {cell.device}; its memory is full, and "
            "other programs may use it, too"
        ) from None

"""Running the cells of a grid: what is finished is kept, what is kept is not run again."""

import sys
from collections.abc import Sequence

import pandas as pd
from tqdm.auto import tqdm

from probes.jobs.engine_options import EngineOptions
from probes.jobs.engines import run_jobs
from probes.jobs.job import J, Job, RunJob, Tables
from probes.jobs.store import Store

#: Seconds after which a progress bar appears.
PROGRESS_DELAY = 2


class InterruptedSweepError(Exception):
    """The user stopped a sweep.

    Attributes:
        finished: number of cells that are done.
        cells: number of cells in the grid.
    """

    def __init__(self, finished: int, cells: int) -> None:
        super().__init__(f"interrupted after {finished} of {cells} cells")
        self.finished, self.cells = finished, cells


def sweep(
    cells: Sequence[J],
    run: RunJob[J],
    store: Store | None = None,
    kinds: Sequence[str] = ("",),
    engine: EngineOptions | None = None,
) -> Tables:
    """Run the cells that the store does not hold.

    Args:
        cells: of the grid.
        run: what a cell is; a function of a module, as workers import it. It reports its progress.
        store: where finished cells are kept; nowhere if None.
        kinds: of the tables that ``run`` returns.
        engine: where cells run; in this process if None.

    Returns:
        The tables of all cells together, by kind.

    Raises:
        InterruptedSweepError: by Ctrl-C; the finished cells are in the store.
        ValueError: the store cannot be written; the cells that it holds are kept.
    """
    done: dict[J, Tables] = {}
    try:
        if store:
            done = {cell: kept for cell in cells if (kept := _kept(cell, store, kinds))}
        missing = [cell for cell in cells if cell not in done]
        steps = [sum(cell.replica_steps for cell in some) for some in (cells, done)]
        # What was there already took no time, and says nothing about the time that is left.
        with progress_bar(steps[0], "retraining", "step", steps[1]) as bar:
            for cell, tables in run_jobs(engine or EngineOptions(), missing, run, bar.update):
                if store:
                    _keep(cell, store, tables)
                done[cell] = tables
                bar.set_postfix_str(f"{len(done)} of {len(cells)} cells", refresh=False)
    except KeyboardInterrupt:
        raise InterruptedSweepError(len(done), len(cells)) from None
    return {
        kind: pd.concat([done[cell][kind] for cell in cells], ignore_index=True) for kind in kinds
    }


def _kept(cell: Job, store: Store, kinds: Sequence[str]) -> Tables | None:
    found = {kind: store.load(cell, kind) for kind in kinds}
    kept = {kind: table for kind, table in found.items() if table is not None}
    return kept if len(kept) == len(kinds) else None


def _keep(cell: Job, store: Store, tables: Tables) -> None:
    # The rows last: a cell whose rows are there is finished.
    for kind in sorted(tables, reverse=True):
        store.save(cell, tables[kind], kind)


def progress_bar(total: int, what: str, unit: str, initial: int = 0) -> "tqdm":
    """Return a progress bar that shows itself after two seconds, where there is someone to see."""
    # In a notebook the bar is a widget; elsewhere it belongs on a terminal and not in a log.
    notebook = "ipykernel" in sys.modules
    return tqdm(
        total=total,
        initial=initial,
        desc=what,
        unit=unit,
        unit_scale=True,
        delay=PROGRESS_DELAY,
        leave=False,
        disable=not (notebook or sys.stderr.isatty()),
    )

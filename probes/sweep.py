"""Running the cells of a grid: what is finished is kept, what is kept is not run again."""

import sys
from collections.abc import Sequence

import pandas as pd
from tqdm.auto import tqdm

from probes.cells import Cell, run_cell
from probes.store import Store

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


def sweep(cells: Sequence[Cell], store: Store | None) -> pd.DataFrame:
    """Run the cells that the store does not hold, and return the rows of all.

    Raises:
        InterruptedSweepError: by Ctrl-C; the finished cells are in the store.
    """
    parts: list[pd.DataFrame] = []
    try:
        with _progress(sum(cell.replica_steps for cell in cells)) as bar:
            for cell in cells:
                rows = store.load(cell) if store else None
                if rows is None:
                    rows = run_cell(cell, bar.update)
                    if store:
                        store.save(cell, rows)
                else:
                    bar.update(cell.replica_steps)
                parts.append(rows)
    except KeyboardInterrupt:
        raise InterruptedSweepError(len(parts), len(cells)) from None
    return pd.concat(parts, ignore_index=True)


def _progress(total: int) -> "tqdm":
    # In a notebook the bar is a widget; elsewhere it belongs on a terminal and not in a log.
    notebook = "ipykernel" in sys.modules
    return tqdm(
        total=total,
        desc="retraining",
        unit="step",
        unit_scale=True,
        delay=PROGRESS_DELAY,
        leave=False,
        disable=not (notebook or sys.stderr.isatty()),
    )

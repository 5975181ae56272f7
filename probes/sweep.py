"""Running the cells of a grid: what is finished is kept, what is kept is not run again."""

import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context
from threading import current_thread, main_thread

import pandas as pd
import torch
from tqdm.auto import tqdm

from probes.cells import Cell, Progress, loss_matrix, measure_cell, train_cell
from probes.store import Store

#: A cell's rows, and its loss matrix where it was asked for.
Tables = tuple[pd.DataFrame, pd.DataFrame | None]
#: What the file of a cell's loss matrix is called beside that of its rows.
MATRIX = ".matrix"
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
    cells: Sequence[Cell], store: Store | None, matrix: bool = False, workers: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Run the cells that the store does not hold.

    Args:
        cells: of the grid.
        store: where finished cells are kept; nowhere if None.
        matrix: whether the loss matrices are wanted as well.
        workers: processes that run cells; 1 for this process alone.

    Returns:
        The rows of all cells, and their loss matrices or None.

    Raises:
        InterruptedSweepError: by Ctrl-C; the finished cells are in the store.
    """
    done: dict[Cell, Tables] = {}
    engine = _here if workers == 1 else partial(_in_workers, workers)
    try:
        with progress_bar(sum(cell.replica_steps for cell in cells), "retraining", "step") as bar:
            for cell in cells:
                tables = _kept(cell, store, matrix) if store else None
                if tables is not None:
                    done[cell] = tables
                    bar.update(cell.replica_steps)
            missing = [cell for cell in cells if cell not in done]
            for cell, tables in engine(missing, matrix, bar.update):
                if store:
                    _keep(cell, store, tables)
                done[cell] = tables
    except KeyboardInterrupt:
        raise InterruptedSweepError(len(done), len(cells)) from None
    parts = [done[cell] for cell in cells]
    matrices = [part for _, part in parts if part is not None]
    return (
        pd.concat([rows for rows, _ in parts], ignore_index=True),
        pd.concat(matrices, ignore_index=True) if matrix else None,
    )


def _here(cells: Sequence[Cell], matrix: bool, progress: Progress) -> Iterator[tuple[Cell, Tables]]:
    """Run cells one after the other in this process; yield each when it is done."""
    for cell in cells:
        yield cell, _run(cell, progress, matrix)


def _in_workers(
    workers: int, cells: Sequence[Cell], matrix: bool, progress: Progress
) -> Iterator[tuple[Cell, Tables]]:
    """Run cells in processes of one thread each; yield each when it is done.

    Processes, as the threads of one would wait for each other between the many small operations of
    a step. They are started afresh, not forked, which a process with threads does not survive.
    """
    with ProcessPoolExecutor(workers, get_context("spawn"), start_worker) as pool:
        try:
            # Started while Ctrl-C is ignored, workers ignore it: it is for this process alone.
            with _interrupts_ignored():
                futures = {pool.submit(_run, cell, _silent, matrix): cell for cell in cells}
            for future in as_completed(futures):
                cell = futures[future]
                yield cell, future.result()
                progress(cell.replica_steps)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start_worker() -> None:
    """Make this process a worker of one thread."""
    torch.set_num_threads(1)


def _silent(steps: int) -> None:
    pass


def _run(cell: Cell, progress: Progress, matrix: bool) -> Tables:
    trained = train_cell(cell, progress)
    return measure_cell(cell, trained), loss_matrix(cell, trained) if matrix else None


def _kept(cell: Cell, store: Store, matrix: bool) -> Tables | None:
    rows, losses = store.load(cell), store.load(cell, MATRIX) if matrix else None
    return None if rows is None or (matrix and losses is None) else (rows, losses)


def _keep(cell: Cell, store: Store, tables: Tables) -> None:
    # The rows last: a cell whose rows are there is finished.
    if tables[1] is not None:
        store.save(cell, tables[1], MATRIX)
    store.save(cell, tables[0])


def progress_bar(total: int, what: str, unit: str) -> "tqdm":
    """Return a progress bar that shows itself after two seconds, where there is someone to see."""
    # In a notebook the bar is a widget; elsewhere it belongs on a terminal and not in a log.
    notebook = "ipykernel" in sys.modules
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        unit_scale=True,
        delay=PROGRESS_DELAY,
        leave=False,
        disable=not (notebook or sys.stderr.isatty()),
    )

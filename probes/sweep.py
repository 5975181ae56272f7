"""Running the cells of a grid: what is finished is kept, what is kept is not run again."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context
from threading import current_thread, main_thread
from typing import Protocol, TypeVar

import pandas as pd
import torch
from tqdm.auto import tqdm

from probes.store import Store

#: The tables of one cell by kind; "" is its rows, other kinds are kept in files of their own.
Tables = dict[str, pd.DataFrame]


#: Called with the number of replica steps done since the last call.
Progress = Callable[[int], object]


class Work(Protocol):
    """What a sweep runs: a hashable dataclass, all that determines its tables."""

    @property
    def replica_steps(self) -> int:
        """Size of the work."""


W = TypeVar("W", bound=Work)
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
    cells: Sequence[W],
    run: Callable[[W, Progress], Tables],
    store: Store | None = None,
    kinds: Sequence[str] = ("",),
    workers: int = 1,
) -> Tables:
    """Run the cells that the store does not hold.

    Args:
        cells: of the grid.
        run: what a cell is; a function of a module, as workers import it. It reports its progress.
        store: where finished cells are kept; nowhere if None.
        kinds: of the tables that ``run`` returns.
        workers: processes that run cells; 1 for this process alone.

    Returns:
        The tables of all cells together, by kind.

    Raises:
        InterruptedSweepError: by Ctrl-C; the finished cells are in the store.
    """
    done: dict[W, Tables] = {}
    engine = _here if workers == 1 else partial(_in_workers, workers)
    try:
        with progress_bar(sum(cell.replica_steps for cell in cells), "retraining", "step") as bar:
            for cell in cells:
                tables = _kept(cell, store, kinds) if store else None
                if tables is not None:
                    done[cell] = tables
                    bar.update(cell.replica_steps)
            missing = [cell for cell in cells if cell not in done]
            for cell, tables in engine(missing, run, bar.update):
                if store:
                    _keep(cell, store, tables)
                done[cell] = tables
    except KeyboardInterrupt:
        raise InterruptedSweepError(len(done), len(cells)) from None
    return {
        kind: pd.concat([done[cell][kind] for cell in cells], ignore_index=True) for kind in kinds
    }


def _here(
    cells: Sequence[W], run: Callable[[W, Progress], Tables], progress: Progress
) -> Iterator[tuple[W, Tables]]:
    """Run cells one after the other in this process; yield each when it is done."""
    for cell in cells:
        yield cell, run(cell, progress)


def _in_workers(
    workers: int, cells: Sequence[W], run: Callable[[W, Progress], Tables], progress: Progress
) -> Iterator[tuple[W, Tables]]:
    """Run cells in processes of one thread each; yield each when it is done.

    Processes, as the threads of one would wait for each other between the many small operations of
    a step. They are started afresh, not forked, which a process with threads does not survive.
    """
    with ProcessPoolExecutor(workers, get_context("spawn"), start_worker) as pool:
        try:
            # Started while Ctrl-C is ignored, workers ignore it: it is for this process alone.
            with _interrupts_ignored():
                futures = {pool.submit(run, cell, _silent): cell for cell in cells}
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


def _kept(cell: Work, store: Store, kinds: Sequence[str]) -> Tables | None:
    found = {kind: store.load(cell, kind) for kind in kinds}
    kept = {kind: table for kind, table in found.items() if table is not None}
    return kept if len(kept) == len(kinds) else None


def _keep(cell: Work, store: Store, tables: Tables) -> None:
    # The rows last: a cell whose rows are there is finished.
    for kind in sorted(tables, reverse=True):
        store.save(cell, tables[kind], kind)


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

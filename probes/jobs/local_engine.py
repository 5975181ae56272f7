"""Cells in this process, or in processes beside it."""

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from queue import SimpleQueue
from threading import Thread, current_thread, main_thread
from types import ModuleType
from typing import Any

import torch

from probes.jobs.job import J, Progress, RunJob, Tables, groups_of, run_together, silent
from probes.jobs.late_interrupt import interrupt_put_off


def run_here(jobs: Sequence[J], run: RunJob[J], progress: Progress) -> Iterator[tuple[J, Tables]]:
    """Run jobs in this process, one group after the other.

    Args:
        jobs, run, progress: as for :func:`probes.jobs.engines.run_jobs`.

    Yields:
        Each job with its tables, group after group.
    """
    for group in groups_of(run, jobs):
        yield from zip(group, run_together(run, group, progress), strict=True)


def run_in_workers(
    workers: int, jobs: Sequence[J], run: RunJob[J], progress: Progress
) -> Iterator[tuple[J, Tables]]:
    """Run jobs in processes of one thread each.

    Processes, as the threads of one would wait for each other between the many small operations of
    a step. They are spawned, not forked: a fork of a process with threads may hang.

    Args:
        workers: number of processes.
        jobs, run: as for :func:`probes.jobs.engines.run_jobs`; they can be pickled.
        progress: told the steps of a job when it is done.

    Yields:
        Each job with its tables, in the order in which they are done.

    Raises:
        ValueError: a worker ended before its work did.
    """
    groups = groups_of(run, jobs, workers)
    # Not as_completed: Ctrl-C within it may leave a lock held that the pool's thread waits for.
    done: SimpleQueue[Any] = SimpleQueue()
    with ProcessPoolExecutor(workers, get_context("spawn"), start_worker) as pool:
        try:
            with _ctrl_c_kept_from_workers(), _script_left_alone(run, jobs):
                for group in groups:
                    pool.submit(_run_group, run, group).add_done_callback(_put_into(done, group))
            for _ in groups:
                group, future = done.get()
                for job, tables in zip(group, future.result(), strict=True):
                    yield job, tables
                    progress(job.replica_steps)
        except BrokenProcessPool:
            _stop(pool)
            raise ValueError(
                "worker processes ended early: memory ran out, or they ran your script again; "
                'measure below if __name__ == "__main__":, or give workers=1'
            ) from None
        except BaseException:
            _stop(pool)
            raise


def _run_group(run: RunJob[J], jobs: Sequence[J]) -> list[Tables]:
    return list(run_together(run, jobs, silent))


def _put_into(done: SimpleQueue[Any], group: Sequence[J]) -> Callable[[Future[Any]], None]:
    return lambda future: done.put((group, future))


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers at once, in the middle of their jobs.

    A second Ctrl-C changes nothing: it would leave the workers to finish what they have begun.
    """
    # A shut-down pool forgets all three.
    workers: Any = pool._processes
    results: Any = pool._result_queue
    manager: Any = pool._executor_manager_thread
    with _ignored(signal.SIGINT, signal.SIGTERM):
        pool.shutdown(wait=False, cancel_futures=True)
        for process in workers.values():
            process.terminate()
        # The reader of a half-sent message unblocks only when every writer has closed the pipe,
        # this process included.
        results._writer.close()
        # Python, on its way out, wakes a thread that still runs: one that has just closed the pipe
        # for that fails, and its OSError would be the last line, in place of ours.
        if manager is not None:
            manager.join()


@contextmanager
def _script_left_alone(run: RunJob[J], jobs: Sequence[J]) -> Iterator[None]:
    """Start workers that do not run the script again, if nothing of it is asked of them.

    A new process runs the script that started it for what it may define: one that measures without
    ``if __name__ == "__main__":`` would measure in every worker, and standard input is gone.
    """
    main = sys.modules["__main__"]
    # Pickle names the module of what it refers to.
    if b"__main__" in pickle.dumps((run, list(jobs))):
        yield
        return
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def start_worker() -> None:
    """Make this process a worker of one thread, which ends with the process that started it."""
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone, however that ended: nobody else would."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _ctrl_c_kept_from_workers() -> Iterator[None]:
    """Start workers that Ctrl-C does not reach; this process handles it, after the block."""
    # They inherit what this thread blocks, and other threads of this process may take it.
    with interrupt_put_off():
        if not hasattr(signal, "pthread_sigmask"):  # on Windows
            yield
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _ignored(*signals: signal.Signals) -> Iterator[None]:
    """Ignore those of some signals that would raise an exception here."""
    before = {number: signal.getsignal(number) for number in signals}
    raising = {number: handler for number, handler in before.items() if callable(handler)}
    if current_thread() is not main_thread():
        raising = {}
    try:
        for number in raising:
            signal.signal(number, signal.SIG_IGN)
        yield
    finally:
        for number, handler in raising.items():
            signal.signal(number, handler)

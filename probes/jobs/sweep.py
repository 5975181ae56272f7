"""Running many jobs: what is finished is kept, what is kept is not run again."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic

import pandas as pd
from tqdm.auto import tqdm

from probes.jobs.amounts import how_many
from probes.jobs.engine_options import EngineOptions
from probes.jobs.engines import run_jobs
from probes.jobs.job import J, Job, RunJob, TableKind, Tables
from probes.jobs.store import Store

#: Seconds after which a progress bar appears.
PROGRESS_DELAY = 2


class InterruptedSweepError(Exception):
    """The user stopped a sweep.

    Attributes:
        finished: number of jobs that are done.
        jobs: number of jobs in all.
        kept: whether those that are done are in a store, or lost.
    """

    def __init__(self, finished: int, jobs: int, kept: bool) -> None:
        super().__init__(f"interrupted after {finished} of {how_many(jobs, 'cell')}")
        self.finished, self.jobs, self.kept = finished, jobs, kept


@dataclass(frozen=True)
class Sweep(Generic[J]):
    """Runs the jobs that are asked for, but for those that the store holds.

    Attributes:
        run: what a job is; a function of a module, as workers import it. It reports its progress.
        store: where finished jobs are kept; nowhere if None.
        kinds: of the tables that ``run`` returns.
        engine: where jobs run; in this process if None.
        doing: what the progress bar says.
    """

    run: RunJob[J]
    store: Store | None = None
    kinds: Sequence[TableKind] = (TableKind.ROWS,)
    engine: EngineOptions | None = None
    doing: str = "retraining"

    def __call__(self, jobs: Sequence[J]) -> Tables:
        """Run the jobs that are not kept.

        Args:
            jobs: all that are asked for.

        Returns:
            The tables of all jobs together, by kind.

        Raises:
            InterruptedSweepError: by Ctrl-C; the finished jobs are in the store, if there is one.
            ValueError: the store cannot be read or written; the jobs that it holds are kept.
        """
        store, done = self.store, dict[J, Tables]()
        try:
            if store:
                done = {job: kept for job in jobs if (kept := _kept(job, store, self.kinds))}
            missing = [job for job in jobs if job not in done]
            steps = [sum(job.replica_steps for job in some) for some in (jobs, done)]
            engine = self.engine or EngineOptions()
            # Jobs from the store took no time, so they must not count in the estimate of the rest.
            with progress_bar(steps[0], self.doing, "step", steps[1]) as bar:
                for job, tables in run_jobs(engine, missing, self.run, bar.update):
                    if store:
                        for kind, table in tables.items():
                            store.save(job, table, kind)
                    done[job] = tables
                    said = f"{len(done)} of {how_many(len(jobs), 'cell')}"
                    bar.set_postfix_str(said, refresh=False)
        except KeyboardInterrupt:
            # The store knows it: the interrupt may come between a job's file and its entry here.
            finished = len(jobs) - len(self.left(jobs)) if store else len(done)
            raise InterruptedSweepError(finished, len(jobs), store is not None) from None
        return {
            kind: pd.concat([done[job][kind] for job in jobs], ignore_index=True)
            for kind in self.kinds
        }

    def left(self, jobs: Sequence[J]) -> list[J]:
        """Those of the jobs that are not kept: the others take no time."""
        return [job for job in jobs if not self._is_kept(job)]

    def _is_kept(self, job: J) -> bool:
        store = self.store
        return store is not None and all(store.path(job, kind).exists() for kind in self.kinds)

    @property
    def unkept(self) -> "Sweep[J]":
        """The same without what is kept, which keeps nothing: to see how long jobs take."""
        return replace(self, store=None)


def _kept(job: Job, store: Store, kinds: Sequence[TableKind]) -> Tables | None:
    kept = {}
    for kind in kinds:
        table = store.load(job, kind)
        if table is None:
            return None
        kept[kind] = table
    return kept


def progress_bar(total: int, what: str, unit: str, initial: int = 0) -> "tqdm":
    """Return a progress bar that shows itself after a while, where there is someone to see.

    Args:
        total: number of units of the whole.
        what: is done, the bar's label.
        unit: what is counted.
        initial: number of units that were done before.

    Returns:
        A bar to be used as a context; it is silent where standard error is no terminal, but for
        notebooks.
    """
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

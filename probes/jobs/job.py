"""What a sweep runs: jobs, which are all that determines their tables."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar, runtime_checkable

import pandas as pd


class TableKind(StrEnum):
    """The tables that a job may give; the name is that of the file."""

    ROWS = "rows"
    LOSS_MATRIX = "matrix"
    DIAGRAM = "diagram"
    LEFT_OUT = "left_out"
    RIVALS = "rivals"
    TUNING = "tuning"


#: The tables of one job, or of all jobs together.
Tables = dict[TableKind, pd.DataFrame]
#: Called with the number of steps done since the last call.
Progress = Callable[[int], object]


class Job(Protocol):
    """A frozen dataclass whose fields are JSON: same job, same tables."""

    @property
    def replica_steps(self) -> int:
        """Size of the work, in optimizer steps of one network or another unit of its run."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Distributions, by their names on PyPI, whose versions its numbers depend on."""


J = TypeVar("J", bound=Job)
#: What running a job is; importable or picklable, as other processes run it too.
RunJob = Callable[[J, Progress], Tables]


def silent(steps: int) -> None:
    """Ignore progress."""


@runtime_checkable
class GroupedJobRunner(Protocol):
    """A run that does some jobs together, with the same tables."""

    def __call__(self, job: J, progress: Progress) -> Tables:
        """Do one job, as in :meth:`SplitJobRunner.__call__`."""

    def groups(self, jobs: Sequence[J], places: int) -> list[list[J]]:
        """Put jobs together.

        Args:
            jobs: what is run.
            places: how many groups can run at once.

        Returns:
            Groups of one or more, which hold every job once.
        """

    def run_group(self, jobs: Sequence[J], progress: Progress) -> Iterator[Tables]:
        """Do the jobs of a group in this process.

        Args:
            jobs: two or more.
            progress: as for a single job.

        Yields:
            The tables of every job, in order, each as soon as it is done.
        """


def groups_of(run: RunJob[J], jobs: Sequence[J], places: int = 1) -> list[list[J]]:
    """Put jobs together as their run says; each is alone where it says nothing.

    Args:
        run: what a job is.
        jobs: what is run.
        places: how many groups can run at once.

    Returns:
        Groups of one or more, which hold every job once.
    """
    if isinstance(run, GroupedJobRunner):
        return run.groups(jobs, places)
    return [[job] for job in jobs]


def run_together(run: RunJob[J], jobs: Sequence[J], progress: Progress) -> Iterator[Tables]:
    """Run a group of :func:`groups_of`.

    Args:
        run: what a job is.
        jobs: of one group.
        progress: told the number of steps done since the last call.

    Yields:
        The tables of every job, in order.
    """
    if len(jobs) > 1:
        assert isinstance(run, GroupedJobRunner)
        yield from run.run_group(jobs, progress)
    else:
        yield run(jobs[0], progress)


@runtime_checkable
class SplitJobRunner(Protocol):
    """A run whose jobs can be done in parts, on several machines, with the same tables."""

    def __call__(self, job: J, progress: Progress) -> Tables:
        """Do all of a job in this process.

        Args:
            job: what is run.
            progress: told the number of steps done since the last call.

        Returns:
            The tables of the job.
        """

    def split(self, job: J, pieces: int) -> list[object]:
        """Cut a job into parts.

        Args:
            job: what is run.
            pieces: largest number of parts.

        Returns:
            The parts, which can be pickled; fewer than two where the job is not worth cutting or
            cannot be.
        """

    def part(self, job: J, part: object) -> object:
        """Do one part.

        Args:
            job: what is run.
            part: one of those that :meth:`split` returned.

        Returns:
            What :meth:`join` takes; it can be pickled.
        """

    def join(self, job: J, parts: list[object]) -> Tables:
        """Put a job together.

        Args:
            job: what was run.
            parts: what :meth:`part` returned, in the order of :meth:`split`.

        Returns:
            The tables of the job, as calling this with the whole job makes them.
        """

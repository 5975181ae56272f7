"""Doing draw after draw while there is time."""

import time
from collections.abc import Callable, Sequence

import pandas as pd

from probes.jobs.job import Job, TableKind, Tables


class TimeLimit:
    """Time that a user gives.

    Args:
        seconds: in all.
        clock: that is read, in seconds.

    Attributes:
        seconds: in all.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds, self._clock, self._start = seconds, clock, clock()

    @property
    def spent(self) -> float:
        """Seconds since this was made."""
        return self._clock() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left; negative where time is over."""
        return self.seconds - self.spent

    def fits(self, seconds: float) -> bool:
        """Whether something that takes so many seconds ends in time."""
        return seconds <= self.left


def run_draws(
    draws: Sequence[Sequence[Job]],
    sweep: Callable[[Sequence[Job]], Tables],
    limit: TimeLimit,
    share: float = 1.0,
    least: int = 1,
) -> pd.DataFrame:
    """Run the jobs of one draw after the other while the next should end in time.

    A draw is taken to last as long as the longest one so far.

    Args:
        draws: jobs of every draw.
        sweep: runs jobs.
        limit: of the time.
        share: of the limit after which no draw is to end.
        least: draws that are run however long it takes.

    Returns:
        The rows of all jobs that were run.
    """
    tables: list[pd.DataFrame] = []
    longest = 0.0
    for jobs in draws:
        kept_back = (1 - share) * limit.seconds
        if len(tables) >= least and not limit.fits(longest + kept_back):
            break
        start = limit.spent
        tables.append(sweep(jobs)[TableKind.ROWS])
        longest = max(longest, limit.spent - start)
    return pd.concat(tables, ignore_index=True)

"""Doing draw after draw while there is time."""

import time
from collections.abc import Callable, Sequence

import pandas as pd

from probes.jobs.job import Job, TableKind
from probes.jobs.sweep import Sweep


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
    sweep: Sweep,
    limit: TimeLimit,
    share: float = 1.0,
    least: int = 1,
    longest: float = 0.0,
) -> pd.DataFrame:
    """Run the jobs of one draw after the other while the next should end in time.

    A draw is taken to last as long as the longest one so far; one that is kept takes no time.

    Args:
        draws: jobs of every draw.
        sweep: runs jobs, or takes what is kept of them.
        limit: of the time.
        share: of the limit after which no draw is to end.
        least: draws that are run however long it takes.
        longest: seconds that a draw takes at least, as far as that is known.

    Returns:
        The rows of all jobs that were run.
    """
    tables: list[pd.DataFrame] = []
    kept_back = (1 - share) * limit.seconds
    for jobs in draws:
        needed = longest + kept_back
        if len(tables) >= least and sweep.left(jobs) and not limit.fits(needed):
            break
        start = limit.spent
        tables.append(sweep(jobs)[TableKind.ROWS])
        longest = max(longest, limit.spent - start)
    return pd.concat(tables, ignore_index=True)

"""Draw after draw is begun while it should end in time."""

import pandas as pd
import pytest

from probes.jobs.job import TableKind
from probes.jobs.time_limit import TimeLimit, run_draws


class Clock:
    """Goes on when jobs are run."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class MadeUpSweep:
    """Draws that take some time; those that take none are kept."""

    def __init__(self, durations, clock):
        self.durations, self.clock = durations, clock

    def __call__(self, jobs):
        self.clock.now += self.durations[jobs[0]]
        return {TableKind.ROWS: pd.DataFrame({"draw": jobs})}

    def left(self, jobs):
        return [job for job in jobs if self.durations[job]]


def run(durations, seconds, **more):
    """Numbers of the draws that were run, of as many as there are durations, and the time."""
    clock = Clock()
    limit, sweep = TimeLimit(seconds, clock), MadeUpSweep(durations, clock)
    rows = run_draws([[number] for number in range(len(durations))], sweep, limit, **more)
    return rows["draw"].tolist(), limit.spent


@pytest.mark.parametrize(
    ("durations", "seconds", "more", "expected"),
    [
        ([1, 1, 1], 10, {}, [0, 1, 2]),
        ([4, 4, 4], 10, {}, [0, 1]),
        ([4, 4, 2], 10, {}, [0, 1]),
        ([3, 3, 3], 9.5, {}, [0, 1, 2]),
        ([20, 1], 10, {}, [0]),
        ([20, 20, 20], 10, {"least": 2}, [0, 1]),
        ([2, 2, 2], 10, {"share": 0.4}, [0, 1]),
        # What is kept takes no time, and says nothing of how long the others take.
        ([8, 0, 0, 8], 10, {}, [0, 1, 2]),
        ([0, 0, 8, 8], 10, {"longest": 8}, [0, 1, 2]),
        ([0, 0, 8, 8], 7, {"longest": 8}, [0, 1]),
    ],
)
def test_a_draw_is_begun_if_one_as_long_as_the_longest_fits(durations, seconds, more, expected):
    assert run(durations, seconds, **more)[0] == expected


def test_what_is_left_is_what_was_not_spent():
    clock = Clock()
    limit = TimeLimit(5, clock)
    clock.now += 3
    assert (limit.spent, limit.left, limit.fits(2), limit.fits(2.1)) == (3, 2, True, False)

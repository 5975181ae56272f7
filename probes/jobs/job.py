"""What a sweep runs: cells, which are all that determines their tables."""

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import pandas as pd

#: The tables of one cell by kind; "" is its rows, other kinds are kept in files of their own.
Tables = dict[str, pd.DataFrame]
#: Called with the number of replica steps done since the last call.
Progress = Callable[[int], object]


class Job(Protocol):
    """A cell: a hashable dataclass."""

    @property
    def replica_steps(self) -> int:
        """Size of the work."""


J = TypeVar("J", bound=Job)
#: What running a cell is; importable or picklable, as other processes run it too.
RunJob = Callable[[J, Progress], Tables]


def silent(steps: int) -> None:
    """Take progress that nobody watches."""


@runtime_checkable
class SplitJobRunner(Protocol):
    """A run whose cells can be done in parts, on several machines, with the same tables."""

    def __call__(self, cell: J, progress: Progress) -> Tables:
        """Do all of it here."""

    def split(self, cell: J, pieces: int) -> list[object]:
        """Name the parts, at most so many."""

    def part(self, cell: J, part: object) -> object:
        """Do one part."""

    def join(self, cell: J, parts: list[object]) -> Tables:
        """Make the tables of what the parts, in order, gave."""

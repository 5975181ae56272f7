"""What every question's result has: rows, a summary, a table as text, a figure."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from probes.jobs.job import Tables
from probes.metrics.confidence_intervals import mean_interval
from probes.results.text_tables import print_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class StudyResult(ABC):
    """What a probe measured.

    Attributes:
        rows: one record a network and what was done with it, with every setting.
        more: further tables, by kind.
    """

    rows: pd.DataFrame
    more: Tables = field(default_factory=dict)

    #: Name of the probe, of its figure's module and of its files.
    name = ""

    @cached_property
    @abstractmethod
    def summary(self) -> pd.DataFrame:
        """Means over draws with their intervals."""

    @abstractmethod
    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""

    @property
    @abstractmethod
    def question(self) -> str:
        """What the table answers, a line."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What one must know to read the table."""

    @property
    def setting(self) -> str:
        """Task, n, steps and draws, for titles and captions."""
        first = self.rows.iloc[0]
        return (
            f"{first['task']}, n = {first['n']}, rank {first['rank']}, {first['steps']} steps, "
            f"{self.rows['draw'].nunique()} draws of S"
        )

    def plot(self) -> "Figure":
        """Draw the result."""
        # By name, so that measuring never needs the drawing.
        return import_module(f"figures.{self.name}").draw(self)

    def show(self) -> None:
        """Print the table."""
        print_table(self.text(), title=f"{self.question}\n{self.setting}", caption=self.note)

    def __repr__(self) -> str:
        return f"{self.setting}\n{self.text().to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<p>{self.setting}</p>" + self.text().to_html(index=False)


R = TypeVar("R", bound=StudyResult)


def means(rows: pd.DataFrame, keys: Sequence[str], quantities: Sequence[str]) -> pd.DataFrame:
    """Average over draws, with 95 % Student intervals.

    Args:
        rows: one a draw and key.
        keys: columns that identify what is averaged.
        quantities: columns that are averaged; those that are not there are left out.

    Returns:
        One row a key, in order of first appearance: the keys, ``draws``, and for each quantity its
        mean, ``..._low`` and ``..._high``.
    """
    records = []
    for key, group in rows.groupby(list(keys), sort=False, dropna=False):
        record: dict[str, Any] = dict(zip(keys, key, strict=True)) | {"draws": len(group)}
        for name in quantities:
            if name in group:
                mean, low, high = mean_interval(group[name])
                record |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        records.append(record)
    return pd.DataFrame(records)

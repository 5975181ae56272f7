"""What every question's result has: tables that are kept, shown, drawn and handed on."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from figures.line_breaks import wrapped
from probes.jobs.amounts import how_many
from probes.jobs.job import TableKind, Tables
from probes.metrics.confidence_intervals import overlap_of
from probes.results.answer_words import draws_in_words, share_in_words
from probes.results.first_screen import first_screen, print_first_screen
from probes.results.json_records import as_json
from probes.results.text_tables import TextTable, as_html, print_table

if TYPE_CHECKING:
    from figures.style import Drawing

#: Said in place of a finding.
ALL_DIVERGED = "Nothing is known: every network diverged. A smaller learning rate may help."


@dataclass(frozen=True, repr=False, eq=False)
class Result(ABC):
    """What a question measured.

    Attributes:
        rows: one record a network and what was done with it, with every setting.
        more: further tables, by kind.
    """

    rows: pd.DataFrame
    more: Tables = field(default_factory=dict)

    #: Name of the question and of its figure's file.
    name: ClassVar[str] = ""
    #: How many examples a draw holds for each of its n: two where it is of n pairs.
    examples_of_each: ClassVar[int] = 1
    #: What the numbers of the first screen are.
    intervals: ClassVar[str] = "means over draws ± half of the 95 % interval"

    def __post_init__(self) -> None:
        """Refuse rows of draws that stand there twice: draws would count as more than they are.

        Raises:
            ValueError: there are such rows.
        """
        if again := _again(self.rows) if "draw" in self.rows else 0:
            raise ValueError(
                f"rows must be one a network, each once; {again} of {len(self.rows)} stand there "
                "again (tables of runs that share draws, put together?)"
            )

    @classmethod
    def of(cls, tables: Tables, **more: Any) -> Self:
        """Make a result of the tables of all cells.

        Args:
            tables: rows, and further ones by kind.
            **more: what a result has beside them.

        Returns:
            The result.
        """
        others: Tables = {kind: one for kind, one in tables.items() if kind != TableKind.ROWS}
        return cls(tables[TableKind.ROWS], others, **more)

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

    @abstractmethod
    def plot(self) -> "Drawing":
        """Draw the result."""

    @property
    def draw_count(self) -> int:
        """Number of draws of S."""
        return int(self.rows["draw"].nunique())

    @property
    def setting(self) -> str:
        """Task, n, steps, learning rate and draws, for titles and captions."""
        first = self.rows.iloc[0]
        # Fine-tuning has a schedule of rates, among its own settings.
        rate = f"learning rate {first['lr']:g}, " if "lr" in first else ""
        return (
            f"{first['task']}, n = {self.values_of('n')}, rank {self.values_of('rank')}, "
            f"{self.steps_in_words}, {rate}{draws_in_words(self.draw_count)}"
        )

    def values_of(self, name: str) -> str:
        """Say what a setting is: its value, or such as "2 or 4" where rows differ.

        Args:
            name: of its column.
        """
        return " or ".join(str(value) for value in self.rows[name].unique())

    @property
    def steps_in_words(self) -> str:
        """How many optimizer steps were taken, such as "2 or 4 steps"."""
        steps = self.values_of("steps")
        return f"{steps} step{'' if steps == '1' else 's'}"

    @property
    def caption(self) -> str:
        """The note, and what else restricts what the table says."""
        return "; ".join([self.note, *self.restrictions])

    @property
    def restrictions(self) -> list[str]:
        """What restricts the means over draws, in sentences."""
        return caveats(self.rows, self.examples_of_each)

    @property
    def finding(self) -> str:
        """What was found, in sentences with numbers, where networks did not all diverge."""
        return self.conclusion or self.question

    @property
    def answer(self) -> str:
        """What is printed first: the finding, or that every network diverged."""
        known = [name for name in ("test_loss", "train_loss", "loss") if name in self.rows]
        if not known or np.isfinite(self.rows[known[0]]).any():
            return self.finding
        return ALL_DIVERGED

    @property
    def said_of_numbers(self) -> str:
        """What the numbers of the first screen are; of one draw, that they have no intervals."""
        usual = self.intervals == Result.intervals
        return "one draw: no intervals" if usual and self.draw_count < 2 else self.intervals

    @property
    def status(self) -> int:
        """Exit status of the command line."""
        return 0

    @property
    def conclusion(self) -> str:
        """Lines that are printed below the tables; empty for none."""
        return ""

    def text_tables(self) -> list[TextTable]:
        """Return the tables that the command line prints."""
        return [TextTable(self.text(), f"{self.question}\n{self.setting}", self.caption)]

    def figures(self) -> "dict[str, Drawing]":
        """Return the figures that are kept, by name."""
        return {self.name: self.plot()}

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables that are kept as Parquet, by name."""
        return {TableKind.ROWS.value: self.rows} | {
            kind.value: table for kind, table in self.more.items()
        }

    def spreadsheets(self) -> dict[str, pd.DataFrame]:
        """Return the tables that are kept as CSV, by name."""
        return {"table": self.summary}

    def documents(self) -> dict[str, str]:
        """Return the texts that are kept beside tables and figures, by the names of their files."""
        return {}

    def brief(self) -> pd.DataFrame:
        """The table of the first screen: those of its columns are shown that fit, from the left."""
        return self.text()

    @property
    def said_of_brief(self) -> str:
        """Which rows the first screen has, where these are not all; nothing otherwise."""
        return ""

    def show(self, *, details: bool = False) -> None:
        """Print the answer and one table.

        Args:
            details: print every table instead, with all columns, and what follows from them.
        """
        if not details:
            print_first_screen(self.answer, self.brief(), self.setting, self._brief_note)
            return
        print("\n".join(wrapped(self.answer, 100)))
        for table in self.text_tables():
            print_table(table)
        if self.conclusion and self.conclusion != self.answer:
            print(self.conclusion)

    def to_json(self) -> str:
        """Return the summary as a JSON document; NaN becomes null, infinity a word."""
        return as_json(self.summary)

    def __eq__(self, other: object) -> bool:
        """Whether both answer one question with the same tables; NaN is the same as NaN."""
        return type(other) is type(self) and all(
            _is_same(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)
        )

    def __repr__(self) -> str:
        said = "; ".join([self.setting, *self.restrictions])
        return f"{self.answer}\n{said}\n{self.text().to_string(index=False)}"

    def _repr_html_(self) -> str:
        """What the command line prints; below, folded, the tables of ``--details``."""
        shown = first_screen(self.brief(), self.setting, self._brief_note, "below: all tables")
        said = "".join(f"<p>{escape(words)}</p>" for words in (self.answer, shown.setting))
        folded = "".join(
            f"<details><summary>{escape(one.title)}</summary>{as_html(one.table)}"
            f"<p>{escape(one.caption)}</p></details>"
            for one in self.text_tables()
        )
        note = f"<p><small>{escape(shown.note)}</small></p>"
        return said + as_html(shown.table) + note + folded

    @property
    def _brief_note(self) -> str:
        """What the numbers of the first screen are, which rows it has, and what restricts them."""
        notes = [self.said_of_numbers, self.said_of_brief, *self.restrictions]
        return "; ".join(filter(None, notes))


def _again(rows: pd.DataFrame) -> int:
    """How many rows are equal to an earlier one; by single columns first, which takes less time."""
    for name in rows.select_dtypes("float"):
        rows = rows[rows.duplicated(name, keep=False)]
    return int(rows.duplicated().sum()) if len(rows) else 0


def _is_same(one: Any, other: Any) -> bool:
    """Whether two attributes of a result are equal, where these hold tables or arrays as well."""
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=True)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other)


def caveats(rows: pd.DataFrame, examples_of_each: int = 1) -> list[str]:
    """Say what restricts means over draws: networks that diverged, draws that share examples.

    Args:
        rows: one record a network; ``test_loss``, or ``train_loss`` where there is none, is not
            finite where it diverged.
        examples_of_each: how many examples a draw holds for each of its n.

    Returns:
        Sentences, none where nothing restricts.
    """
    said = []
    known = [name for name in ("test_loss", "train_loss") if name in rows]
    if known and (diverged := int((~np.isfinite(rows[known[0]])).sum())):
        said.append(
            f"{diverged} of {how_many(len(rows), 'loss is', 'losses are')} not finite: means leave "
            "them out, and say over how many draws they are"
        )
    lost = int(rows["diverged"].sum()) if "diverged" in rows and "beta" in rows else 0
    if lost:
        replicas = how_many(lost, "leave-one-out replica")
        said.append(f"{replicas} diverged and {'is' if lost == 1 else 'are'} left out of β")
    share = overlap_of(pool_as_drawn(rows, examples_of_each))
    if share and rows["draw"].nunique() > 1:
        drawn = "S" if examples_of_each == 1 else "a draw"
        said.append(
            f"{drawn} holds {share_in_words(share)} of the data: draws share examples, and "
            "intervals are the wider for it (Nadeau & Bengio 2003)"
        )
    return said


def pool_as_drawn(rows: pd.DataFrame, examples_of_each: int) -> pd.DataFrame:
    """Count the pool in what a draw holds n of, for what depends on the share that it holds.

    Args:
        rows: one record a network.
        examples_of_each: how many examples a draw holds for each of its n.

    Returns:
        The rows, with another ``pool`` where they have one.
    """
    return rows.assign(pool=rows["pool"] / examples_of_each) if "pool" in rows else rows

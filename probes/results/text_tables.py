"""Tables as text: how numbers are written, and how a table is printed."""

import io
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from probes.metrics.change_statistics import SATURATED
from probes.metrics.multiple_comparisons import LEVEL
from probes.results.answer_words import narrow_in_words

#: Columns of words, set to the left; all others are numbers.
TEXT_COLUMNS = (
    "inference", "statement", "reading", "data", "task", "assumptions", "assumption", "found",
    "verdict", "control", "quantity", "how", "part", "variant", "method", "against",
)  # fmt: skip

#: Numbers from here on are written with an exponent.
LARGE = 1e5
#: What the marks in a table mean.
MARKED = (
    "*: not 0, at 5 % for all differences of the table together (Holm); intervals are 95 % each"
)


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are text already.

    Attributes:
        table: the cells.
        title, caption: above and below it.
        width: characters a line, where the output is no terminal and has no width of its own.
    """

    table: pd.DataFrame
    title: str = ""
    caption: str = ""
    width: int = 160


def output_width(otherwise: int) -> int:
    """Characters a line of the terminal; ``otherwise`` where the output is none."""
    from rich.console import Console

    return Console().width if sys.stdout.isatty() else otherwise


def print_table(shown: TextTable) -> None:
    """Print a table on standard output; where it is narrow, words wrap and numbers stay whole."""
    from rich.console import Console
    from rich.table import Table

    made = Table(
        title=shown.title, caption=shown.caption or None,
        title_justify="left", caption_justify="left",
    )  # fmt: skip
    for column in shown.table.columns:
        words = column in TEXT_COLUMNS
        justify: Literal["left", "right"] = "left" if words else "right"
        # A number that is broken in two reads as two numbers: its column is as wide as it is.
        header = column if words else _folded(str(column), shown.table[column])
        made.add_column(header, justify=justify, overflow="fold", no_wrap=not words)
    for row in shown.table.itertuples(index=False):
        made.add_row(*(str(value) for value in row))
    # A pipe has no width: the table then fits, instead of being folded at 80 columns.
    width = min(shown.width, output_width(shown.width))
    # Square brackets are what they are, and no markup of rich.
    # Printed by print itself: where a pipe has closed, rich would end the process with status 1.
    # Its lines are of signs that the encoding of the output has.
    written, encoding = io.BytesIO(), getattr(sys.stdout, "encoding", None) or "utf-8"
    text = io.TextIOWrapper(written, encoding, errors="replace", newline="", write_through=True)
    Console(
        file=text, force_terminal=sys.stdout.isatty(), markup=False,
        width=max(width, least_width(shown.table)),
    ).print(made)  # fmt: skip
    print(written.getvalue().decode(encoding), end="")


def as_html(table: pd.DataFrame) -> str:
    """A table as HTML, without the numbers of its rows and with every cell in full.

    >>> "x" * 60 in as_html(pd.DataFrame({"statement": ["x" * 60]}))
    True
    """
    with pd.option_context("display.max_colwidth", None):
        return str(table.to_html(index=False))


def least_width(table: pd.DataFrame) -> int:
    """The fewest characters a line in which a table is legible: words wrap, numbers stay whole.

    >>> least_width(pd.DataFrame({"test loss": ["0.5 ± 0.1"], "verdict": ["does not hold"]}))
    23

    Args:
        table: cells that are text.

    Returns:
        Characters, those of the frame with them.
    """
    return 1 + sum(3 + _least_width(table[name]) for name in table.columns)


def _least_width(column: "pd.Series[str]") -> int:
    cells = [str(cell) for cell in column]
    if column.name in TEXT_COLUMNS:
        cells = [word for cell in cells for word in cell.split()]
    return max(map(len, [*str(column.name).split(), *cells]), default=1)


def _folded(header: str, cells: "pd.Series[str]") -> str:
    """A header over several lines, none of them wider than the cells, or than its longest word."""
    words = header.split() or [""]
    width = max(*map(len, cells.astype(str)), *map(len, words), 1)
    return "\n".join(textwrap.wrap(header, width)) or header


def leading(table: pd.DataFrame, first: Sequence[str]) -> pd.DataFrame:
    """Put columns in front: the first screen has those that fit, from the left.

    Args:
        table: cells that are text.
        first: names of the columns, in order; those that are not there are left out.

    Returns:
        The table with all its columns.
    """
    known = [name for name in first if name in table]
    return table[[*known, *(name for name in table if name not in known)]]


def rates(values: Sequence[float] | pd.Series) -> list[str]:
    """Format dropout rates."""
    return [f"{value:g}" for value in values]


def decimals(values: Sequence[float] | pd.Series, digits: int = 4) -> list[str]:
    """Format numbers with so many decimals.

    Args:
        values: numbers; NaN is written as such.
        digits: behind the point.

    Returns:
        One text a number.
    """
    return [_number(value, digits) for value in values]


def _number(value: float, digits: int = 4) -> str:
    """A number with so many decimals; of a large one, four digits, so that columns stay narrow."""
    # "+ 0.0": what rounds to 0 has no sign.
    return f"{value:.4g}" if abs(value) >= LARGE else f"{round(value, digits) + 0.0:.{digits}f}"


def train_losses(summary: pd.DataFrame) -> list[str]:
    """Format ``train_loss``; values near 0 are marked, as beta then adds nothing to the gap."""
    near = summary["train_loss"] < SATURATED
    return [
        text + (" (near 0)" if low else "")
        for text, low in zip(averages(summary, "train_loss"), near, strict=True)
    ]


def averages(summary: pd.DataFrame, name: str, digits: int = 4) -> list[str]:
    """Format means over draws; where a draw is missing, how many there are.

    Args:
        summary: with columns ``name``, and where something may be missing ``draws`` and
            ``name_draws``, as ``probes.metrics.confidence_intervals.means`` gives.
        name: of the quantity.
        digits: behind the point.

    Returns:
        One text a row, such as "0.1234", or "0.1234 (7 of 8)" for a mean over 7 of 8 draws.
    """
    numbers = decimals(summary[name], digits)
    return [text + some for text, some in zip(numbers, _of_draws(summary, name), strict=True)]


def calibration_errors(summary: pd.DataFrame) -> list[str]:
    """Format ``ece`` with ``ece_floor``, that of a calibrated predictor; nothing without classes.

    >>> calibration_errors(pd.DataFrame({"ece": [0.051, float("nan")], "ece_floor": 0.03}))
    ['0.051 (0.030)', '']
    """
    return [
        "" if pd.isna(error) else f"{error:.3f} ({floor:.3f})"
        for error, floor in zip(summary["ece"], summary["ece_floor"], strict=True)
    ]


def with_interval(summary: pd.DataFrame, name: str) -> list[str]:
    """Format means with the half width of their interval, which is symmetric.

    Args:
        summary: with columns ``name`` and ``name_low``; ``draws`` and ``name_draws`` as for
            :func:`averages`; ``name_holm`` where the mean was tested against 0.
        name: of the quantity.

    Returns:
        One text a row, such as "0.1234 ± 0.0056", or "0.1234 ± 6e-06" where four decimals do not
        show an interval that is not of width 0; the mean alone where the interval is NaN, "*"
        behind it where the test rejects at ``LEVEL``, and how many draws there are as for
        :func:`averages`.
    """
    tested = summary.get(f"{name}_holm", pd.Series(float("nan"), summary.index))
    return [
        (narrow_in_words(mean, mean - low) or _with_half(mean, mean - low))
        + (" *" if p_value <= LEVEL else "")
        + some
        for mean, low, p_value, some in zip(
            summary[name], summary[f"{name}_low"], tested, _of_draws(summary, name), strict=True
        )
    ]


def _with_half(mean: float, half: float) -> str:
    return _number(mean) if pd.isna(half) else f"{_number(mean)} ± {_number(half)}"


def _of_draws(summary: pd.DataFrame, name: str) -> list[str]:
    """How many draws a mean is over, where that is not all."""
    if f"{name}_draws" not in summary:
        return [""] * len(summary)
    return [
        "" if finite == draws else f" ({finite} of {draws})"
        for finite, draws in zip(summary[f"{name}_draws"], summary["draws"], strict=True)
    ]

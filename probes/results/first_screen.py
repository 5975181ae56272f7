"""The first screen of a result: an answer in a sentence, and one table that fits in 80 columns."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from figures.line_breaks import wrapped
from probes.results.text_tables import (
    TEXT_COLUMNS,
    TextTable,
    least_width,
    output_width,
    print_table,
)

#: Columns of the first screen, where the output is not narrower.
WIDTH = 80
#: Its rows, so that answer and table are seen at once.
MOST_ROWS = 12
#: Settings that are written as symbols.
SYMBOLS = ("n", "p")


class FirstScreen(NamedTuple):
    """What is shown of a result at first: on a terminal and in a notebook alike.

    Attributes:
        setting: what was measured.
        table: cells that are text.
        note: what the numbers are, and how to see the rest.
    """

    setting: str
    table: pd.DataFrame
    note: str


def first_screen(
    table: pd.DataFrame, setting: str, note: str, more: str, width: int = WIDTH
) -> FirstScreen:
    """Choose what is shown of a table at first.

    Args:
        table: cells that are text; its first columns that fit are shown, of many rows some.
        setting: what was measured; what a column says in every row is said here instead.
        note: what the numbers are.
        more: how to see the rest.
        width: characters a line.

    Returns:
        At most ``MOST_ROWS`` rows in that width, and the words around them.
    """
    shown, same = without_constant_words(table)
    kept, said = shortened(shown)
    unsaid = [one for one in same if one not in setting.split(", ")]
    return FirstScreen(
        "; ".join([setting, *unsaid]),
        fitted(kept, width),
        "; ".join(filter(None, [note, said, more])),
    )


def print_first_screen(answer: str, table: pd.DataFrame, setting: str, note: str) -> None:
    """Print the answer, one table that fits, and how to see the rest.

    Args:
        answer: sentences, which are wrapped.
        table: as for :func:`first_screen`.
        setting: what was measured.
        note: what the numbers are.
    """
    width = min(WIDTH, output_width(WIDTH))
    shown = first_screen(table, setting, note, "all columns and tables: --details", width)
    print("\n".join(wrapped(answer, width)))
    print("\n".join(wrapped(shown.setting, width)))
    print_table(TextTable(shown.table, width=width))
    print("\n".join(wrapped(shown.note, width)))


def shortened(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Keep at most ``MOST_ROWS`` rows: those of some rates, from the first to the last.

    Where the rows of two rates are too many, those of the first.

    >>> kept, said = shortened(pd.DataFrame({"p": [f"0.{place // 4}" for place in range(40)]}))
    >>> list(dict.fromkeys(kept["p"])), said
    (['0.0', '0.4', '0.9'], '12 of 40 rows')

    Args:
        table: cells that are text.

    Returns:
        The rows, and how many of how many they are; all, and nothing, where these are few.
    """
    if len(table) <= MOST_ROWS:
        return table, ""
    kept = table
    if "p" in table:
        values = list(dict.fromkeys(table["p"]))
        few = max(MOST_ROWS * len(values) // len(table), 1)
        places = {round(place) for place in np.linspace(0, len(values) - 1, few)}
        kept = table[table["p"].isin([values[place] for place in places])]
    kept = kept.head(MOST_ROWS)
    return kept, f"{len(kept)} of {len(table)} rows"


def without_constant_words(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Take out n, the rate and the words that are the same in every row.

    Args:
        table: cells that are text.

    Returns:
        The table without their columns, and what these say; a table of one row stays whole.
    """
    if len(table) < 2:
        return table, []
    same = [
        name
        for name in table.columns[:-1]
        if name in (*SYMBOLS, *TEXT_COLUMNS) and table[name].nunique() == 1
    ]
    said = [
        f"{name}{' =' if name in SYMBOLS else ':'} {table[name].iloc[0]}"
        for name in same
        if table[name].iloc[0]
    ]
    return table.drop(columns=same), said


def fitted(table: pd.DataFrame, width: int) -> pd.DataFrame:
    """Keep the first columns that fit, so that no number is broken; at least two are kept.

    Args:
        table: cells that are text.
        width: characters a line.

    Returns:
        The table without its last columns.
    """
    count = len(table.columns)
    while count > 2 and least_width(table.iloc[:, :count]) > width:
        count -= 1
    return table.iloc[:, :count]

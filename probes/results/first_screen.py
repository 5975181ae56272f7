"""The first screen of a result: an answer in a sentence, and one table that fits in 80 columns."""

import re
import textwrap

import pandas as pd

from probes.results.text_tables import (
    TEXT_COLUMNS,
    TextTable,
    least_width,
    output_width,
    print_table,
)

#: Columns of the first screen, where the output is not narrower.
WIDTH = 80
#: Settings that are written as symbols.
SYMBOLS = ("n", "p")
#: A sign between two words that belong together.
SIGN = re.compile(r" ([=±≤≥<>]) ")


def print_first_screen(answer: str, table: pd.DataFrame, setting: str, note: str) -> None:
    """Print the answer, one table that fits, and how to see the rest.

    Args:
        answer: sentences, which are wrapped.
        table: cells that are text; of its columns, the first that fit are shown.
        setting: what was measured.
        note: what the numbers are.
    """
    width = min(WIDTH, output_width(WIDTH))
    print("\n".join(wrapped(answer, width)))
    shown, same = without_constant_words(table)
    fitting = fitted(shown, width)
    unsaid = [one for one in same if one not in setting.split(", ")]
    print("\n".join(wrapped("; ".join([setting, *unsaid]), width)))
    print_table(TextTable(fitting, width=width))
    print("\n".join(wrapped(f"{note}; all columns and tables: --details", width)))


def wrapped(text: str, width: int) -> list[str]:
    """Break every line of a text between words, but not beside a sign such as =.

    >>> wrapped("one two", 4), wrapped("at p = 0.1", 8)
    (['one', 'two'], ['at', 'p = 0.1'])

    Args:
        text: lines.
        width: characters a line.
    """
    whole = SIGN.sub("\u00a0\\1\u00a0", text)
    return [
        part.replace("\u00a0", " ")
        for line in whole.splitlines()
        for part in textwrap.wrap(line, width, break_on_hyphens=False)
    ]


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

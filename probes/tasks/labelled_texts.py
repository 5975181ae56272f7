"""Texts, or pairs of texts, and their labels: what can be learned from, and what is left out."""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import parent_process

import pandas as pd

from probes.tasks.text_file import text_column

#: The columns of texts that :func:`labelled_texts` makes: the text, and the other of a pair.
PARTS = ("text", "pair")
#: Classes that are named with their numbers of examples.
NAMED = 5


def labelled_texts(
    table: pd.DataFrame, columns: Sequence[str], label_column: str, where: str, *, said: bool = True
) -> pd.DataFrame:
    """Take the texts that can be learned from, each once, and say in a line what is used.

    A text that stands there twice would be in S and in the test set: of copies one is kept, and
    none where their labels differ. Rows without a text or a label are left out.

    Args:
        table: made by :func:`probes.tasks.text_file.read_table`.
        columns: one column of texts, or the two of pairs.
        label_column: column of the labels.
        where: what the table is called in messages.
        said: whether the line is said where nothing is left out, too.

    Returns:
        Rows of ``text``, ``pair`` where there are pairs, and ``label``, all texts, in the order and
        with the places of the table.

    Raises:
        ValueError: no such column, or a cell that is no text.
    """
    parts = PARTS[: len(columns)]
    names = dict(zip([*parts, "label"], [*columns, label_column], strict=True))
    read = pd.DataFrame({part: text_column(table, name, where) for part, name in names.items()})
    missing = read.isna()
    whole = read[~missing.any(axis=1)]
    agreeing = whole[whole.groupby(list(parts))["label"].transform("nunique") == 1]
    kept = agreeing.drop_duplicates(list(parts))
    left_out = {
        **{f"without {names[part]}": int(missing[part].sum()) for part in names},
        "of one text with different labels": len(whole) - len(agreeing),
        "duplicates": len(agreeing) - len(kept),
    }
    if said or any(left_out.values()):
        say_once(f"{where}: {what_is_used(len(read), kept['label'], left_out)}")
    return kept


def what_is_used(read: int, labels: "pd.Series[str]", left_out: Mapping[str, int]) -> str:
    """Say how many rows are used, why the others are not, and what a constant guess would score.

    >>> what_is_used(4, pd.Series(["a", "a", "b"]), {"duplicates": 1})
    '4 rows, 3 used: 1 duplicate; classes a 2, b 1; always guessing a: 0.67'

    Args:
        read: rows of the table.
        labels: of the rows that are used.
        left_out: numbers of rows, by what they are.

    Returns:
        The line. Of many classes, the largest are named.
    """
    why = ", ".join(
        f"{count} {'duplicate' if (what, count) == ('duplicates', 1) else what}"
        for what, count in left_out.items()
        if count
    )
    used = f"{read} rows, {len(labels)} used" + (f": {why}" if why else "")
    counts = labels.value_counts()
    if not len(counts):
        return used
    named = ", ".join(f"{name} {count}" for name, count in counts[:NAMED].items())
    more = f" and {len(counts) - NAMED} more" if len(counts) > NAMED else ""
    largest = f"always guessing {counts.index[0]}: {counts.iloc[0] / len(labels):.2f}"
    return f"{used}; classes {named}{more}; {largest}"


def one_of_each(texts: pd.DataFrame) -> pd.DataFrame:
    """Keep one of equal texts, and none of those whose labels differ."""
    labels = texts.groupby("text")["label"].transform("nunique")
    return texts[labels == 1].drop_duplicates("text")


@cache
def say_once(line: str) -> None:
    """Print a line on standard error, once, and not again by the processes beside this one."""
    if parent_process() is None and os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)

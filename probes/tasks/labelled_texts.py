"""Texts, or pairs of texts, and their labels: what can be learned from, and what is left out."""

import math
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import parent_process
from typing import Any

import numpy as np
import pandas as pd

from probes.jobs.amounts import first_of, how_many
from probes.tasks.text_file import bare, column_of, text_column

#: The columns of texts that :func:`labelled_texts` makes: the text, and the other of a pair.
PARTS = ("text", "pair")
#: Classes that are named with their numbers of examples, and letters of a name that are shown.
NAMED, LETTERS = 5, 30
#: From here on two digits would be those of 1.
SHARE = 0.995
#: Largest number of single precision.
LARGEST = float(np.finfo(np.float32).max)
#: Dashes that are read as a minus, and quotes that are read as an apostrophe.
LOOK_ALIKE = dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-") | dict.fromkeys(
    [0x2018, 0x2019, 0x2032], "'"
)
#: What decoders write for what they cannot read.
REPLACEMENT = "\ufffd"
#: A label must be of one of these kinds throughout.
KINDS = ((bool, "true or false"), (int | float, "a number"), (str, "a text"))


def labelled_texts(
    table: pd.DataFrame,
    columns: Sequence[str],
    label_column: str,
    where: str,
    *,
    numbers: bool = False,
    training: pd.DataFrame | None = None,
    known: bool = False,
) -> pd.DataFrame:
    """Take the texts that can be learned from, each once, and say in a line what is used.

    A text that stands there twice would be in S and in the test set: of copies one is kept, and
    none where their labels differ. Rows without a text or a label are left out. What nobody sees
    tells neither labels nor texts apart: see :func:`probes.tasks.text_file.bare`.

    Args:
        table: made by :func:`probes.tasks.text_file.read_table`.
        columns: one column of texts, or the two of pairs.
        label_column: column of the labels.
        where: what the table is called in messages.
        numbers: whether labels are numbers, and not classes.
        training: made by this function of another table, whose texts are left out.
        known: whether it is a corpus that is known, and not somebody's own: copies are the same to
            the letter, and nothing is said where all is used.

    Returns:
        Rows of ``text``, ``pair`` where there are pairs, and ``label``, texts, or a finite float
        where labels are numbers, in the order and with the places of the table.

    Raises:
        ValueError: no such column, a cell that is no text, labels that are of several kinds, or
            no finite numbers.
    """
    parts = PARTS[: len(columns)]
    names = dict(zip([*parts, "label"], [*columns, label_column], strict=True))
    if len(set(names.values())) < len(names):
        raise ValueError(
            f"columns of texts and labels must differ; got {', '.join(names.values())}"
        )
    read = pd.DataFrame({part: text_column(table, names[part], where) for part in parts})
    written = _labels(table, label_column, where)
    read["label"] = written.map(bare, na_action="ignore")
    missing = read.isna()
    whole = read[~missing.any(axis=1)]
    if numbers:
        whole = whole.assign(label=_numbers(whole["label"], label_column, where))
    keys = _keys(whole, exact=known)
    agreeing = whole[whole.groupby(keys)["label"].transform("nunique") == 1]
    single = agreeing[~keys[agreeing.index].duplicated()]
    seen = set() if training is None else set(_keys(training))
    kept = single[~keys[single.index].isin(seen)]
    left_out = {
        **{f"without {names[part]}": int(missing[part].sum()) for part in names},
        "of one text with different labels": len(whole) - len(agreeing),
        "duplicates": len(agreeing) - len(single),
        "in the training file": len(single) - len(kept),
    }
    changed = int((written[kept.index] != read["label"][kept.index]).sum())
    notes = [*_damaged(kept[list(parts)]), *([_bared(changed)] if changed else [])]
    notes += [] if numbers else _alike(kept["label"])
    if not known or notes or any(left_out.values()):
        said = [rows_used(len(read), len(kept), left_out), *labels_used(kept["label"]), *notes]
        say_once(f"{where}: {'; '.join(said)}")
    return kept


def rows_used(read: int, used: int, left_out: Mapping[str, int]) -> str:
    """Say how many rows are used, and why the others are not.

    >>> rows_used(4, 3, {"without text": 0, "duplicates": 1})
    '4 rows, 3 used: 1 duplicate'

    Args:
        read: rows of the table.
        used: rows that are used.
        left_out: numbers of rows, by what they are.

    Returns:
        Words on the numbers of rows.
    """
    why = ", ".join(
        f"{count} {'duplicate' if (what, count) == ('duplicates', 1) else what}"
        for what, count in left_out.items()
        if count
    )
    return f"{how_many(read, 'row')}, {used} used" + (f": {why}" if why else "")


def classes_used(labels: "pd.Series[Any]") -> str:
    """Say how many examples of each class there are, and what a constant guess would score.

    >>> classes_used(pd.Series(["a", "a", "b"]))
    'classes a 2, b 1; always guessing a: 0.67'

    Args:
        labels: of the rows that are used, at least one.

    Returns:
        The words. Of many classes, the largest are named.
    """
    counts = labels.value_counts()
    named = first_of((f"{shown(name)} {count}" for name, count in counts.items()), NAMED)
    share = counts.iloc[0] / len(labels)
    digits = 2 if share == 1 or share < SHARE else 4  # not 1.00 where there is another class
    largest = f"always guessing {shown(counts.index[0])}: {share:.{digits}f}"
    return f"classes {named}; {largest}"


def shown(name: Any) -> str:
    """A class as it can be printed: control characters escaped, and cut where it is long.

    >>> shown("red"), shown("red\\x1b[31m"), shown("x" * 99)
    ('red', 'red\\\\x1b[31m', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…')
    """
    text = str(name)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"


def _labels(table: pd.DataFrame, name: str, where: str) -> "pd.Series[Any]":
    """Labels as texts, None where there is none; whole numbers without a point."""
    column = column_of(table, name, where)
    first: dict[str, Any] = {}
    for place, value in column.items():
        for kind, said in KINDS:
            if isinstance(value, kind) and value == value:
                first.setdefault(said, place)
                break
    if len(first) > 1:
        found = " and ".join(f"{said} in {column.index.name} {one}" for said, one in first.items())
        raise ValueError(f"{where}: column {name!r} must hold labels of one kind; it holds {found}")
    whole = any(type(value) is int for value in column)
    numbers = [_one_number(value, whole) if type(value) is float else value for value in column]
    column = pd.Series(numbers, index=column.index, dtype=object, name=name)
    return text_column(column.to_frame(), name, where)


def _one_number(value: float, whole: bool) -> int | float:
    """A number of JSON or Parquet, of which 0.0 and -0.0 are one, and 1 and 1.0."""
    return int(value) if whole and value.is_integer() else value + 0.0


def _bared(count: int) -> str:
    return f"labels in which blanks, what is invisible or the Unicode form did not count: {count}"


def _alike(labels: "pd.Series[Any]") -> list[str]:
    """Say which classes may be meant to be one: another case, width or dash, or equal numbers."""
    found: dict[Any, list[str]] = {}
    for label in labels.unique():
        found.setdefault(_number(label, label.casefold()), []).append(label)
    groups = [" and ".join(map(shown, names)) for names in found.values() if len(names) > 1]
    return [f"different classes that look alike: {first_of(groups, NAMED)}"] * bool(groups)


def _number(label: str, otherwise: str) -> float | str:
    """A label as a number; where it is none, the words in the usual width, dashes and quotes."""
    try:
        value = float(label.translate(LOOK_ALIKE))
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    return unicodedata.normalize("NFKC", otherwise).translate(LOOK_ALIKE)


def _numbers(labels: "pd.Series[Any]", column: str, where: str) -> "pd.Series[Any]":
    """Labels as numbers that single precision holds."""
    found = []
    for place, label in labels.items():
        try:
            value = float(label) if label.isascii() and "_" not in label else math.nan
        except ValueError:
            value = math.nan
        if not abs(value) <= LARGEST:
            raise ValueError(
                f"{where}: {labels.index.name} {place}, column {column!r} must be a finite number "
                f"for regression; got {label!r}"
            )
        found.append(value)
    return pd.Series(found, index=labels.index, dtype=float)


def _keys(texts: pd.DataFrame, exact: bool = False) -> "pd.Series[Any]":
    """What tells a text, or a pair of texts, from others."""
    parts = [part for part in PARTS if part in texts]
    return pd.Series(
        [
            row if exact else tuple(map(bare, row))
            for row in texts[parts].itertuples(index=False, name=None)
        ],
        index=texts.index,
        dtype=object,
    )


def _damaged(texts: pd.DataFrame) -> list[str]:
    count = int(texts.map(lambda text: REPLACEMENT in text).any(axis=1).sum())
    return [f"texts with characters that were lost (U+FFFD), kept: {count}"] if count else []


def labels_used(labels: "pd.Series[Any]") -> list[str]:
    """Say what the labels are: their classes, or the range of numbers.

    Args:
        labels: of the rows that are used; of type float where they are numbers.

    Returns:
        Words; none where there are no labels.
    """
    if not len(labels):
        return []
    if labels.dtype != float:
        return [classes_used(labels)]
    return [
        f"labels from {labels.min():g} to {labels.max():g}, mean {labels.mean():.3g}, standard "
        f"deviation {labels.std(ddof=0):.3g}"
    ]


def one_of_each(texts: pd.DataFrame) -> pd.DataFrame:
    """Keep one of equal texts, and none of those whose labels differ."""
    labels = texts.groupby("text")["label"].transform("nunique")
    return texts[labels == 1].drop_duplicates("text")


@cache
def say_once(line: str) -> None:
    """Print a line on standard error, once, and not again by the processes beside this one."""
    if parent_process() is None and os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)

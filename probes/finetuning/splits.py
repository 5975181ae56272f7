"""The splits of a data set: read from the hub or from files; a message names file, row, column."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from probes.finetuning.task import Corpus
from probes.tasks.text_file import FORMATS, as_text, bare, column_of, read_table

if TYPE_CHECKING:
    from datasets import Dataset

#: What the files of a split begin with in a folder: the hub's names, and others that are common.
NAMES = {"validation": ("validation", "dev")}
#: Files by which a folder of ``save_to_disk`` is known.
SAVED_TO_DISK = ("dataset_dict.json", "dataset_info.json", "state.json")


@dataclass(frozen=True)
class Split:
    """Examples as they stand in a split.

    Attributes:
        name: for messages, such as "split train of squad".
        table: the examples.
        files: what the rows come from: a file and the places of its rows, one after the other;
            empty for the hub.
    """

    name: str
    table: "Dataset"
    files: tuple[tuple[Path, pd.Index], ...] = ()

    @property
    def source(self) -> str:
        """The files, or the name where the data are on the hub."""
        return ", ".join(str(file) for file, _ in self.files) or self.name

    def where(self, row: int) -> str:
        """Say where a row stands.

        Args:
            row: of the table, counted from 0.

        Returns:
            Such as "train.jsonl: line 4", or "split train of squad: row 4".
        """
        before = 0
        for file, places in self.files:
            if row < before + len(places):
                return f"{file}: {places.name} {places[row - before]}"
            before += len(places)
        return f"{self.name}: row {row + 1}"


def read_split(name: str, config: str | None, split: str, corpus: Corpus) -> Split:
    """Read a split of a data set, from the hub or from a folder with its layout.

    Args:
        name: on the hub.
        config: of the data set; in a folder, the folder of that name where there is one.
        split: its name; in a folder, files whose names begin with it.
        corpus: says where to look.

    Returns:
        The split as it stands there.

    Raises:
        ValueError: there is no such folder, split or data set, or it cannot be read.
    """
    known = f"split {split} of {config or name}"
    if corpus.data is not None:
        return _read_files(known, _files(Path(corpus.data), config, split), corpus.encoding)
    from datasets import load_dataset

    try:
        return Split(known, load_dataset(name, config, split=split))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ValueError(f"data of {name} cannot be read: {reason}") from None


def has_split(config: str, split: str, corpus: Corpus) -> bool:
    """Say whether a folder of data has files of a split; of the hub it is taken for granted.

    Args:
        config: of the data set.
        split: its name.
        corpus: says where to look.
    """
    return corpus.data is None or bool(_found(_places(Path(corpus.data), config), split))


def require_columns(split: Split, names: Sequence[str]) -> None:
    """Check that the examples have the columns.

    Args:
        split: the examples.
        names: of the columns.

    Raises:
        ValueError: one is missing.
    """
    missing = [name for name in names if name not in split.table.column_names]
    if missing:
        known = ", ".join(split.table.column_names)
        raise ValueError(f"{split.source} has no column {', '.join(missing)}; there are {known}")


def require_texts(split: Split, names: Sequence[str]) -> None:
    """Check that every cell of some columns is a text.

    Args:
        split: the examples.
        names: of its columns.

    Raises:
        ValueError: a column or a text is missing, or it is something else; the message names the
            file, the row and the column.
    """
    require_columns(split, names)
    for name in names:
        for row, value in enumerate(split.table[name]):
            if not isinstance(value, str):
                kind = "nothing" if value is None else f"of type {type(value).__name__}"
                where = split.where(row)
                raise ValueError(f"{where}, column {name!r}, must be a text; it is {kind}")


def rows_with(split: Split, names: Sequence[str]) -> tuple[list[int], dict[str, int]]:
    """Find the rows in which no text is blank.

    Args:
        split: the examples.
        names: of columns of texts.

    Returns:
        Their places, and numbers of the others by what they lack, as
        :func:`probes.tasks.labelled_texts.rows_used` says them.
    """
    blank = {name: [not bare(text) for text in split.table[name]] for name in names}
    kept = [row for row, lacks in enumerate(zip(*blank.values(), strict=True)) if not any(lacks)]
    return kept, {f"without {name}": sum(lacks) for name, lacks in blank.items()}


def _read_files(name: str, files: list[Path], encoding: str) -> Split:
    """Read the files of a split, one after the other."""
    from datasets import Dataset, concatenate_datasets
    from datasets.exceptions import DatasetGenerationError

    parts, places = [], []
    for file in files:
        table = read_table(file, encoding)
        columns = {
            str(column): _of_one_kind(column_of(table, str(column), str(file)), str(file))
            for column in table.columns
        }
        parts.append(Dataset(pa.table(columns)))
        places.append((file, table.index))
    try:
        return Split(name, concatenate_datasets(parts), tuple(places))
    except (ValueError, DatasetGenerationError, pa.ArrowException) as error:
        reason = str(error).strip().splitlines()[0]
        listed = ", ".join(map(str, files))
        raise ValueError(
            f"files of a split must have the same columns ({listed}): {reason}"
        ) from None


def _of_one_kind(column: "pd.Series[Any]", file: str) -> pa.Array:
    """A column of Arrow; the first value that does not fit those before it is named."""
    values = column.tolist()
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        least, most = 1, len(values)  # the first that fails: so many values, or fewer
        while least < most:
            middle = (least + most) // 2
            if _fits(values[:middle]):
                least = middle + 1
            else:
                most = middle
        place = (
            f"{file}: {column.index.name} {column.index[most - 1]}, column {str(column.name)!r},"
        )
        if isinstance(values[most - 1], str):
            as_text(values[most - 1], place)  # says that it is no Unicode
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{place} holds a value of another kind than the rows above it: {reason}"
        ) from None


def _fits(values: list[Any]) -> bool:
    try:
        pa.array(values, from_pandas=True)
    except (pa.ArrowException, UnicodeEncodeError):
        return False
    return True


def _places(folder: Path, config: str | None) -> list[Path]:
    return [folder / config, folder, folder / "data"] if config else [folder, folder / "data"]


def _found(places: Sequence[Path], split: str) -> list[Path]:
    """The files of a split in the first place, and format, of which there are any."""
    for place in places:
        for name, ending in product(NAMES.get(split, (split,)), reversed(FORMATS)):
            found = [
                one for kind in (ending[1:], f"{ending[1:]}.gz")
                for one in place.glob(f"{name}[-.]*{kind}") if one.is_file()
            ]  # fmt: skip
            if found:
                return sorted(found)
    return []


def _files(folder: Path, config: str | None, split: str) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"data must be a folder; there is no {folder}")
    places = _places(folder, config)
    if found := _found(places, split):
        return found
    saved = any((folder / name).is_file() for name in SAVED_TO_DISK)
    hint = (
        ": a folder of save_to_disk is not read (write its splits by to_parquet)" if saved else ""
    )
    raise ValueError(f"data has no file of split {split!r} in {', '.join(map(str, places))}{hint}")

"""Tables in files: a cell is what stands there; nothing is guessed, and rows keep their place."""

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

#: Endings of the files that are read; ".gz" may follow all but the last.
FORMATS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
READABLE = "a CSV, TSV, JSON, JSON Lines or Parquet file"
#: Of a CSV file: the first that its header holds.
SEPARATORS = (",", ";", "\t")
#: Marks at the beginning of a file that say its encoding.
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def read_table(path: Path, encoding: str = "utf-8", errors: str = "strict") -> pd.DataFrame:
    """Read a table. "None", "NA" and "01" are texts like any other.

    A CSV file is separated by commas, or by what its header has in their place: see
    :func:`separator_of`.

    Args:
        path: of a file that ends in one of ``FORMATS``.
        encoding: of a text file without a byte order mark.
        errors: what becomes of bytes that are not of that encoding: "strict" to refuse them,
            "replace" for a replacement character.

    Returns:
        One row an example, as Python values: of CSV and TSV texts, "" where a cell is empty; of the
        other formats what stands there, None where a value is missing. The index is the place of
        the row, counted from 1, and its name is "line" or "row".

    Raises:
        ValueError: no such file, another format, or a damaged file; the message names the line.
    """
    kind = Path(path.stem).suffix.lower() if path.suffix == ".gz" else path.suffix.lower()
    if kind not in FORMATS or (kind == ".parquet" and path.suffix == ".gz"):
        raise ValueError(f"data must be {READABLE} ({', '.join(FORMATS)}); got {path}")
    try:
        if kind == ".parquet":
            return _framed("row", _parquet_rows(path))
        text = _decoded(path, encoding, errors)
    except FileNotFoundError:
        raise ValueError(f"data must be {READABLE}; there is no {path}") from None
    except (OSError, EOFError, UnicodeError, pa.ArrowException) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"data must be {READABLE}; {path}: {reason}") from None
    if kind in (".csv", ".tsv"):
        return _separated(path, text, "\t" if kind == ".tsv" else separator_of(text))
    return _json(path, text)


def separator_of(text: str) -> str:
    """What separates the names in the header of a CSV file.

    >>> separator_of("text;label\\n1,5;a"), separator_of("text,label\\na;b,c")
    (';', ',')

    Args:
        text: of the file.

    Returns:
        A comma; a semicolon, as spreadsheets write where the comma is in numbers, or a tab where
        the header holds it and no comma.
    """
    header = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in SEPARATORS if mark in header), ",")


def check_encoding(name: str) -> None:
    """Raise ``ValueError`` unless Python knows the encoding."""
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        raise ValueError(
            f"encoding must be one that Python knows, such as cp1252; got {name!r}"
        ) from None


def as_text(value: Any, where: str) -> str | None:
    """Return a cell as text.

    Args:
        value: of the cell.
        where: what the cell is called in a message.

    Returns:
        A text as it stands there, a number or another plain value as Python writes it; None for a
        cell that is missing or blank.

    Raises:
        ValueError: a list, an object or bytes, or a text that is no Unicode.
    """
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, list | dict | tuple | bytes):
        raise ValueError(f"{where} must be a text; it is a {type(value).__name__}")
    text = str(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{where} is no Unicode text: it holds half of a character") from None
    return text if text.strip() else None


def text_column(table: pd.DataFrame, name: str, where: str) -> "pd.Series[Any]":
    """Return a column as texts.

    Args:
        table: made by :func:`read_table`.
        name: of the column.
        where: what the table is called in messages.

    Returns:
        Texts, None where there is none, with the places of the table's rows.

    Raises:
        ValueError: no such column, or two; or a cell that is no text.
    """
    known = list(map(str, table.columns))
    if known.count(name) != 1:
        found = "no" if name not in known else "more than one"
        raise ValueError(f"{where} has {found} column {name!r}; there are {', '.join(known)}")
    index = table.index
    texts = [
        as_text(value, f"{where}: {index.name} {place}, column {name!r},")
        for place, value in zip(index, table[name], strict=True)
    ]
    return pd.Series(texts, index=index, dtype=object)


def _decoded(path: Path, encoding: str, errors: str) -> str:
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    for mark, marked in BYTE_ORDER_MARKS.items():
        encoding = marked if content.startswith(mark) else encoding
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise ValueError(
            f"encoding must be that of the file: {path}, line {line}, has byte 0x{byte:02x}, which "
            f"is not {encoding} (a common one is cp1252; latin-1 takes every byte)"
        ) from None


def _separated(path: Path, text: str, separator: str) -> pd.DataFrame:
    rows: list[list[str]] = []
    places: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        with _fields_of_any_size():
            for row in reader:
                if rows and row and len(row) != len(rows[0]):
                    raise ValueError(
                        f"{path}: line {line} has {_fields(len(row))}, and the header has "
                        f"{len(rows[0])} (text that holds the separator must stand in quotes)"
                    )
                if row:  # no empty line
                    rows.append(row)
                    places.append(line)
                line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}: line {line} cannot be read: {error}") from None
    if not rows:
        raise ValueError(f"{path} is empty: a header with the names of the columns is needed")
    index = pd.Index(places[1:], name="line")
    return pd.DataFrame(rows[1:], columns=rows[0], index=index, dtype=object)


def _fields(count: int) -> str:
    return f"{count} field" + "s" * (count != 1)


@contextmanager
def _fields_of_any_size() -> Iterator[None]:
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _json(path: Path, text: str) -> pd.DataFrame:
    """Read a list of objects, SQuAD's nested objects, or an object a line."""
    if path.name.lower().removesuffix(".gz").endswith(".json"):
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError) as error:
            if len(text.strip().splitlines()) < 2 or not _is_object(text.strip().splitlines()[0]):
                raise ValueError(f"{path} is no JSON: {error}") from None
        else:
            return _framed("row", dict(enumerate(_examples(path, whole), 1)))
    rows = {}
    # Not splitlines: a text may hold characters that count as ends of a line there.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows[number] = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: line {number} is no JSON: {error}") from None
        if not isinstance(rows[number], dict):
            raise ValueError(f"{path}: line {number} must be an object, as in {{...}}")
    return _framed("line", rows)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _examples(path: Path, whole: Any) -> list[dict[str, Any]]:
    """The list of examples in a file of JSON, which may be called ``data``; of SQuAD, flattened.

    Source: the files of Rajpurkar et al. 2016, arXiv 1606.05250: data, paragraphs, qas.
    """
    rows = whole.get("data") if isinstance(whole, dict) else whole
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must be a list of objects, or hold one called data")
    if not rows or "paragraphs" not in rows[0]:
        return rows
    try:
        return [
            {"id": asked.get("id"), "title": article.get("title"), "context": paragraph["context"],
             "question": asked["question"], "answers": asked["answers"]}
            for article in rows for paragraph in article["paragraphs"] for asked in paragraph["qas"]
        ]  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not laid out as SQuAD's files are: {error!r}") from None


def _parquet_rows(path: Path) -> dict[int, dict[str, Any]]:
    return dict(enumerate(pq.ParquetFile(path).read().to_pylist(), 1))


def _framed(place: str, rows: dict[int, dict[str, Any]]) -> pd.DataFrame:
    """One column a key that occurs; None where a row does not have it."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    columns = {
        name: pd.Series([row.get(name) for row in rows.values()], dtype=object) for name in names
    }
    table = pd.DataFrame(columns, dtype=object)
    return table.set_axis(pd.Index(list(rows), name=place), axis=0)

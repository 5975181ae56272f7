"""Tables in files: a cell is what stands there; nothing is guessed, and rows keep their place."""

import csv
import gzip
import io
import json
import re
import sys
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from probes.jobs.amounts import how_many

#: Endings of the files that are read; ".gz" may follow all but the last, and need not.
FORMATS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
READABLE = "a CSV, TSV, JSON, JSON Lines or Parquet file"
#: Of a CSV file: the one that its header holds most often.
SEPARATORS = (",", ";", "\t")
#: Marks at the beginning of a file that say its encoding; the longer ones first.
BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig",
}  # fmt: skip
#: Not seen: soft hyphen, space and joiner of no width, marks of direction and of byte order.
INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, 0xFEFF])
#: How Excel says in a first line what separates.
EXCEL = re.compile(r'"?sep=(.)"?\r?\n')
#: The first line of a table that is not blank; a line may end within a cell in quotes.
HEADER = re.compile(r"""(?:\s*[\r\n])?((?:[^"\r\n]++|(?<![^,;\t\r\n])"(?:[^"]++|"")*+"|")*+)""")
#: What a compressed file begins with.
GZIP = b"\x1f\x8b"
#: What files begin with that are no text, whatever they are called, and what they are.
NO_TEXT = {
    rb"PK\x03\x04": "a zip archive, or a file of Excel: write it as CSV",
    rb"\xd0\xcf\x11\xe0": "a file of an old Excel: write it as CSV",
    rb"BZh[1-9]1AY&SY": "compressed by bzip2: unpack it",
    rb"\xfd7zXZ\0": "compressed by xz: unpack it",
    rb"\x28\xb5\x2f\xfd": "compressed by Zstandard: unpack it",
    rb"\x1f\x8b": "compressed twice: unpack it once",
}  # fmt: skip


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
        ValueError: no such file, another format, a file without rows, or a damaged one; the message
            names the line.
    """
    kind = Path(path.stem).suffix.lower() if _is_packed(path) else path.suffix.lower()
    if kind not in FORMATS or (kind == ".parquet" and _is_packed(path)):
        raise ValueError(f"data must be {READABLE} ({', '.join(FORMATS)}); got {path}")
    try:
        parquet = _parquet(path) if kind == ".parquet" else None
        text = "" if kind == ".parquet" else _decoded(path, encoding, errors)
    except FileNotFoundError:
        raise ValueError(f"data must be {READABLE}; there is no {path}") from None
    except IsADirectoryError:
        raise ValueError(f"data must be {READABLE}; {path} is a folder") from None
    except (OSError, EOFError, zlib.error, UnicodeError, pa.ArrowException) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"data must be {READABLE}; {path}: {reason}") from None
    if parquet is not None:
        table = parquet
    elif kind in (".csv", ".tsv"):
        table = _separated(path, text, "\t" if kind == ".tsv" else separator_of(text))
    else:
        table = _json(path, text)
    if table.empty:
        raise ValueError(f"{path} holds no rows")
    return table


def separator_of(text: str) -> str:
    """What separates the names in the header of a CSV file.

    >>> separator_of('text;label;"a, b, c"\\n1,5;a;'), separator_of("text,label\\na;b,c")
    (';', ',')

    Args:
        text: of the file.

    Returns:
        What a first line ``sep=`` says, as Excel reads and writes it; otherwise the most frequent
        one outside of quotes: a comma, also where there is none; a semicolon, as spreadsheets write
        where the comma is in numbers; or a tab.
    """
    if said := EXCEL.match(text):
        return said[1]
    header = HEADER.match(text)
    assert header is not None  # nothing matches, too
    return max(SEPARATORS, key=re.sub('"[^"]*"', "", header[1]).count)


def check_file(path: str) -> None:
    """Raise ``ValueError`` unless there is a file of data, and no folder."""
    file = Path(path)
    if file.is_file():
        return
    found = f"there is no {path}"
    if file.is_dir():
        found = f"{path} is a folder"
    elif file.exists():
        found = f"{path} is a pipe or a device, and no file that can be read again"
    raise ValueError(f"data must be {READABLE}; {found}")


def check_encoding(name: str) -> None:
    """Raise ``ValueError`` unless Python knows the encoding."""
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        raise ValueError(
            f"encoding must be one that Python knows, such as cp1252; got {name!r}"
        ) from None


def bare(text: str) -> str:
    """Return a text as it is compared with others: without what nobody sees.

    >>> bare(" very\u00a0 good\u200b"), bare("cafe\u0301") == "caf\u00e9"
    ('very good', True)

    Args:
        text: a label, the name of a column, or a whole text.

    Returns:
        Unicode's composed form without ``INVISIBLE``; runs of blanks are one, and none at the ends.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(INVISIBLE))
    return " ".join(text.split())


def as_text(value: Any, where: str) -> str | None:
    """Return a cell as text.

    Args:
        value: of the cell.
        where: what the cell is called in a message.

    Returns:
        A text as it stands there, a number or another plain value as Python writes it; None for a
        cell that is missing, or in which there is nothing to see.

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
    return text if bare(text) else None


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
    column = column_of(table, name, where)
    texts = [
        as_text(value, f"{where}: {column.index.name} {place}, column {name!r},")
        for place, value in column.items()
    ]
    return pd.Series(texts, index=column.index, dtype=object)


def column_of(table: pd.DataFrame, name: str, where: str) -> "pd.Series[Any]":
    """Return the column of a name.

    Args:
        table: made by :func:`read_table`.
        name: of the column; compared by :func:`bare`.
        where: what the table is called in messages.

    Raises:
        ValueError: no such column, or two.

    Returns:
        The column, one entry a row.
    """
    known = [bare(str(column)) for column in table.columns]
    count = known.count(bare(name))
    if count != 1:
        there = ", ".join(repr(str(column)) for column in table.columns)
        raise ValueError(
            f"{where} has {'more than one' if count else 'no'} column {name!r}; there are {there}"
        )
    return table.iloc[:, known.index(bare(name))]


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _decoded(path: Path, encoding: str, errors: str) -> str:
    content = path.read_bytes()
    if _is_packed(path) or content.startswith(GZIP):
        content = gzip.decompress(content)
    for beginning, what in NO_TEXT.items():
        if re.match(beginning, content):
            raise ValueError(f"data must be {READABLE}; {path} is {what}")
    marked = [name for mark, name in BYTE_ORDER_MARKS.items() if content.startswith(mark)]
    encoding = marked[0] if marked else encoding
    try:
        text = content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise ValueError(
            f"encoding must be that of the file: {path}, line {line}, has byte 0x{byte:02x}, which "
            f"is not {encoding} (a common one is cp1252; latin-1 takes every byte)"
        ) from None
    _check_decoded(path, content, text, encoding)
    return text.lstrip("\ufeff")  # a mark that was put before a mark


def _check_decoded(path: Path, content: bytes, text: str, encoding: str) -> None:
    """Refuse a text that another encoding than the file's has made."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"encoding must be that of the file: {path}, line {line}, holds a NUL, which no text "
            f"in {encoding} has (utf-16-le and utf-16-be are encodings that write it)"
        )
    one_byte_a_letter = len(text) == len(content) and not content.isascii()
    if one_byte_a_letter and _is_utf8(content):
        raise ValueError(
            f"encoding must be that of the file: {path} is utf-8, and in {encoding} its letters "
            "would be others"
        )


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _separated(path: Path, text: str, separator: str) -> pd.DataFrame:
    rows: list[list[str]] = []
    places: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        with _fields_of_any_size():
            for row in reader:
                if not rows and separator.join(row).strip('"') == f"sep={separator}":
                    row = []
                if rows and list(map(bare, row)) == rows[0]:
                    raise ValueError(
                        f"{path}: line {line} repeats the header (files that were put together?)"
                    )
                if rows and not _is_empty(row, rows) and len(row) != len(rows[0]):
                    raise ValueError(
                        f"{path}: line {line} has {how_many(len(row), 'field')}, and the header "
                        f"has {len(rows[0])} (text that holds the separator must stand in quotes)"
                    )
                if not _is_empty(row, rows):
                    rows.append(row if rows else list(map(bare, row)))
                    places.append(line)
                line = reader.line_num + 1
    except csv.Error as error:
        reason = str(error).replace("\t", "\\t")
        raise ValueError(
            f"{path}: line {line} cannot be read: {reason} (a cell that begins with a quote ends "
            "with one, and a quote within it is doubled)"
        ) from None
    if not rows:
        raise ValueError(f"{path} is empty: a header with the names of the columns is needed")
    index = pd.Index(places[1:], name="line")
    return pd.DataFrame(rows[1:], columns=rows[0], index=index, dtype=object)


def _is_empty(row: list[str], rows: list[list[str]]) -> bool:
    """Whether there is nothing in a line; of one column, an empty cell in quotes is a row."""
    one_column = rows and len(rows[0]) == 1
    return not row or (len(row) == 1 and not one_column and not row[0].strip())


@contextmanager
def _fields_of_any_size() -> Iterator[None]:
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _json(path: Path, text: str) -> pd.DataFrame:
    """Read a list of objects, SQuAD's nested objects, or an object a line."""
    # Not splitlines: a text may hold characters that count as ends of a line there.
    lines = {number: line for number, line in enumerate(text.split("\n"), 1) if line.strip()}
    if path.name.lower().removesuffix(".gz").endswith(".json"):
        try:
            whole = _loaded(text)
        except (ValueError, RecursionError) as error:
            if len(lines) < 2 or not _is_object(next(iter(lines.values()))):
                raise ValueError(f"{path} is no JSON: {error}") from None
        else:
            return _framed(path, "row", dict(enumerate(_examples(path, whole), 1)))
    rows = {}
    for number, line in lines.items():
        try:
            rows[number] = _loaded(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: line {number} is no JSON: {error}") from None
        if not isinstance(rows[number], dict):
            raise ValueError(f"{path}: line {number} must be an object, as in {{...}}")
    return _framed(path, "line", rows)


def _loaded(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which Python's reader would take the last of equal keys."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return found


def _is_object(line: str) -> bool:
    try:
        return isinstance(_loaded(line), dict)
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
    return [
        _asked(path, article, paragraph, asked, f"article {number}, paragraph {place}")
        for number, article in enumerate(rows, 1)
        for place, paragraph in enumerate(_list_in(path, article, "paragraphs", number), 1)
        for asked in _list_in(path, paragraph, "qas", number)
    ]


def _list_in(path: Path, whole: Any, name: str, article: int) -> list[Any]:
    found = whole.get(name) if isinstance(whole, dict) else None
    if not isinstance(found, list):
        raise ValueError(f"{path}: article {article} must have {name}, a list, as SQuAD's files do")
    return found


def _asked(path: Path, article: Any, paragraph: Any, asked: Any, where: str) -> dict[str, Any]:
    """A question of SQuAD in the hub's layout."""
    try:
        row = {"id": asked.get("id"), "title": article.get("title"),
               "context": paragraph["context"], "question": asked["question"],
               "answers": asked["answers"]}  # fmt: skip
    except (KeyError, AttributeError) as error:
        raise ValueError(
            f"{path}: {where}: a question is not laid out as in SQuAD's files: {error!r}"
        ) from None
    if asked.get("is_impossible") and row["answers"]:
        raise ValueError(f"{path}: {where}: a question is_impossible and has answers")
    return row


def _parquet(path: Path) -> pd.DataFrame:
    """The table column by column, as two may have one name."""
    read = pq.ParquetFile(path).read()
    columns = [pd.Series(column.to_pylist(), dtype=object) for column in read.columns]
    table = pd.DataFrame(dict(enumerate(columns)), dtype=object).set_axis(read.column_names, axis=1)
    return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="row"), axis=0)


def _framed(path: Path, place: str, rows: dict[int, dict[str, Any]]) -> pd.DataFrame:
    """One column a key that occurs; None where a row does not have it."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    for name in names:
        as_text(name, f"{path}: the name of a column")
    columns = {
        name: pd.Series([row.get(name) for row in rows.values()], dtype=object) for name in names
    }
    table = pd.DataFrame(columns, dtype=object)
    return table.set_axis(pd.Index(list(rows), name=place), axis=0)

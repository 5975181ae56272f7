"""Tables in files: what stands in a cell is what is read, and what is damaged is named."""

import bz2
import contextlib
import csv
import gzip
import json
import lzma
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.tasks.text_file import (
    as_text,
    check_encoding,
    check_file,
    column_of,
    read_table,
    text_column,
)

WORDS = ["None", "NA", "null", "nan", "n/a", "01", "1", "1e3", "TRUE", "9007199254740993", "é"]


def write(path, rows, names=("text", "label")):
    kind = path.suffix
    if kind in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if kind == ".tsv" else ",")
            writer.writerows([names, *rows])
    elif kind == ".parquet":
        pd.DataFrame(rows, columns=list(names)).to_parquet(path)
    else:
        made = [dict(zip(names, row, strict=True)) for row in rows]
        lines = "\n".join(map(json.dumps, made))
        path.write_text(lines if kind == ".jsonl" else json.dumps(made))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_words_that_look_like_nothing_or_like_numbers_are_texts(kind, tmp_path):
    rows = [(word, word) for word in WORDS]
    table = read_table(write(tmp_path / f"t.{kind}", rows))
    for name in ("text", "label"):
        assert text_column(table, name, "t").tolist() == WORDS


# A NUL is refused: it is what UTF-16 looks like.
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS).filter(any), min_size=1, max_size=5))
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_a_file_gives_back_what_was_written(kind, tmp_path_factory, rows):
    table = read_table(write(tmp_path_factory.getbasetemp() / f"back.{kind}", rows))
    assert table.values.tolist() == [list(row) for row in rows]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["text", '"text"', " text ", "text\u200b"])
def test_the_header_says_what_separates(mark, name, tmp_path):
    (tmp_path / "t.csv").write_text(
        f'{name}{mark}label{mark}"x, y; z"\n"a, b; c\td"{mark}x{mark}\n'
    )
    table = read_table(tmp_path / "t.csv")
    assert table[["text", "label"]].values.tolist() == [["a, b; c\td", "x"]]


@pytest.mark.parametrize("name", ['"text\n(one, or two, or more)"', '"\r\ntext"', '5" text'])
def test_a_line_may_end_in_the_name_of_a_column(name, tmp_path):
    (tmp_path / "t.csv").write_bytes(f"\n \n{name};label\r\na, b;x\r\n".encode())
    table = read_table(tmp_path / "t.csv")
    assert table["label"].tolist() == ["x"]
    assert table.iloc[:, 0].tolist() == ["a, b"]


def test_commas_in_the_header_of_a_tsv_file_separate_nothing(tmp_path):
    (tmp_path / "t.tsv").write_text("text, or none, or both\tlabel\na, b\tx\n")
    assert read_table(tmp_path / "t.tsv").values.tolist() == [["a, b", "x"]]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "sep=|"])
def test_excels_first_line_says_what_separates(line, tmp_path):
    mark = line.strip('"')[-1]
    (tmp_path / "t.csv").write_text(f"{line}\r\ntext{mark}label\r\na, b{mark}x\r\n")
    table = read_table(tmp_path / "t.csv")
    assert (table.to_dict("list"), table.index.tolist()) == (
        {"text": ["a, b"], "label": ["x"]},
        [3],
    )


def test_a_column_is_found_in_any_form_of_its_letters(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"te\u0301xt ": "a"}))
    table = read_table(tmp_path / "t.jsonl")
    assert text_column(table, "t\u00e9xt", "t.jsonl").tolist() == ["a"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(end, tmp_path):
    (tmp_path / "T.CSV").write_bytes(end.join(["text,label", "a,x", "", "b,y"]).encode())
    table = read_table(tmp_path / "T.CSV")
    assert table.values.tolist() == [["a", "x"], ["b", "y"]]
    assert table.index.tolist() == [2, 4]


def test_rows_keep_their_lines(tmp_path):
    (tmp_path / "t.csv").write_text('text,label\n"two\nlines",a\n\nlast,b\n')
    table = read_table(tmp_path / "t.csv")
    assert (table.index.name, table.index.tolist()) == ("line", [2, 5])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,label\nred, green,a\n", "line 2 has 3 fields, and the header has 2"),
        (b"text,label\nfine,a\nred\n", "line 3 has 1 field, and the header has 2"),
        (b'text,label\n"open,a\n', r"line 2 cannot be read: unexpected end of data \(a cell that"),
        (b'text,label\n"a"b,c\n', "line 2 cannot be read"),
        (b'"text"s,label\na,b\n', "line 1 cannot be read"),
        (b"", "is empty"),
        (b"text,label\n\n", "holds no rows"),
        (b"text,label\nfine,a\n\xef\xbb\xbftext,label\n", "line 3 repeats the header"),
        (b"text,label\nfine,a\nno\0,b\n", "line 3, holds a NUL"),
        ("text,label\nfine,a\n".encode("utf-16-le"), "line 1, holds a NUL"),
        (b"text,label\nfine,a\ncaf\xe9,b\n", "line 3, has byte 0xe9, which is not utf-8"),
    ],
)
def test_a_damaged_table_is_named_by_its_line(content, message, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.jsonl", '{"text": "a"}\n{"text": \n', "line 2 is no JSON"),
        ("t.jsonl", '{"text": "a"}\n3\n', "line 2 must be an object"),
        ("t.json", '[{"text": "a"}', "is no JSON"),
        ("t.json", '{"text": "a"}', "must be a list of objects"),
        ("t.json", "[1, 2]", "must be a list of objects"),
        ("t.json", "[" * 99_999, "is no JSON"),
        ("t.json", '{"text": "a"}\n{"text": ', "line 2 is no JSON"),
        ("t.json", '3\n{"text": "a"}', "is no JSON"),
        ("t.jsonl", "[" * 99_999, "line 1 is no JSON"),
        (
            "t.jsonl",
            '{"text": "a"}\n{"id": 1, "text": "a", "text": "b"}\n',
            "line 2 .* the key 'text' twice",
        ),
        ("t.jsonl", "\n", "holds no rows"),
        ("t.json", "[]", "holds no rows"),
        (
            "t.json",
            '{"data": [{"paragraphs": [{"qas": [{}]}]}]}',
            "article 1, paragraph 1: a questi",
        ),
        ("t.json", '{"data": [{"paragraphs": 3}]}', "article 1 must have paragraphs, a list"),
        ("t.json", '{"data": [{"paragraphs": []}, {}]}', "article 2 must have paragraphs"),
        ("t.json", '{"data": [{"paragraphs": [3]}]}', "article 1 must have qas, a list"),
        (
            "t.json",
            '{"data": [{"paragraphs": [{"qas": [3]}]}]}',
            "article 1, paragraph 1: a questi",
        ),
        ("t.tsv", 'text\tlabel\n"a"b\tc\n', r"line 2 cannot be read: '\\t' expected after"),
        (
            "t.json",
            '{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": "b", "answers": [1], '
            '"is_impossible": true}]}]}]}',
            "is_impossible and has answers",
        ),
        ("t.xlsx", "", "data must be a CSV, TSV, JSON"),
        ("t.parquet", "PAR1", "data must be a CSV, TSV"),
        ("t.csv.gz", "text", "data must be a CSV, TSV"),
        ("t.parquet.gz", "PAR1", r"data must be .*\(\.csv, .*; got .*t\.parquet\.gz"),
        ("t.json", '[{"text": "a", "\\ud800": 1}]', "name of a column is no Unicode text"),
    ],
)
def test_a_damaged_file_is_one_line(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as refused:
        read_table(tmp_path / name)
    assert len(str(refused.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_named(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match=r"folder\.csv is a folder"):
        read_table(tmp_path / "folder.csv")
    with pytest.raises(ValueError, match=r"there is no .*t\.csv"):
        read_table(tmp_path / "t.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, said in (("pipe", "is a pipe or a device"), ("folder", "is a folder"), ("t", "no ")):
        with pytest.raises(ValueError, match=said):
            check_file(str(tmp_path / f"{name}.csv"))


def test_the_encoding_is_what_is_said_or_marked(tmp_path):
    file = tmp_path / "t.csv"
    for encoding, said in (
        ("cp1252", "cp1252"), ("utf-16", "utf-8"), ("utf-32", "utf-8"), ("utf-8-sig", "utf-8"),
        ("utf-16-le", "utf-16-le"),
    ):  # fmt: skip
        file.write_bytes("text\ncafé\n".encode(encoding))
        assert read_table(file, said).values.tolist() == [["café"]]
    file.write_bytes("text\ncafé\n".encode())
    with pytest.raises(ValueError, match=r"t\.csv is utf-8, and in latin-1 its letters"):
        read_table(file, "latin-1")
    for name in ("klingon", "undefined", "utf-8\0"):
        with pytest.raises(ValueError, match="encoding must be one that Python knows"):
            check_encoding(name)


def test_compressed_files_and_long_cells_are_read(tmp_path):
    long = "word " * 100_000
    content = f"text,label\n{long},a\n".encode()
    for name in ("t.csv.gz", "t.csv"):
        (tmp_path / name).write_bytes(gzip.compress(content))
        assert read_table(tmp_path / name)["text"].item() == long
    assert csv.field_size_limit() < len(long)


CONTENT = b"text,label\n" + b"fine,a\n" * 9


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (bz2.compress(CONTENT), "compressed by bzip2"),
        (lzma.compress(CONTENT), "compressed by xz"),
        (pa.compress(CONTENT, "zstd", asbytes=True), "compressed by Zstandard"),
        (b"PK\3\4\x14\0\0\0", "a zip archive, or a file of Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a file of an old Excel"),
        (gzip.compress(gzip.compress(CONTENT)), "compressed twice"),
    ],
    ids=["bzip2", "xz", "zstd", "zip", "excel", "twice"],
)  # fmt: skip
def test_what_is_no_text_is_said_to_be_what_it_is_in_every_encoding(content, what, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    for encoding in ("utf-8", "latin-1"):
        with pytest.raises(ValueError, match=f"data must be a CSV, .*csv is {what}"):
            read_table(tmp_path / "t.csv", encoding)


def test_no_damage_of_a_compressed_file_is_a_traceback(tmp_path):
    """Of 90 flipped bits most are found by the checksum, some by what unpacks."""
    generator, packed = np.random.default_rng(0), gzip.compress(CONTENT)
    (tmp_path / "whole.csv.gz").write_bytes(packed)
    whole, same = read_table(tmp_path / "whole.csv.gz"), 0
    for _ in range(90):
        damaged = bytearray(packed)
        damaged[generator.integers(len(packed))] ^= 1 << generator.integers(8)
        (tmp_path / "t.csv.GZ").write_bytes(damaged)
        with contextlib.suppress(ValueError):
            assert read_table(tmp_path / "t.csv.GZ").equals(whole)
            same += 1
    assert same < 30


def test_two_columns_of_one_name_are_told_in_parquet_as_in_csv(tmp_path):
    columns = [pa.array(["a", "b"]), pa.array(["c", "d"]), pa.array([0, None])]
    pq.write_table(pa.table(columns, names=["text", "text", "label"]), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="more than one column 'text'"):
        column_of(table, "text", "t")
    assert column_of(table, "label", "t").tolist() == [0, None]
    assert (table.index.name, table.index.tolist()) == ("row", [1, 2])


def test_marks_and_blank_lines_before_the_header_and_between_rows_are_nothing(tmp_path):
    for before in (b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"  \n", b"\t\r\n\n"):
        (tmp_path / "t.csv").write_bytes(before + b'"text","label"\nfine,a\n  \ngood,b\n \n')
        table = read_table(tmp_path / "t.csv")
        assert list(table) == ["text", "label"]
        assert table.values.tolist() == [["fine", "a"], ["good", "b"]]
    (tmp_path / "t.csv").write_text('text\n""\n" "\n')
    assert read_table(tmp_path / "t.csv").values.tolist() == [[""], [" "]]
    (tmp_path / "t.json").write_bytes(b'\xef\xbb\xbf\xef\xbb\xbf[{"text": "a"}]')
    assert read_table(tmp_path / "t.json").values.tolist() == [["a"]]


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "T.JSON", "T.JSONL.GZ"])
def test_objects_stand_in_lines_whatever_the_file_is_called(name, tmp_path):
    content = b'{"text": "a\xe2\x80\xa8b"}\n \n{"label": "x", "text": "c"}\n'
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
    table = read_table(tmp_path / name)
    assert table.to_dict("list") == {"text": ["a\u2028b", "c"], "label": [None, "x"]}
    assert (table.index.name, table.index.tolist()) == ("line", [1, 3])


def test_the_nested_file_of_squad_is_one_question_a_row(tmp_path):
    asked = {"id": "q", "question": "who ?", "answers": [{"text": "us", "answer_start": 0}]}
    none = {"id": "r", "question": "why ?", "answers": [], "is_impossible": True}
    nested = {"data": [{"title": "t", "paragraphs": [{"context": "us", "qas": [asked, none]}]}]}
    (tmp_path / "train-v1.1.json").write_text(json.dumps(nested))
    table = read_table(tmp_path / "train-v1.1.json")
    shared = {"title": "t", "context": "us"}
    assert table.to_dict("records") == [
        shared | {name: one[name] for name in ("id", "question", "answers")}
        for one in (asked, none)
    ]


def test_numbers_of_other_formats_are_written_as_python_does(tmp_path):
    rows = [("a", 1), ("b", 9007199254740993), ("c", 0.5), ("d", True), ("e", None)]
    table = read_table(write(tmp_path / "t.jsonl", rows))
    expected = ["1", "9007199254740993", "0.5", "True", None]
    assert text_column(table, "label", "t").tolist() == expected


@pytest.mark.parametrize("value", [[1], {"a": 1}, b"bytes", "\ud83d"])
def test_what_is_no_text_is_refused_by_its_place(value):
    table = pd.DataFrame({"label": [value]}, index=pd.Index([7], name="line"), dtype=object)
    with pytest.raises(ValueError, match=r"t\.csv: line 7, column 'label',"):
        text_column(table, "label", "t.csv")


def test_a_column_that_is_missing_or_there_twice_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("text,text\na,b\n")
    table = read_table(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="more than one column 'text'"):
        text_column(table, "text", "t.csv")
    with pytest.raises(ValueError, match="no column 'label'; there are 'text', 'text'"):
        text_column(table, "label", "t.csv")


@pytest.mark.parametrize("value", [None, float("nan"), "", " \t", "\u200b\u00a0\ufeff"])
def test_only_an_empty_cell_is_missing(value):
    assert as_text(value, "here") is None

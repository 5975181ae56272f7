"""Texts and their labels: each text once, and what is left out is said."""

import pandas as pd
import pytest

from probes.tasks.labelled_texts import labelled_texts, one_of_each, say_once

ROWS = [
    ("a", "x", "1"), ("a", "x", "1"), ("b", "x", "1"), ("b", "x", "0"), ("b", "y", "0"),
    ("", "x", "0"), ("c", "x", None), ("None", "NA", "null"),
]  # fmt: skip


def table():
    index = pd.Index(range(2, 2 + len(ROWS)), name="line")
    return pd.DataFrame(ROWS, columns=["one", "other", "label"], index=index, dtype=object)


def test_pairs_are_told_apart_by_both_texts(capsys):
    found = labelled_texts(table(), ["one", "other"], "label", "pairs.csv")
    assert found.values.tolist() == [["a", "x", "1"], ["b", "y", "0"], ["None", "NA", "null"]]
    assert found.index.tolist() == [2, 6, 9]
    assert capsys.readouterr().err == (
        "pairs.csv: 8 rows, 3 used: 1 without one, 1 without label, 2 of one text with different "
        "labels, 1 duplicate; classes 1 1, 0 1, null 1; always guessing 1: 0.33\n"
    )


def test_texts_alone_have_one_column(capsys):
    found = labelled_texts(table(), ["one"], "label", "texts.csv")
    assert found.values.tolist() == [["a", "1"], ["None", "null"]]
    assert "3 of one text with different labels" in capsys.readouterr().err


def test_classes_are_said_where_all_rows_are_used(capsys):
    rows = table().iloc[[0, 4]]
    labelled_texts(rows, ["one"], "label", "packaged.csv", known=True)
    assert capsys.readouterr().err == ""
    labelled_texts(rows, ["one"], "label", "whole.csv")
    assert capsys.readouterr().err == (
        "whole.csv: 2 rows, 2 used; classes 1 1, 0 1; always guessing 1: 0.50\n"
    )


def rows(*pairs, names=("text", "label")):
    index = pd.Index(range(2, 2 + len(pairs)), name="line")
    return pd.DataFrame(pairs, columns=list(names), index=index, dtype=object)


def read(*pairs, **options):
    return labelled_texts(rows(*pairs), ["text"], "label", "t.csv", **options)


def test_blanks_around_a_label_and_forms_of_its_letters_do_not_count(capsys):
    found = read(("a", " é"), ("b", "e\u0301"), ("c", "é"), ("d", "01"), ("e", "1"))
    assert found["label"].tolist() == ["é", "é", "é", "01", "1"]
    assert capsys.readouterr().err.endswith(
        "; labels read without blanks around them, or in the usual Unicode form: 2\n"
    )


def test_texts_that_differ_in_blanks_alone_are_one(capsys):
    found = read(("a b", "x"), (" a  b", "x"), ("a b c", "y"), ("a b c ", "x"))
    assert found["text"].tolist() == ["a b"]
    assert "2 of one text with different labels, 1 duplicate" in capsys.readouterr().err
    exact = read(("a b", "x"), (" a  b", "x"), known=True)
    assert exact["text"].tolist() == ["a b", " a  b"]


def test_numbers_of_one_value_are_one_class():
    found = read(("a", 1), ("b", 1.0), ("c", 2), ("d", float("nan")), ("e", 0.5))
    assert found["label"].tolist() == ["1", "1", "2", "0.5"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((1, "1"), "a number in line 2 and a text in line 3"),
        ((True, 1), "true or false in line 2 and a number in line 3"),
        (("x", None, False), "a text in line 2 and true or false in line 4"),
    ],
)
def test_labels_of_several_kinds_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        read(*((str(number), label) for number, label in enumerate(labels)))


def test_lost_characters_are_counted(capsys):
    read(("a\ufffd", "x"), ("b", "y"), known=True)
    assert capsys.readouterr().err.endswith("lost (U+FFFD), kept: 1\n")


def test_labels_that_are_numbers_are_said_as_such(capsys):
    found = read(("a", "1"), ("a", "1.0"), ("b", " 3 "), numbers=True)
    assert found["label"].tolist() == [1.0, 3.0]
    assert "3 rows, 2 used: 1 duplicate; labels from 1 to 3, mean 2, " in capsys.readouterr().err


@pytest.mark.parametrize("label", ["many", "inf", "nan", "1_0", "1,5", "1e300", "١", "True", "0x1"])
def test_a_label_that_is_no_number_is_named(label):
    with pytest.raises(ValueError, match=r"t\.csv: line 3, column 'label' must be a finite number"):
        read(("a", "1"), ("b", label), numbers=True)


def test_texts_of_another_table_are_left_out(capsys):
    training = read(("a b", "x"), ("c", "y"))
    found = read(("a  b", "x"), ("d", "x"), training=training)
    assert found["text"].tolist() == ["d"]
    assert "2 rows, 1 used: 1 in the training file; " in capsys.readouterr().err


def test_columns_must_differ():
    with pytest.raises(ValueError, match="must differ; got text, text"):
        labelled_texts(rows(("a", "b")), ["text"], "text", "t.csv")


def test_the_same_is_said_once(capsys):
    say_once("the same line")
    say_once("the same line")
    assert capsys.readouterr().err == "the same line\n"


def test_of_equal_texts_one_is_kept_and_none_where_labels_differ():
    texts = pd.DataFrame({"text": ["a", "a", "b", "b", "c"], "label": ["x", "x", "x", "y", "y"]})
    assert one_of_each(texts).to_dict("list") == {"text": ["a", "c"], "label": ["x", "y"]}

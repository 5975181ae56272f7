"""Texts and their labels: each text once, and what is left out is said."""

import pandas as pd
import pytest

from probes.tasks.labelled_texts import classes_used, labelled_texts, one_of_each, say_once

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


def test_what_cannot_be_seen_does_not_tell_labels_apart(capsys):
    found = read(("a", " é"), ("b", "e\u0301"), ("c", "é"), ("d", "é\u200b"), ("e", "\ufeffé"),
                 ("f", "x\u00a0 y"), ("g", "x y"))  # fmt: skip
    assert found["label"].tolist() == ["é"] * 5 + ["x y"] * 2
    assert capsys.readouterr().err.endswith(
        "; labels in which blanks, what is invisible or the Unicode form did not count: 5\n"
    )


@pytest.mark.parametrize(
    ("labels", "words"),
    [(("A", "a", "b", "B"), "A and a, b and B"), (("01", "1", "2"), "01 and 1"),
     (("0", "0.0", "-0"), "0 and 0.0 and -0"), (("Ａ", "A"), "Ａ and A"),
     (("-1", "\u22121", "1"), "-1 and \u22121"), (("don't", "don\u2019t"), "don't and don\u2019t"),
     (("co-op", "co\u2011op"), "co-op and co\u2011op"), (("a", "b", "nan", "NaNs"), "")],
)  # fmt: skip
def test_classes_that_look_alike_are_said_and_stay_different(labels, words, capsys):
    found = read(*((str(number), label) for number, label in enumerate(labels)))
    assert found["label"].tolist() == list(labels)
    said = capsys.readouterr().err
    assert said.endswith(f"different classes that look alike: {words}\n" if words else "0.25\n")


def test_a_share_of_nearly_all_is_not_written_as_all():
    assert classes_used(pd.Series(["a"] * 999 + ["b"])).endswith("always guessing a: 0.9990")
    assert classes_used(pd.Series(["a"] * 9)).endswith("always guessing a: 1.00")


def test_texts_that_differ_in_what_cannot_be_seen_are_one(capsys):
    found = read(("a b", "x"), (" a  b", "x"), ("a b\u200b", "x"), ("a b c", "y"), ("a b c ", "x"))
    assert found["text"].tolist() == ["a b"]
    assert "2 of one text with different labels, 2 duplicates" in capsys.readouterr().err
    exact = read(("a b", "x"), (" a  b", "x"), known=True)
    assert exact["text"].tolist() == ["a b", " a  b"]


def test_numbers_of_one_value_are_one_class():
    found = read(("a", 1), ("b", 1.0), ("c", 2), ("d", float("nan")), ("e", 0.5))
    assert found["label"].tolist() == ["1", "1", "2", "0.5"]
    assert read(("a", 0.0), ("b", -0.0))["label"].tolist() == ["0.0", "0.0"]


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

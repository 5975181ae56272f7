"""Texts and their labels: each text once, and what is left out is said."""

import pandas as pd

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
    labelled_texts(rows, ["one"], "label", "packaged.csv", said=False)
    assert capsys.readouterr().err == ""
    labelled_texts(rows, ["one"], "label", "whole.csv")
    assert capsys.readouterr().err == (
        "whole.csv: 2 rows, 2 used; classes 1 1, 0 1; always guessing 1: 0.50\n"
    )


def test_the_same_is_said_once(capsys):
    say_once("the same line")
    say_once("the same line")
    assert capsys.readouterr().err == "the same line\n"


def test_of_equal_texts_one_is_kept_and_none_where_labels_differ():
    texts = pd.DataFrame({"text": ["a", "a", "b", "b", "c"], "label": ["x", "x", "x", "y", "y"]})
    assert one_of_each(texts).to_dict("list") == {"text": ["a", "c"], "label": ["x", "y"]}

"""How numbers are written: digits, marks, intervals, and what a narrow or a wide output shows."""

import contextlib
import os
import sys

import numpy as np
import pandas as pd
import pytest

from probes.results.answer_words import ends_in_words, mean_in_words, share_in_words
from probes.results.first_screen import first_screen, fitted, without_constant_words
from probes.results.text_tables import (
    TextTable,
    decimals,
    least_width,
    print_table,
    rates,
    train_losses,
    with_interval,
)
from tests.probes.tables import INFINITE, NAN


def test_rates_have_no_digits_that_say_nothing():
    assert rates([0.0, 0.1, 0.25, 0.30000000000000004, 1e-7]) == [
        "0",
        "0.1",
        "0.25",
        "0.3",
        "1e-07",
    ]


def test_decimals_are_four_or_as_many_as_are_asked_for_and_none_for_what_is_large():
    assert decimals([0.12345, -0.00001, 2, NAN, INFINITE, 123456789.0]) == [
        "0.1235", "0.0000", "2.0000", "nan", "inf", "1.235e+08",
    ]  # fmt: skip
    assert decimals([-123456789.0, 1e5, 99999.5]) == ["-1.235e+08", "1e+05", "99999.5000"]
    assert decimals(pd.Series([0.5, 1.25]), digits=1) == ["0.5", "1.2"]


def test_a_train_loss_below_a_twentieth_is_marked():
    summary = pd.DataFrame({"train_loss": [0.0499, 0.05, 0.0, NAN, INFINITE]})
    assert train_losses(summary) == [
        "0.0499 (near 0)", "0.0500", "0.0000 (near 0)", "nan", "inf",
    ]  # fmt: skip


def test_an_interval_is_written_as_half_its_width():
    summary = pd.DataFrame({"gap": [0.5, -0.5, 0.25], "gap_low": [0.375, -0.75, 0.25]})
    assert with_interval(summary, "gap") == [
        "0.5000 ± 0.1250", "-0.5000 ± 0.2500", "0.2500 ± 0.0000",
    ]  # fmt: skip


def test_an_interval_that_four_decimals_would_hide_is_shown_and_rounding_is_not():
    means, halves = [0.5, -3e-6, 0.5, 0.5, 0.0, 0.1], [4e-5, 2e-6, 6e-5, 1e-15, 1e-15, np.inf]
    summary = pd.DataFrame({"gap": means, "gap_low": np.subtract(means, halves)})
    assert with_interval(summary, "gap") == [
        "0.5000 ± 4e-05", "-3e-06 ± 2e-06", "0.5000 ± 0.0001", "0.5000 ± 0.0000",
        "0.0000 ± 0.0000", "0.1000 ± inf",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mean", "half", "said"),
    [
        (0.5, 0.15, "0.50 ± 0.15"), (0.5, 0.26, "0.5 ± 0.3"), (0.5, 0.0199, "0.500 ± 0.020"),
        (123.4, 19.0, "123 ± 19"), (-0.01, 0.5, "0.0 ± 0.5"), (1e-9, 0.5, "0.0 ± 0.5"),
        (0.3, 1e7, "0.3 ± 1e+07"), (-0.7, 1e-17, "-0.7"), (NAN, NAN, "not known"),
        (-INFINITE, NAN, "not known"),
    ],
)  # fmt: skip
def test_a_sentence_says_a_mean_to_the_first_digit_that_is_uncertain(mean, half, said):
    assert mean_in_words({"gap": mean, "gap_low": mean - half}, "gap") == said


def test_the_ends_of_means_are_of_those_that_are_finite():
    gaps = [0.7, INFINITE, 0.6, 0.5, NAN, -INFINITE]
    table = pd.DataFrame({"p": range(6), "gap": gaps, "gap_low": np.subtract(gaps, 0.1)})
    said = ends_in_words(table, "gap", lambda row: f"p = {row['p']:g}")
    assert said == "0.50 ± 0.10 (p = 3) to 0.70 ± 0.10 (p = 0)"
    assert ends_in_words(table[:2], "gap", lambda row: "only") == "0.70 ± 0.10 (only)"


def test_a_share_is_rounded_to_nothing_or_all_only_where_it_is_that():
    shares = [0.0, 1e-9, 0.005, 0.006, 0.994, 0.995, 1.0]
    assert [share_in_words(share) for share in shares] == [
        "0%", "less than 1%", "less than 1%", "1%", "99%", "more than 99%", "100%",
    ]  # fmt: skip


def test_a_single_draw_has_no_interval_and_a_diverged_one_no_mean():
    summary = pd.DataFrame({"beta": [0.5, NAN], "beta_low": [NAN, NAN]})
    assert with_interval(summary, "beta") == ["0.5000", "nan"]


@pytest.fixture
def shown():
    cells = {"p": ["0.1", "0.3"], "verdict": ["holds", "nan"], "β": ["0.5000 ± 0.1250", "nan"]}
    return TextTable(pd.DataFrame(cells), "The title", "the caption")


def lines_of(said):
    return [line.strip() for line in said.splitlines() if line.strip()]


def test_into_a_pipe_every_row_is_a_line(shown, capsys):
    print_table(shown)
    title, top, header, rule, first, second, bottom, caption = lines_of(capsys.readouterr().out)
    assert (title, caption) == ("The title", "the caption")
    assert header.strip("┃").split("┃") == ["   p ", " verdict ", "               β "]
    assert first.strip("│").split("│") == [" 0.1 ", " holds   ", " 0.5000 ± 0.1250 "]
    assert second.strip("│").split("│") == [" 0.3 ", " nan     ", "             nan "]
    assert {top[0], rule[0], bottom[0]} == {"┏", "┡", "└"}


def test_where_it_is_narrow_words_wrap_and_numbers_stay_whole(capsys):
    words, number = "holds in most of the draws of S that were tried", "0.1234 ± 0.0567"
    table = pd.DataFrame({"verdict": [words], "gap without test set": [number]})
    print_table(TextTable(table, width=40))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 40
    assert said.count(number) == 1
    assert all(word in said for word in words.split())
    print_table(TextTable(table, width=10))
    assert capsys.readouterr().out.count(number) == 1
    # A header has the lines that its longest word allows.
    print_table(TextTable(pd.DataFrame({"gap without test set": ["0.1"]})))
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip("┃ ") for line in lines[1:5]] == ["gap", "without", "test", "set"]
    assert {len(line) for line in lines} == {11}


def test_the_first_screen_leaves_out_the_last_columns_that_do_not_fit():
    wide = pd.DataFrame({f"column {number}": ["0.1234 ± 0.0567"] for number in range(7)})
    assert list(fitted(wide, least_width(wide))) == list(wide)
    assert list(fitted(wide, 80)) == ["column 0", "column 1", "column 2", "column 3"]
    assert list(fitted(wide, 10)) == ["column 0", "column 1"]


def test_what_is_the_same_in_every_row_is_said_above_the_table():
    table = pd.DataFrame({"p": ["0.1", "0.3"], "inference": ["ensemble"] * 2, "β": ["1", "1"]})
    shown, said = without_constant_words(table)
    assert (list(shown), said) == (["p", "β"], ["inference: ensemble"])
    rows = table.assign(n="9", p="0.1")[["p", "n", "inference", "β"]]
    rows.insert(0, "data", "")
    above = first_screen(rows.assign(gap=["2", "3"]), "iris, n = 9, rank 2", "means", "more")
    # What the setting says already is not said again.
    assert above.setting == "iris, n = 9, rank 2; p = 0.1; inference: ensemble"
    assert (list(above.table), above.note) == (["β", "gap"], "means; more")


@pytest.mark.parametrize("columns", [{"N": "1"}, {"p": "0.1"}, {"p": ["0.1", "0.3"] * 13}])
def test_of_more_than_twelve_rows_twelve_are_shown_and_it_is_said(columns):
    many = pd.DataFrame({"β": list(map(str, range(26)))}).assign(**columns)
    shown = first_screen(many, "iris", "means", "more")
    assert (len(shown.table), shown.note) == (12, "means; 12 of 26 rows; more")
    all_of_them = first_screen(many.iloc[:12], "iris", "means", "more")
    assert (len(all_of_them.table), all_of_them.note) == (12, "means; more")


def test_what_looks_like_an_instruction_to_the_printer_is_a_word(capsys):
    print_table(TextTable(pd.DataFrame({"gap": ["1.00 [0.75, 1.25]"]})))
    assert "1.00 [0.75, 1.25]" in capsys.readouterr().out
    words = pd.DataFrame({"layer [b]": ["head [i]"]})
    print_table(TextTable(words, "in [bold]", "[quartiles]"))
    said = capsys.readouterr().out
    for bracket in ("[b]", "head [i]", "in [bold]", "[quartiles]"):
        assert bracket in said


@pytest.mark.parametrize("buffering", [1, -1])
def test_a_closed_pipe_is_an_error_of_its_own_and_ends_no_process(shown, monkeypatch, buffering):
    reading, writing = os.pipe()
    os.close(reading)
    pipe = os.fdopen(writing, "w", buffering)
    monkeypatch.setattr(sys, "stdout", pipe)

    def show():
        print_table(shown)
        pipe.flush()

    with pytest.raises(BrokenPipeError):
        show()
    with contextlib.suppress(BrokenPipeError):
        pipe.close()

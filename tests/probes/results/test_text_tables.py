"""How numbers are written: digits, marks, intervals, and what a narrow or a wide output shows."""

import pandas as pd
import pytest

from probes.results.text_tables import (
    TextTable,
    decimals,
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


def test_decimals_are_four_or_as_many_as_are_asked_for():
    assert decimals([0.12345, -0.00001, 2, NAN, INFINITE]) == [
        "0.1235", "-0.0000", "2.0000", "nan", "inf",
    ]  # fmt: skip
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


def test_into_a_pipe_a_table_is_as_wide_as_it_asks(capsys):
    """At the width of a terminal of old, the same table is folded and loses nothing."""
    wide = pd.DataFrame({f"column {number}": ["0123456789" * 2] for number in range(6)})
    print_table(TextTable(wide))
    assert capsys.readouterr().out.count("01234567890123456789") == 6
    print_table(TextTable(wide, width=80))
    folded = capsys.readouterr().out
    assert "01234567890123456789" not in folded
    assert max(map(len, folded.splitlines())) <= 80
    for digit in "0123456789":
        assert sum(line.count(digit) for line in folded.splitlines() if "│" in line) == 12


def test_what_looks_like_an_instruction_to_the_printer_is_a_word(capsys):
    print_table(TextTable(pd.DataFrame({"gap": ["1.00 [0.75, 1.25]"]})))
    assert "1.00 [0.75, 1.25]" in capsys.readouterr().out

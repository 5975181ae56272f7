"""Ticks are the rates that were measured, as far as there is room."""

from matplotlib.figure import Figure

from figures.rate_axis import rate_axis


def axis(rates):
    axes = Figure().subplots()
    rate_axis(axes, rates)
    return axes


def test_every_rate_has_a_tick_and_lies_within():
    axes = axis([0.5, 0.1, 0.5, 0.0])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.1", "0.5"]
    low, high = axes.get_xlim()
    assert low < 0
    assert high > 0.5
    assert axes.get_xlabel() == "dropout rate p"


def test_a_single_rate_has_room_on_both_sides():
    low, high = axis([0.3]).get_xlim()
    assert low < 0.3 < high


def test_ticks_that_would_write_over_each_other_are_left_out():
    axes = axis([0.0, 0.01, 0.02, 0.9])
    assert axes.get_xticks().tolist() == [0.0, 0.9]


def test_without_rates_there_is_no_tick_to_set():
    assert axis([]).get_xlabel() == "dropout rate p"

"""Every bound is a line, marked where it was measured, beside the gap that it bounds."""

import numpy as np
import pandas as pd
import pytest

from figures.comparison import draw
from tests.figures import artists

#: Sizes fall, so that the drawing has to order them. A and C bound one gap, B another one.
TABLE = pd.DataFrame(
    {"n": [400, 400, 400, 100, 100, 100, 50, 50, 50], "name": ["A", "B", "C"] * 3,
     "of": ["network", "coin", "network"] * 3,
     "bound": [2.0, 0.2, 1.0, 5.0, 0.5, 2.0, 7.0, 0.7, 3.0],
     "vacuous": [True, False, True] * 3,
     "measured": [np.nan] * 3 + [0.1, 0.3, 0.1, 0.2, 0.4, 0.2], "draws": [0] * 3 + [9] * 6,
     "coverage": [np.nan] * 3 + [0.9] * 6}
)  # fmt: skip
NETWORK, COIN = "gap, 1 − δ quantile: network", "gap, 1 − δ quantile: coin"


def test_lines_are_the_bounds_over_n():
    axes = draw(TABLE, "").axes[0]
    assert artists.lines(axes)["A"].tolist() == [[50, 7], [100, 5], [400, 2]]
    assert artists.lines(axes)["B"].tolist() == [[50, 0.7], [100, 0.5], [400, 0.2]]


def test_markers_stand_where_draws_were_made_and_are_those_of_the_gap():
    axes = draw(TABLE, "").axes[0]
    marked = [
        (line.get_marker(), line.get_xydata().tolist())
        for line in axes.lines
        if line.get_linestyle() == "None" and line.get_color() != "black"
    ]
    assert marked == [
        ("o", [[50, 7], [100, 5]]), ("s", [[50, 0.7], [100, 0.5]]), ("o", [[50, 3], [100, 2]]),
    ]  # fmt: skip
    black = {
        line.get_label(): line.get_marker() for line in axes.lines if line.get_color() == "black"
    }
    assert black == {NETWORK: "o", COIN: "s"}


def test_what_says_something_is_thick():
    """C is below 1 nowhere, B everywhere: of A, one size is told."""
    table = TABLE.assign(vacuous=[False, False, True, True, False, True, True, False, True])
    axes = draw(table, "").axes[0]
    thick = [line for line in axes.lines if line.get_linewidth() == 2.5]
    told = [line.get_xydata()[np.isfinite(line.get_ydata())].tolist() for line in thick]
    assert told == [[[400, 2]], [[50, 0.7], [100, 0.5], [400, 0.2]], []]


def test_every_gap_is_drawn_once():
    lines = artists.lines(draw(TABLE, "").axes[0])
    assert lines[NETWORK].tolist() == [[50, 0.2], [100, 0.1]]
    assert lines[COIN].tolist() == [[50, 0.4], [100, 0.3]]


def test_a_mean_and_a_quantile_of_one_gap_are_both_drawn():
    mean = TABLE["name"] == "C"
    table = TABLE.assign(
        measured=TABLE["measured"].mask(mean & (TABLE["draws"] > 0), 0.05),
        coverage=TABLE["coverage"].mask(mean),
    )
    axes = draw(table, "").axes[0]
    lines = artists.lines(axes)
    assert lines[NETWORK].tolist() == [[50, 0.2], [100, 0.1]]
    assert lines["mean gap: network"].tolist() == [[50, 0.05], [100, 0.05]]
    fills = {line.get_label(): line.get_fillstyle() for line in axes.lines}
    assert (fills[NETWORK], fills["mean gap: network"]) == ("full", "none")


def test_axes_and_curves_are_named():
    figure = draw(TABLE, "settings")
    axes, near = figure.axes
    assert axes.get_legend_handles_labels()[1] == ["A", "B", "C", NETWORK, COIN]
    assert [text.get_text() for text in figure.legends[0].texts] == ["A", "B", "C", NETWORK, COIN]
    assert artists.labels(figure) == [("n", "gap / C"), ("n measured", "")]
    assert [text.get_text() for text in near.get_xticklabels()] == ["50", "100"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.texts[0].get_text() == "vacuous above 1"
    assert figure.get_supxlabel() == "settings"


def test_the_second_panel_has_the_sizes_measured_and_what_lies_below_1():
    near = draw(TABLE, "").axes[1]
    lines = artists.lines(near)
    assert lines["B"].tolist() == [[50, 0.7], [100, 0.5]]
    assert lines[NETWORK].tolist() == [[50, 0.2], [100, 0.1]]
    assert near.get_yscale() == "linear"
    assert near.get_ylim() == pytest.approx((0, 1.08 * 0.7))


def test_the_line_stands_at_the_limit_of_the_verdict():
    """A bound between the error of guessing and 1 is vacuous, and not in the second panel."""
    axes, near = draw(TABLE, "", limit=0.6).axes
    assert axes.texts[0].get_text() == "vacuous above 0.6"
    assert [line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1] == [0.6]
    assert near.get_ylim() == pytest.approx((0, 1.08 * 0.5))


def test_the_smallest_gap_is_within_the_limits():
    small = TABLE.assign(measured=TABLE["measured"] / 1e4)
    assert draw(small, "").axes[0].get_ylim()[0] == pytest.approx(1e-5 / 3)
    assert draw(TABLE, "").axes[0].get_ylim()[0] == pytest.approx(1e-3 / 3)


def test_a_bound_without_end_is_left_out():
    figure = draw(TABLE.assign(bound=TABLE["bound"].replace(7.0, np.inf)), "")
    figure.draw_without_rendering()
    assert np.isnan(artists.lines(figure.axes[0])["A"][0, 1])
    rows = TABLE.index[TABLE["n"] == 400][:1].tolist()
    artists.assert_unmoved(lambda table: draw(table, ""), TABLE, rows, ["bound"], ["A"])


def test_nothing_measured_is_drawn_too():
    figure = draw(TABLE.assign(measured=np.nan, draws=0), "")
    figure.draw_without_rendering()
    assert len(figure.axes) == 1
    assert NETWORK not in artists.lines(figure.axes[0])
    draw(TABLE[:0], "").draw_without_rendering()

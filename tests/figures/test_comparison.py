"""Every bound is a line, with circles where its coverage was measured."""

import numpy as np
import pandas as pd
import pytest

from figures.comparison import draw
from tests.figures import artists

#: Sizes fall, so that the drawing has to order them.
TABLE = pd.DataFrame(
    {"n": [400, 400, 100, 100, 50, 50], "name": ["A", "B"] * 3,
     "bound": [2.0, 0.2, 5.0, 0.5, 7.0, 0.7], "measured": [np.nan, np.nan, 0.1, 0.3, 0.2, 0.3],
     "draws": [0, 0, 9, 9, 9, 9]}
)  # fmt: skip
MEASURED = "measured gap, 1 − δ quantile"


def test_lines_are_the_bounds_over_n():
    (axes,) = draw(TABLE, "").axes
    assert artists.lines(axes)["A"].tolist() == [[50, 7], [100, 5], [400, 2]]
    assert artists.lines(axes)["B"].tolist() == [[50, 0.7], [100, 0.5], [400, 0.2]]


def test_circles_stand_where_draws_were_made():
    (axes,) = draw(TABLE, "").axes
    circles = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert circles == [[[50, 7], [100, 5]], [[50, 0.7], [100, 0.5]]]


def test_the_measured_gap_is_the_first_bound_s():
    (axes,) = draw(TABLE, "").axes
    assert artists.lines(axes)[MEASURED].tolist() == [[50, 0.2], [100, 0.1]]


def test_axes_and_curves_are_named():
    figure = draw(TABLE, "settings")
    (axes,) = figure.axes
    assert artists.legend(axes) == ["A", "B", MEASURED]
    assert artists.labels(figure) == [("n", "gap / C")]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.texts[0].get_text() == "vacuous above"
    assert figure.get_suptitle() == "settings"


def test_the_smallest_gap_is_within_the_limits():
    small = TABLE.assign(measured=TABLE["measured"] / 1e4)
    assert draw(small, "").axes[0].get_ylim()[0] == pytest.approx(1e-5 / 3)
    assert draw(TABLE, "").axes[0].get_ylim()[0] == pytest.approx(1e-3 / 3)


def test_a_bound_without_end_is_left_out():
    figure = draw(TABLE.assign(bound=TABLE["bound"].replace(2.0, np.inf)), "")
    figure.canvas.draw()
    assert np.isnan(artists.lines(figure.axes[0])["A"][-1, 1])
    rows = TABLE.index[TABLE["n"] == 400][:1].tolist()
    artists.assert_unmoved(lambda table: draw(table, ""), TABLE, rows, ["bound"], ["A"])


def test_nothing_measured_is_drawn_too():
    figure = draw(TABLE.assign(measured=np.nan, draws=0), "")
    figure.canvas.draw()
    assert len(artists.lines(figure.axes[0])[MEASURED]) == 0

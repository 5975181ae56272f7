"""The gap against n is the table's, and so is the bound."""

import numpy as np
import pytest

from figures.generalization import APART, draw
from figures.legible_axes import NOT_POSITIVE
from tests.figures import artists
from tests.figures.tables import grid, without_high

#: Sizes fall, so that the drawing has to order them.
POINTS = without_high(grid(["gap", "gap_estimate", "bound"], n=[64, 16], p=[0.5, 0.1]))


def drawing(points=POINTS):
    return draw(points, "settings", strength=1.0, delta=0.05)


@pytest.mark.parametrize("panel", [0, 1])
def test_curves_pass_through_the_means(panel):
    points, ends = artists.error_bars(drawing().axes[panel])["p = 0.5"]
    own = POINTS.query("p == 0.5").sort_values("n")
    assert np.allclose(points[:, 0], own["n"] * (1 + APART / 2))
    assert np.allclose(points[:, 1], own["gap"])
    assert np.allclose(ends[:, 0], own["gap_low"])


@pytest.mark.parametrize(("panel", "name", "dash"), [(0, "gap_estimate", ":"), (1, "bound", "--")])
def test_estimate_and_bound_are_beside_them(panel, name, dash):
    lines = [line for line in drawing().axes[panel].lines if line.get_linestyle() == dash]
    for line, p in zip(lines, [0.1, 0.5], strict=True):
        own = POINTS[POINTS["p"] == p].sort_values("n")
        assert np.allclose(line.get_ydata(), own[name])
        assert np.allclose(line.get_xdata(), own["n"], rtol=APART)


def test_panels_and_curves_are_named():
    figure = drawing()
    left, right = figure.axes
    assert artists.legend(figure) == ["p = 0.1", "p = 0.5"]
    assert left.get_title() == "measured; dotted, hollow: without a test set"
    assert right.get_title() == "dashed, hollow: Theorem 4.4, λ = 1, δ = 0.05"
    assert artists.labels(figure) == [("n", "gap  (units of the loss)"), ("n", "gap")]
    assert (left.get_yscale(), right.get_yscale()) == ("linear", "log")
    for axes in figure.axes:
        assert [text.get_text() for text in axes.get_xticklabels()] == ["16", "64"]
        assert len(axes.get_xticks(minor=True)) == 0
    assert figure.get_supxlabel() == "settings"


def test_a_bound_whose_assumption_fails_is_left_out():
    figure = drawing(POINTS.assign(bound=np.nan))
    figure.draw_without_rendering()
    dashed = [line for line in figure.axes[1].lines if line.get_linestyle() == "--"]
    assert all(np.isnan(line.get_ydata()).all() for line in dashed)


def test_gaps_below_0_without_a_bound_leave_the_logarithmic_panel_empty():
    """Warnings are errors here: Matplotlib would warn of this axis."""
    below = POINTS.assign(gap=-POINTS["gap"], gap_low=-2 * POINTS["gap"], bound=np.nan)
    below["gap_high"] = below["gap"]
    figure = drawing(below)
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.axes[1].texts] == [NOT_POSITIVE]


def test_what_diverged_is_left_out():
    artists.assert_unmoved(drawing, POINTS, [0], ["gap", "gap_low"], ["p = 0.5"])

"""The gap figure shows both sides of the identity, as the tables have them."""

import numpy as np
import pandas as pd
import pytest

from figures.gap import draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

LABELS = {"gap": "test loss − train loss", "gap_estimate": "mean signed leave-one-out difference"}
#: Rates fall, so that the drawing has to order them.
POINTS = without_high(grid(list(LABELS), p=[0.5, 0.1]))
CELLS = pd.DataFrame(
    {"p": [0.5, 0.5, 0.1, 0.1], "gap": [0.1, 0.3, 0.2, 0.4], "gap_estimate": [0.15, 0.2, 0.5, 0.3]}
)


@pytest.mark.parametrize(("name", "shift"), [("gap", -0.006), ("gap_estimate", 0.006)])
def test_curves_pass_through_the_means(name, shift):
    left, _ = draw(POINTS, CELLS, "").axes
    points, ends = artists.error_bars(left)[LABELS[name]]
    own = POINTS.sort_values("p")
    assert np.allclose(points[:, 0], own["p"] + shift)
    assert np.allclose(points[:, 1], own[name])
    assert np.allclose(ends[:, 0], own[f"{name}_low"])
    assert np.allclose(ends[:, 1], 2 * own[name] - own[f"{name}_low"])


def test_every_draw_is_a_point():
    _, right = draw(POINTS, CELLS, "").axes
    lines = artists.lines(right)
    assert lines["p = 0.5"].tolist() == [[0.15, 0.1], [0.2, 0.3]]
    assert lines["p = 0.1"].tolist() == [[0.5, 0.2], [0.3, 0.4]]
    equal = right.lines[-1]
    assert equal.get_xydata().tolist() == [[0.1, 0.1], [0.5, 0.5]]


def test_panels_and_curves_are_named():
    figure = draw(POINTS, CELLS, "settings")
    left, right = figure.axes
    assert artists.legend(left) == list(LABELS.values())
    assert artists.legend(right) == ["p = 0.1", "p = 0.5"]
    assert artists.labels(figure) == [
        ("dropout rate p", "gap  (units of the loss)"),
        ("estimate without a test set", "measured gap"),
    ]
    assert figure.get_supxlabel() == "settings"


def test_a_single_draw_has_no_interval():
    single = POINTS.assign(gap_low=np.nan, gap_estimate_low=np.nan)
    figure = draw(single, CELLS[::2], "")
    figure.draw_without_rendering()
    _, ends = artists.error_bars(figure.axes[0])[LABELS["gap"]]
    assert np.allclose(ends[:, 0], ends[:, 1])


def test_what_diverged_is_left_out():
    artists.assert_unmoved(
        lambda table: draw(table, CELLS, ""), POINTS, [0],
        ["gap", "gap_low", "gap_estimate", "gap_estimate_low"], LABELS.values(),
    )  # fmt: skip
    artists.assert_unmoved(
        lambda table: draw(POINTS, table, ""), CELLS, [1], ["gap", "gap_estimate"], ["p = 0.5"]
    )


def test_draws_that_all_diverged_are_no_point():
    figure = draw(POINTS, CELLS.assign(gap=np.inf, gap_estimate=np.nan), "")
    figure.draw_without_rendering()
    assert not any(artists.points(figure)[1, f"p = {p}"] for p in (0.1, 0.5))


def test_many_rates_are_named_beside_the_panels():
    rates = np.arange(24) / 24
    cells = pd.DataFrame({"p": rates, "gap": rates, "gap_estimate": rates})
    figure = draw(without_high(grid(list(LABELS), p=rates)), cells, "")
    figure.draw_without_rendering()  # warns where a legend leaves no room for the panels
    assert len(artists.legend(figure)) == 24


def test_a_legend_does_not_lie_over_the_intervals_of_a_single_rate():
    figure = draw(POINTS[:1].assign(gap_low=-1.0), CELLS[:2], "")
    figure.draw_without_rendering()
    left = figure.axes[0]
    _, ends = artists.error_bars(left)[LABELS["gap"]]
    tops = left.transData.transform([[0.5, ends[:, 1].max()]])[0, 1]
    assert left.get_legend().get_window_extent().y0 > tops

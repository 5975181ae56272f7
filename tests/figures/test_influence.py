"""Every checked example is a point: what retraining does, and the estimate of it."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from figures.influence import draw
from tests.figures import artists

RETRAINED = np.array([-0.3, -0.1, 0.2, 0.5])
ESTIMATED = np.array([-0.2, -0.1, 0.4, 0.3])


def examples(task, p, scale=1.0):
    settings = {"task": task, "n": 8, "p": p, "draw": [0, 0, 1, 1], "objective": "dropout",
                "samples": 2, "steps": 30, "lr": 0.005, "damping": 0.01}  # fmt: skip
    losses = {"loss_kept": 1.0, "loss_left_out": 1 + scale * ESTIMATED,
              "loss_retrained": 1 + scale * RETRAINED}  # fmt: skip
    return pd.DataFrame(settings | losses)


ROWS = pd.concat(
    [examples("wine", 0.5), examples("wine", 0.1, 2.0), examples("digits", 0.1)], ignore_index=True
)


def test_points_are_the_changes_of_the_loss_and_ranks_are_means_over_draws():
    first, second = draw(ROWS, "").axes
    changes = np.stack([RETRAINED, ESTIMATED], axis=1)
    assert np.allclose(artists.lines(first)["p = 0.5: rank correlation 0.00"], changes)
    assert np.allclose(artists.lines(first)["p = 0.1: rank correlation 0.00"], 2 * changes)
    assert np.allclose(artists.lines(second)["p = 0.1: rank correlation 0.00"], changes)


def test_the_line_is_where_both_are_equal():
    first, _ = draw(ROWS, "").axes
    assert np.allclose(first.lines[-1].get_xydata(), [[-0.6, -0.6], [1.0, 1.0]])


def test_panels_and_curves_are_named():
    figure = draw(ROWS, "what it shows")
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("wine", "digits")
    labels = ("change of the loss by retraining", "estimate, one Newton step")
    assert artists.labels(figure) == [labels] * 2
    assert [text[:7] for text in artists.legend(first)] == ["p = 0.1", "p = 0.5"]
    wine, _, shown = " ".join(figure.get_supxlabel().split("\n")).partition(" digits, ")
    assert wine == (
        "wine, n = 8, 2 draws of S, objective dropout, N = 2, 30 steps, learning rate 0.005, "
        "damping 0.01"
    )
    assert shown.endswith("what it shows")


def test_one_task_has_its_legend_beside_the_panel():
    figure = draw(ROWS[ROWS["task"] == "wine"], "")
    assert [text[:7] for text in artists.legend(figure)] == ["p = 0.1", "p = 0.5"]
    assert figure.axes[0].get_title() == ""


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_example_is_no_point_and_moves_none(value):
    broken = ROWS.copy()
    broken.loc[1, "loss_retrained"] = value
    figure = draw(broken, "")
    figure.draw_without_rendering()
    first, second = figure.axes
    sound = draw(ROWS, "").axes
    own, other = (
        next(line for label, line in artists.lines(axes).items() if label.startswith("p = 0.5"))
        for axes in (first, sound[0])
    )
    assert np.allclose(own, np.delete(other, 1, axis=0))
    assert np.allclose(first.lines[0].get_xydata(), sound[0].lines[0].get_xydata())
    assert np.allclose(first.lines[-1].get_xydata(), sound[0].lines[-1].get_xydata())
    assert np.allclose(second.lines[0].get_xydata(), sound[1].lines[0].get_xydata())


def test_examples_that_all_diverged_are_drawn_too():
    figure = draw(ROWS.assign(loss_retrained=np.inf), "")
    figure.draw_without_rendering()
    assert not any(len(line.get_xdata()) for line in figure.axes[0].lines[:-1])
    assert artists.legend(figure.axes[0]) == [
        "p = 0.1: rank correlation unknown", "p = 0.5: rank correlation unknown"
    ]  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_example_has_no_rank(value):
    broken = pd.concat([ROWS, ROWS.iloc[:1].assign(loss_retrained=value)])
    assert artists.legend(draw(broken, "").axes[0]) == artists.legend(draw(ROWS, "").axes[0])


@pytest.mark.parametrize(("retrained", "estimated"), [(0.0, 0.0), (1e-5, 1.0), (0.0, 1e3)])
def test_numbers_of_an_axis_do_not_write_over_each_other(retrained, estimated):
    losses = {
        "loss_retrained": 1 + retrained * RETRAINED,
        "loss_left_out": 1 + estimated * ESTIMATED,
    }
    figure = draw(examples("wine", 0.1).assign(**losses), "what it shows")
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.get_layout_engine().execute(figure)
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    boxes = [text.get_window_extent(renderer) for at, text in ticks if low <= at <= high]
    assert all(one.x1 <= other.x0 for one, other in pairwise(boxes))


@pytest.mark.parametrize(
    ("changes", "scale"),
    [([0.2, 0.3, 0.3, 0.4], "linear"), ([0.002, 0.002, 0.002, 0.0021], "linear"),
     ([2, 3, 9, 30], "linear"), ([-0.3, 0.1, 0.2, 0.5], "linear"),
     ([3e-8, 9e-8, 5e-8, 4e-8], "linear"), ([0.0, 0.0, 0.0, 0.0], "linear"),
     ([-0.3, 2, 5, 90], "symlog"), ([0.001, 0.02, 0.05, 60], "symlog")],
)  # fmt: skip
def test_changes_within_a_power_of_ten_have_a_linear_scale(changes, scale):
    """A logarithmic one has no numbers there but its ends, with all their digits."""
    losses = 1 + np.array(changes)
    axes = draw(examples("wine", 0.1).assign(loss_retrained=losses, loss_left_out=losses), "").axes[
        0
    ]
    assert (axes.get_xscale(), axes.get_yscale()) == (scale, scale)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        places = [place for place in axis.get_majorticklocs() if low <= place <= high]
        assert len(places) >= 2
        assert all(len(f"{place:.9g}") < 9 for place in places)

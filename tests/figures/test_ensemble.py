"""Ensembles are curves over N, the expected-weight network a level."""

import numpy as np
import pytest

from figures.ensemble import draw, draw_rivals
from tests.figures import artists
from tests.figures.tables import grid, without_high

SUMMARY = without_high(
    grid(["test_loss", "test_score", "predicted"], p=[0.5, 0.1], ensemble=[0, 1, 4, 16])
)


def drawing(summary=SUMMARY):
    return draw(summary, "settings", "accuracy")


@pytest.mark.parametrize(("panel", "name"), [(0, "test_loss"), (1, "test_score")])
def test_curves_are_the_ensembles_and_levels_the_single_network(panel, name):
    axes = drawing().axes[panel]
    points, ends = artists.error_bars(axes)["p = 0.5"]
    own = SUMMARY.query("p == 0.5 and ensemble > 0")
    assert np.allclose(points, own[["ensemble", name]])
    assert np.allclose(ends[:, 0], own[f"{name}_low"])
    levels = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert levels == pytest.approx(SUMMARY.query("ensemble == 0").sort_values("p")[name].tolist())


def test_the_dotted_line_is_the_prediction():
    dotted = [line for line in drawing().axes[0].lines if line.get_linestyle() == ":"]
    for line, p in zip(dotted, [0.1, 0.5], strict=True):
        own = SUMMARY[(SUMMARY["p"] == p) & (SUMMARY["ensemble"] > 0)]
        assert np.allclose(line.get_xydata(), own[["ensemble", "predicted"]])


def test_panels_and_curves_are_named():
    figure = drawing()
    assert artists.legend(figure) == ["p = 0.1", "p = 0.5"]
    assert artists.labels(figure) == [("members N", "test loss"), ("members N", "test accuracy")]
    assert [axes.get_title() for axes in figure.axes] == [
        "dotted: 1/N law; dashed: expected weight", "dashed: expected weight"
    ]  # fmt: skip
    for axes in figure.axes:
        assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4", "16"]
    assert figure.get_supxlabel() == "settings"


def test_a_diverged_ensemble_is_left_out():
    names = ["test_loss", "test_loss_low", "test_score", "test_score_low"]
    artists.assert_unmoved(drawing, SUMMARY, [2], names, ["p = 0.5"])


def test_a_diverged_network_has_no_level():
    losses = SUMMARY["test_loss"].where(SUMMARY.index != 0, np.inf)
    figure = drawing(SUMMARY.assign(test_loss=losses))
    figure.draw_without_rendering()
    levels = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert np.isfinite(levels).tolist() == [True, False]


RIVALS = grid(
    ["change", "beta", "test_loss"], p=[0.0, 0.3], predictor=["one network", "halves"]
).assign(bound=[np.nan, 0.06, np.nan, 0.06])


def test_rivals_are_lines_of_points_with_the_bound_as_an_upright_line():
    figure = draw_rivals(RIVALS, "settings")
    for axes, name in zip(figure.axes, ("change", "test_loss", "beta"), strict=True):
        points, ends = artists.error_bars(axes, across=True)["p = 0.3"]
        own = RIVALS.query("p == 0.3")
        assert np.allclose(points[:, 0], own[name])
        assert np.allclose(ends[:, 0], own[f"{name}_low"])
        assert np.round(points[:, 1]).tolist() == [0, 1]
    assert [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == "--"
            ] == [0.06]  # fmt: skip


def test_rivals_are_named_where_they_stand_and_rates_told_apart_without_colour():
    figure = draw_rivals(RIVALS, "settings")
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["one network", "halves"]
    assert artists.legend(figure) == ["p = 0", "p = 0.3"]
    lines = [container[0] for container in figure.axes[0].containers]
    assert len({line.get_marker() for line in lines}) == 2
    assert not set(lines[0].get_ydata()) & set(lines[1].get_ydata())
    assert artists.labels(figure)[0][0].startswith("change of a probability")

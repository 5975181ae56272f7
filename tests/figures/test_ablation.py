"""The ablation's points are the table's, on the line of their variant."""

import numpy as np
import pandas as pd
import pytest

from figures.ablation import APART, draw
from tests.figures import artists
from tests.figures.tables import grid, without_high


@pytest.fixture
def summary():
    kinds = grid(["test_loss", "beta"], part=["masks"], variant=["LoRA", "rows", "both"],
                 p=[0.1, 0.5])  # fmt: skip
    more = grid(["test_loss", "beta"], part=["scale"], variant=["rescaled"], p=[0.1, 0.5])
    return without_high(pd.concat([kinds, more], ignore_index=True))


@pytest.mark.parametrize(("column", "name"), [(0, "test_loss"), (1, "beta")])
def test_points_are_on_their_variant_s_line(summary, column, name):
    figure = draw(summary, "settings")
    points, ends = artists.error_bars(figure.axes[column], across=True)["p = 0.5"]
    own = summary.query("part == 'masks' and p == 0.5")
    assert np.allclose(points[:, 0], own[name])
    assert np.allclose(points[:, 1], np.arange(3) + APART / 2)
    assert np.allclose(ends[:, 0], own[f"{name}_low"])
    assert np.allclose(ends[:, 1], 2 * own[name] - own[f"{name}_low"])
    lines = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert lines == ["LoRA", "rows", "both"]


def test_parts_rates_and_quantities_are_named(summary):
    figure = draw(summary, "settings")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["masks", "", "scale", ""]
    labels = [("test loss", ""), ("β  (units of the loss)", "")]
    assert artists.labels(figure) == [("", ""), ("", ""), *labels]
    assert artists.legend(figure) == ["p = 0.1", "p = 0.5"]
    assert figure.get_supxlabel() == "settings"


def test_one_rate_and_one_part_need_no_legend(summary):
    figure = draw(summary.query("p == 0.5 and part == 'scale'"), "settings")
    assert len(figure.axes) == 2
    assert not figure.legends


def test_all_parts_have_one_scale(summary):
    axes = draw(summary, "").axes
    for column in (0, 1):
        assert axes[column].get_xlim() == axes[column + 2].get_xlim()


def test_a_diverged_variant_is_left_out(summary):
    names = ["test_loss", "test_loss_low", "beta", "beta_low"]
    artists.assert_unmoved(lambda table: draw(table, ""), summary, [1], names, {"p = 0.5"})


def test_the_points_of_many_rates_stay_on_their_variant_s_line():
    rates = [place / 20 for place in range(12)]
    table = grid(["test_loss", "beta"], part=["masks"], variant=["LoRA", "rows", "both"], p=rates)
    axes = draw(without_high(table), "settings").axes[0]
    low, high = sorted(axes.get_ylim())
    for points, _ in artists.error_bars(axes, across=True).values():
        assert np.allclose(points[:, 1], np.arange(3), atol=0.45)
        assert ((low < points[:, 1]) & (points[:, 1] < high)).all()

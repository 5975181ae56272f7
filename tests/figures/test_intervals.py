"""Error bars and bands are where the columns say."""

import numpy as np
import pandas as pd
import pytest

from figures.intervals import band, dodge, error_bars, keep_within, labelled_error_bars
from figures.size_axis import size_axis
from figures.style import Drawing, looks
from tests.figures import artists

TABLE = pd.DataFrame({"step": [1, 2], "x": [1.0, 3.0], "x_low": [0.5, 2.9], "x_high": [4.0, 3.2]})


@pytest.fixture
def axes():
    return Drawing().subplots()


def test_bars_reach_from_low_to_high(axes):
    error_bars(axes, [5, 6], TABLE, "x", label="a")
    points, ends = artists.error_bars(axes)["a"]
    assert points.tolist() == [[5, 1], [6, 3]]
    assert np.allclose(ends, [[0.5, 4.0], [2.9, 3.2]])


def test_bars_are_symmetric_where_only_the_lower_end_is_given(axes):
    error_bars(axes, [5, 6], TABLE.drop(columns="x_high"), "x", label="a")
    assert np.allclose(artists.error_bars(axes)["a"][1], [[0.5, 1.5], [2.9, 3.1]])


def test_a_column_without_intervals_has_no_bars(axes):
    error_bars(axes, [5, 6], TABLE[["x"]], "x", label="a")
    assert len(artists.error_bars(axes)["a"][1]) == 0


@pytest.mark.parametrize("low", [np.nan, -np.inf])
def test_an_interval_that_is_not_known_has_no_length(axes, low):
    error_bars(axes, [5], pd.DataFrame({"x": [1.0], "x_low": [low]}), "x", label="a")
    assert artists.error_bars(axes)["a"][1].tolist() == [[1, 1]]


def test_a_band_reaches_from_low_to_high(axes):
    (look,) = looks(1)
    band(axes, TABLE, "x", "a", look, every=1)
    assert artists.lines(axes)["a"].tolist() == [[1, 1], [2, 3]]
    (found,) = artists.bands(axes)
    assert np.allclose(found, [[1, 0.5, 4.0], [2, 2.9, 3.2]])


def test_shifts_are_even_and_around_0():
    assert dodge(4, 0.2).tolist() == pytest.approx([-0.3, -0.1, 0.1, 0.3])


def test_curves_of_labels_stand_beside_one_another_in_order_of_appearance(axes):
    table = pd.DataFrame({"label": ["b", "a"], "p": [0.5, 0.5], "x": [1, 2], "x_low": [1, 2]})
    labelled_error_bars(axes, table, "x", apart=0.02)
    curves = artists.error_bars(axes)
    assert list(curves) == ["b", "a"]
    assert [points.tolist() for points, _ in curves.values()] == [[[0.49, 1]], [[0.51, 2]]]


def test_a_size_axis_has_a_tick_a_size(axes):
    axes.set_xlim(1, 100)
    size_axis(axes, pd.Series([64, 8, 64]), "n")
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["8", "64"]
    assert len(axes.get_xticks(minor=True)) == 0


def test_an_axis_ends_little_beyond_what_a_quantity_can_be(axes):
    axes.set_ylim(-3, 4)
    keep_within(axes, 0, 1)
    assert axes.get_ylim() == pytest.approx((-0.02, 1.02))


@pytest.mark.parametrize("limits", [(-0.4, -0.2), (1.2, 1.4)])
def test_an_axis_that_is_wholly_beyond_is_not_turned_over(axes, limits):
    axes.set_ylim(limits)
    keep_within(axes, 0, 1)
    assert axes.get_ylim() == limits


def test_an_axis_within_what_a_quantity_can_be_stays(axes):
    axes.set_ylim(0.4, 0.6)
    keep_within(axes, 0, 1)
    assert axes.get_ylim() == (0.4, 0.6)
    keep_within(axes, -np.inf, np.inf)
    assert axes.get_ylim() == (0.4, 0.6)

"""Curves are the bounds in units of C, over n and over p, and their names stand at their ends."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from figures.information import APART, draw, spread
from tests.figures import artists

#: By name: the bound in units of the loss at n = 32 and p = 0.
LEVELS = {"Theorem 4.4": 40.0, "e-CMI": 1.2, "ld-CMI": 1.1, "leave-one-out CMI": 1.9}
C = 2.0


def table(levels=LEVELS):
    """Sizes fall, so that the drawing has to order them."""
    rows = []
    for n, p, (name, level) in product((128, 64, 32), (0.3, 0.1, 0.0), levels.items()):
        bound = level * 32 / n + p
        rows.append({"n": n, "p": p, "name": name, "bound": bound, "gap": 0.4 * 32 / n + p})
    made = pd.DataFrame(rows)
    for name in ("bound", "gap"):
        made[f"{name}_low"], made[f"{name}_high"] = made[name] - 0.1, made[name] + 0.1
    return made.assign(loss_bound=C)


def named(axes):
    return {text.get_text(): text for text in axes.texts}


@pytest.mark.parametrize("panel", [0, 2])
def test_curves_over_n_are_the_bounds_at_the_smallest_rate_above_0(panel):
    bars = artists.error_bars(draw(table(), "").axes[panel])
    for name in LEVELS:
        points, ends = bars[name]
        own = table().query("p == 0.1 and name == @name").sort_values("n")
        # Beside one another: n only nearly.
        assert np.allclose(points[:, 0], own["n"], rtol=(1 + len(LEVELS)) * APART / 2)
        assert np.allclose(points[:, 1], own["bound"] / C)
        assert np.allclose(ends, own[["bound_low", "bound_high"]] / C)


@pytest.mark.parametrize("panel", [1, 3])
def test_curves_over_p_are_the_bounds_at_the_middle_size(panel):
    bars = artists.error_bars(draw(table(), "").axes[panel])
    own = table().query("n == 64 and name == 'ld-CMI'").sort_values("p")
    points, _ = bars["ld-CMI"]
    assert np.allclose(points[:, 0], own["p"], atol=(1 + len(LEVELS)) * APART * own["p"].max() / 2)
    assert np.allclose(points[:, 1], own["bound"] / C)
    gap = bars["measured gap"][0]
    assert np.allclose(gap, own[["p", "gap"]] / [1, C])


def test_a_name_stands_in_the_panel_of_its_end():
    upper, _, lower, _ = draw(table(), "").axes
    assert {"Theorem 4.4"} <= named(upper).keys()
    assert {"e-CMI", "ld-CMI", "measured gap"} <= named(lower).keys()
    assert "Theorem 4.4" not in named(lower)
    own = table().query("n == 128 and p == 0.1 and name == 'ld-CMI'")["bound"].iloc[0] / C
    assert named(lower)["ld-CMI"].xy == (1, pytest.approx(own))


def test_panels_are_named_and_joined_at_c():
    figure = draw(table(), "settings")
    upper, _, lower, right = figure.axes
    assert [axes.get_title() for axes in figure.axes[:2]] == ["p = 0.1", "n = 64"]
    assert (lower.get_xlabel(), right.get_xlabel()) == ("n", "p")
    assert lower.get_ylim() == (0, 1)
    assert upper.get_ylim()[0] == 1
    assert upper.get_yscale() == "log"
    assert figure.get_supxlabel() == "settings"
    assert [text.get_text() for text in lower.get_xticklabels()] == ["32", "64", "128"]


def test_a_bound_at_one_place_is_left_out():
    rows = table()
    rows.loc[(rows["name"] == "e-CMI") & (rows["p"] > 0), "bound"] = np.nan
    figure = draw(rows, "")
    figure.draw_without_rendering()
    assert "e-CMI" not in artists.error_bars(figure.axes[3])
    assert "e-CMI" in named(draw(table(), "").axes[3])


def test_a_single_size_and_rate_are_drawn():
    figure = draw(table().query("n == 64 and p == 0"), "")
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == "p = 0"
    assert len(figure.axes) == 2


@pytest.mark.parametrize(("query", "title"), [("n == 64", "n = 64"), ("p == 0.1", "p = 0.1")])
def test_a_column_of_a_single_place_is_left_out(query, title):
    figure = draw(table().query(query), "")
    assert [axes.get_title() for axes in figure.axes] == [title, ""]


def test_no_two_curves_have_their_points_at_one_place():
    bars = artists.error_bars(draw(table(), "").axes[2])
    places = [points[0, 0] for points, _ in bars.values()]
    assert len(set(places)) == len(places) == len(LEVELS) + 1


def test_nothing_measured_is_drawn_too():
    rows = table()
    rows[[name for name in rows if name.startswith(("bound", "gap"))]] = np.nan
    figure = draw(rows, "")
    figure.draw_without_rendering()
    bars = [points for axes in figure.axes for points, _ in artists.error_bars(axes).values()]
    assert np.isnan([points[:, 1] for points in bars]).all()


@given(heights=st.lists(st.floats(0, 1), max_size=12).map(sorted), apart=st.floats(0.001, 0.2))
def test_names_are_set_apart_in_their_order_around_the_same_mean(heights, apart):
    moved = spread(heights, apart)
    assert len(moved) == len(heights)
    assert (np.diff(moved) >= apart - 1e-12).all()
    assert np.sum(moved) == pytest.approx(np.sum(heights))


def test_names_that_are_apart_stay():
    assert spread([0.1, 0.3, 0.9], 0.1) == pytest.approx([0.1, 0.3, 0.9])


def test_lines_to_names_cross_no_name():
    together = {f"bound {number}": 1.2 + number / 1000 for number in range(6)}
    figure = draw(table({**LEVELS, **together}), "")
    figure.draw_without_rendering()
    names = [text for axes in figure.axes for text in named(axes).values() if text.arrow_patch]
    assert len(names) > 2 * len(together)
    for text in names:
        line, words = text.arrow_patch.get_window_extent(), Text.get_window_extent(text)
        assert line.x1 <= words.x0

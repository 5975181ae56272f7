"""Numbers of an axis stand apart, and an empty panel says that it is."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures.legible_axes import (
    EMPTY,
    MOST,
    NOT_POSITIVE,
    has_data,
    make_legible,
    scale_logarithmically,
)
from figures.style import Drawing, style


def panel():
    return Figure().subplots()


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda axes: axes.plot([1, 2], [3, np.nan]), True),
        (lambda axes: axes.plot([1, 2], [np.nan, np.nan]), False),
        (lambda axes: axes.plot([], []), False),
        (lambda axes: axes.axhline(0), False),
        (lambda axes: axes.axvspan(0, 1), False),
        (lambda axes: axes.hist([1, 2]), True),
        (lambda axes: axes.scatter([1], [2]), True),
        (lambda axes: axes.pcolormesh([[1.0, np.nan]]), True),
        (lambda axes: axes.pcolormesh([[np.nan, np.nan]]), False),
        (lambda axes: axes.fill_between([0, 1], [np.nan, np.nan]), False),
    ],
)
def test_data_are_finite_numbers_in_both_directions(draw, expected):
    axes = panel()
    draw(axes)
    assert has_data(axes) == expected
    make_legible(axes)
    assert ([text.get_text() for text in axes.texts] == [EMPTY]) != expected


@pytest.mark.parametrize(("values", "said"), [([0.0, -1.0], NOT_POSITIVE), ([np.nan], EMPTY)])
def test_a_logarithmic_panel_without_a_positive_number_says_so(values, said):
    axes = panel()
    axes.plot(values, "o")
    scale_logarithmically(axes)
    make_legible(axes)
    FigureCanvasAgg(axes.figure).draw()
    assert [text.get_text() for text in axes.texts] == [said]


def test_one_positive_number_is_enough_for_a_logarithmic_panel():
    axes = panel()
    axes.plot([0.0, 0.5], "o")
    scale_logarithmically(axes)
    make_legible(axes)
    assert has_data(axes)
    assert not axes.texts


def test_a_place_without_an_axis_stays_empty():
    axes = panel()
    axes.set_axis_off()
    make_legible(axes)
    assert not axes.texts


def test_numbers_side_by_side_are_few():
    axes = panel()
    axes.plot([0.00021, 0.00198], [1, 2])
    make_legible(axes)
    assert len(axes.get_xticks()) <= MOST + 3


@pytest.mark.parametrize("low", [0.0, 3.2, -3e-4, 3e7])
@pytest.mark.parametrize("width", [1e-5, 2.3e-3])
def test_long_numbers_side_by_side_are_fewer(low, width):
    with style():
        axes = Drawing(figsize=(5, 2)).subplots(1, 2)[0]
    axes.plot([low, low + width], [1, 2])
    assert_apart(axes)
    assert "+" not in axes.xaxis.get_offset_text().get_text()


def assert_apart(axes):
    """Numbers below a panel, once it is legible, do not touch."""
    make_legible(axes)
    figure = axes.get_figure(root=True)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.get_layout_engine().execute(figure)
    left, right = axes.get_xlim()
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    boxes = [text.get_window_extent(renderer) for at, text in ticks if left <= at <= right]
    assert len(boxes) > 1
    assert all(one.x1 <= other.x0 for one, other in pairwise(boxes))


@pytest.mark.parametrize("largest", [1.0, 1e4, 1e7, 1e10])
def test_powers_of_ten_side_by_side_are_apart_where_networks_diverged(largest):
    with style():
        axes = Drawing(figsize=(10, 3)).subplots(1, 3)[0]
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(0, largest)
    axes.plot([0.0, largest], [1, 2])
    assert_apart(axes)


def test_ticks_that_were_set_are_kept():
    axes = panel()
    axes.plot([0, 1], [1, 2])
    axes.set_xticks(np.linspace(0, 1, 12))
    make_legible(axes)
    assert len(axes.get_xticks()) == 12


@pytest.mark.parametrize(("values", "ends"), [([2, 3], (1, 10)), ([0.5, 30], None)])
def test_a_logarithmic_axis_has_two_powers_of_ten(values, ends):
    axes = panel()
    axes.plot([0, 1], values)
    axes.set_yscale("log")
    axes.minorticks_off()
    before = axes.get_ylim()
    make_legible(axes)
    assert axes.get_ylim() == pytest.approx(ends or before)


def test_an_empty_logarithmic_panel_can_be_drawn():
    axes = panel()
    axes.plot([np.nan, np.nan], [np.nan, np.nan])
    axes.set(xscale="log", yscale="log")
    make_legible(axes)
    FigureCanvasAgg(axes.get_figure(root=True)).draw()
    assert 0 < axes.get_xlim()[0] < 10


def test_numbers_of_a_logarithmic_axis_are_plain():
    axes = panel()
    axes.plot([1, 6], [1e-6, 1e5])
    axes.set(xscale="log", yscale="log")
    make_legible(axes)
    FigureCanvasAgg(axes.get_figure(root=True)).draw()
    shown = [text.get_text() for text in axes.get_xticklabels(which="both") if text.get_text()]
    assert {"1", "2"} <= set(shown)
    assert all(float(text) > 0 for text in shown)
    upright = {text.get_text() for text in axes.get_yticklabels()}
    assert {"0.01", "1", "100"} & upright
    assert "$\\mathdefault{10^{-6}}$" in upright

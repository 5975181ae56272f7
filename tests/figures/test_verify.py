"""The verifier's figure shows its cases."""

import numpy as np
import pandas as pd
import pytest

from figures.legible_axes import EMPTY
from figures.verify import draw
from tests.figures import artists

READINGS = pd.DataFrame(
    {"name": ["as printed", "as printed", "2s", "2s"], "data": ["wine", "digits"] * 2,
     "ratio": [0.5, 0.7, 3.0, 9.0]}
)  # fmt: skip
FAILURES = pd.DataFrame(
    {"setting": ["two points", "two points", "a square"], "group": ["met", "met", "missing"],
     "kind": ["as printed", "corrected", "as printed"], "ratio": [0.4, 1.0, 0.8]}
)  # fmt: skip


def drawing(readings=READINGS, failures=FAILURES):
    return draw(readings, failures, "settings")


def strips(axes):
    """Ratios by reading, whatever the data."""
    offsets = np.concatenate([np.ma.filled(one.get_offsets(), np.nan) for one in axes.collections])
    places = {}
    for x, y in offsets[np.isfinite(offsets).all(axis=1)].tolist():
        places.setdefault(round(y), []).append(x)
    return {place: sorted(found) for place, found in places.items()}


def test_readings_are_in_the_order_of_the_rows():
    left, _ = drawing().axes
    left.figure.draw_without_rendering()
    assert [text.get_text() for text in left.get_yticklabels()] == ["as printed", "2s"]
    assert strips(left) == {0: [0.5, 0.7], 1: [3.0, 9.0]}


def test_failures_are_where_the_table_has_them_below_the_name_of_their_group():
    _, right = drawing().axes
    lines = artists.lines(right)
    assert lines["as printed"].tolist() == [[0.4, 1], [0.8, 3]]
    assert lines["corrected"].tolist() == [[1.0, 1]]
    assert [text.get_text() for text in right.get_yticklabels()] == [
        "met:", "two points", "missing:", "a square",
    ]  # fmt: skip
    assert right.yaxis_inverted()


def test_panels_and_curves_are_named():
    figure = drawing()
    left, right = figure.axes
    assert artists.legend(left) == ["wine", "digits"]
    assert artists.legend(right) == ["as printed", "corrected"]
    assert left.get_title() == "Proposition 4.2 on real data, by reading"
    assert right.get_title() == "Where printed statements fail"
    assert artists.labels(figure) == [("bound / measured", "")] * 2
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        assert set(axes.lines[-1].get_xdata()) == {1}
    assert figure.get_supxlabel() == "settings"


@pytest.mark.parametrize("readings", [READINGS[:0], READINGS.assign(ratio=np.inf)])
def test_a_figure_without_cases_says_so(readings):
    figure = drawing(readings, FAILURES[:0])
    figure.draw_without_rendering()
    left, right = figure.axes
    assert left.texts[0].get_text() == right.texts[0].get_text() == EMPTY


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_ratios_without_end_are_left_out(value):
    readings, cases = READINGS.copy(), FAILURES.copy()
    readings.loc[:1, "ratio"] = value
    cases.loc[2, "ratio"] = value
    figure = drawing(readings, cases)
    figure.draw_without_rendering()
    left = figure.axes[0]
    assert [text.get_text() for text in left.get_yticklabels()] == ["as printed", "2s"]
    assert strips(left) == {1: [3.0, 9.0]}
    assert artists.points(figure)[1, "as printed"] == {(0.4, 1)}
    assert artists.points(figure)[1, "corrected"] == {(1.0, 1)}

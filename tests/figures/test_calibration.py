"""Curves, moments and diagrams are the tables', a curve a label."""

import numpy as np
import pandas as pd
import pytest

from figures.calibration import APART, draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

LABELS = ["p = 0.5, ensemble N = 4", "p = 0, no masks"]
POINTS = grid(["ece"], label=LABELS, step=[1, 10, 100])
#: The other way round than the points, and the end before the best.
MOMENTS = without_high(grid(["ece"], label=LABELS[::-1], moment=["end", "best"]))
DIAGRAM = pd.DataFrame(
    {"label": [LABELS[0]] * 3 + [LABELS[1]], "confidence": [0.52, 0.58, 0.93, 0.71],
     "accuracy": [0.4, 0.6, 0.9, 0.7]}
)  # fmt: skip


def drawing(points=POINTS, moments=MOMENTS, diagram=DIAGRAM):
    return draw(points, moments, diagram, "settings")


def test_curves_and_bands_pass_through_the_points():
    left = drawing().axes[0]
    own = POINTS[POINTS["label"] == LABELS[0]]
    assert np.allclose(artists.lines(left)[LABELS[0]], own[["step", "ece"]])
    assert np.allclose(artists.bands(left)[0], own[["step", "ece_low", "ece_high"]])


@pytest.mark.parametrize(("label", "shift"), [(LABELS[0], -APART / 2), (LABELS[1], APART / 2)])
def test_moments_stand_at_their_place(label, shift):
    points, ends = artists.error_bars(drawing().axes[1])[label]
    own = MOMENTS[MOMENTS["label"] == label]
    assert np.allclose(points[:, 0], [1 + shift, shift])
    assert np.allclose(points[:, 1], own["ece"])
    assert np.allclose(ends[:, 0], own["ece_low"])


def test_diagrams_are_averaged_in_bins():
    lines = artists.lines(drawing().axes[2])
    assert np.allclose(lines[LABELS[0]], [[0.55, 0.5], [0.93, 0.9]])
    assert np.allclose(lines[LABELS[1]], [[0.71, 0.7]])


def test_panels_and_curves_are_named():
    figure = drawing()
    assert artists.legend(figure.axes[2]) == LABELS
    assert artists.labels(figure) == [
        ("optimizer step", "expected calibration error"), ("", "expected calibration error"),
        ("confidence", "accuracy"),
    ]  # fmt: skip
    ticks = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert ticks == ["best checkpoint", "end of training"]
    assert figure.get_suptitle() == "settings"


def test_what_diverged_is_left_out():
    names = ["ece", "ece_low", "ece_high"]
    artists.assert_unmoved(lambda table: drawing(points=table), POINTS, [0], names, [LABELS[0]])
    names = ["ece", "ece_low"]
    artists.assert_unmoved(lambda table: drawing(moments=table), MOMENTS, [0], names, [LABELS[1]])
    names = ["confidence", "accuracy"]
    artists.assert_unmoved(lambda table: drawing(diagram=table), DIAGRAM, [2], names, [LABELS[0]])

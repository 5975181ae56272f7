"""Curves, moments and diagrams are the tables', a curve a label."""

import numpy as np
import pandas as pd
import pytest

from figures.calibration import APART, BESIDE, draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

LABELS = ["p = 0.5, ensemble N = 4", "p = 0, no masks"]
POINTS = grid(["ece", "ece_floor"], label=LABELS, step=[1, 10, 100])
#: The other way round than the points, and the end before the best; the debiased error's intervals
#: are not symmetric.
MOMENTS = without_high(
    grid(["ece", "ece_floor", "ece_debiased"], label=LABELS[::-1], moment=["end", "best"])
)
MOMENTS["ece_debiased_high"] = MOMENTS["ece_debiased"] + 0.5
#: As of runs that have no floor.
PLAIN_POINTS = grid(["ece"], label=LABELS, step=[1, 10, 100])
PLAIN_MOMENTS = without_high(grid(["ece"], label=LABELS, moment=["best", "end"]))
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


@pytest.mark.parametrize("label", LABELS)
def test_floors_stand_beside_their_errors(label):
    left, middle = drawing().axes[:2]
    along = POINTS[POINTS["label"] == label]
    assert np.allclose(artists.lines(left)[f"{label}, floor"], along[["step", "ece_floor"]])
    own = MOMENTS[MOMENTS["label"] == label]
    floors = artists.lines(middle)[f"{label}, floor"]
    errors, _ = artists.error_bars(middle)[label]
    assert np.allclose(floors[:, 0], errors[:, 0])
    assert np.allclose(floors[:, 1], own["ece_floor"])


@pytest.mark.parametrize("label", LABELS)
def test_debiased_errors_stand_beside_the_others_with_their_own_intervals(label):
    middle = drawing().axes[1]
    own = MOMENTS[MOMENTS["label"] == label]
    points, ends = artists.error_bars(middle)[f"{label}, debiased"]
    errors, _ = artists.error_bars(middle)[label]
    assert np.allclose(points[:, 0], errors[:, 0] + BESIDE * APART)
    assert np.allclose(points[:, 1], own["ece_debiased"])
    assert np.allclose(ends, own[["ece_debiased_low", "ece_debiased_high"]])


def test_a_debiased_error_below_zero_is_seen():
    columns = ["ece_debiased", "ece_debiased_low"]
    below = MOMENTS.assign(**(MOMENTS[columns] - 0.9))
    axes = drawing(moments=below).axes[1]
    assert axes.get_ylim()[0] < below["ece_debiased_low"].min() < 0


def test_without_floors_there_are_the_errors_alone():
    left, middle = drawing(PLAIN_POINTS, PLAIN_MOMENTS).axes[:2]
    assert list(artists.lines(left)) == LABELS
    assert list(artists.error_bars(middle)) == LABELS
    assert (left.get_title(), middle.get_title()) == ("", "")


def test_diagrams_are_averaged_in_bins_closed_above():
    lines = artists.lines(drawing().axes[2])
    assert np.allclose(lines[LABELS[0]], [[0.55, 0.5], [0.93, 0.9]])
    assert np.allclose(lines[LABELS[1]], [[0.71, 0.7]])
    sure = DIAGRAM.assign(label=LABELS[0], confidence=[0.92, 0.96, 1.0, 0.9])
    found = artists.lines(drawing(diagram=sure).axes[2])[LABELS[0]]
    assert np.allclose(found, [[0.9, 0.7], [0.96, 1.9 / 3]])


def test_panels_and_curves_are_named():
    figure = drawing()
    assert artists.legend(figure) == LABELS
    assert artists.labels(figure) == [
        ("optimizer step", "expected calibration error"), ("", "expected calibration error"),
        ("confidence", "accuracy"),
    ]  # fmt: skip
    ticks = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert ticks == ["best checkpoint", "end of training"]
    assert [axes.get_title() for axes in figure.axes] == [
        "thin, dotted: noise floor",
        "level: noise floor; hollow: debiased (l2)",
        "reliability at the best checkpoint",
    ]
    assert figure.get_supxlabel() == "settings"


def test_what_diverged_is_left_out():
    names = ["ece", "ece_low", "ece_high", "ece_floor"]
    touched = [LABELS[0], f"{LABELS[0]}, floor"]
    artists.assert_unmoved(lambda table: drawing(points=table), POINTS, [0], names, touched)
    names = ["ece", "ece_low", "ece_floor", "ece_debiased", "ece_debiased_low"]
    touched = [f"{LABELS[1]}{what}" for what in ("", ", floor", ", debiased")]
    artists.assert_unmoved(lambda table: drawing(moments=table), MOMENTS, [0], names, touched)
    names = ["confidence", "accuracy"]
    artists.assert_unmoved(lambda table: drawing(diagram=table), DIAGRAM, [2], names, [LABELS[0]])

"""Every candidate is a point, p = 0 a star, the constant prediction a line, the choice a ring."""

import numpy as np
import pandas as pd
import pytest

from figures.recommend import draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

NAMES = ["risk", "beta", "ece", "score"]
LABELS = ["N = 1 in training, expected weight", "N = 4 in training, ensemble of 16"]
SUMMARY = without_high(
    pd.concat(
        [grid(NAMES, label=["no masks"], p=[0.0]), grid(NAMES, label=LABELS, p=[0.1, 0.5])],
        ignore_index=True,
    ).assign(chosen=[False, False, True, False, False])
)


def drawing(summary=SUMMARY):
    return draw(summary, "settings", "accuracy")


@pytest.mark.parametrize(("panel", "name"), list(enumerate(NAMES[:3])))
def test_curves_star_and_ring_are_the_table(panel, name):
    axes = drawing().axes[panel]
    bars = artists.error_bars(axes)
    assert set(bars) == {*LABELS, "p = 0"}
    for label, shift in zip(LABELS, (-0.003, 0.003), strict=True):
        points, ends = bars[label]
        own = SUMMARY[SUMMARY["label"] == label]
        assert np.allclose(points[:, 0], own["p"] + shift)
        assert np.allclose(points[:, 1], own[name])
        assert np.allclose(ends[:, 0], own[f"{name}_low"])
    star, _ = bars["p = 0"]
    assert np.allclose(star, [[0, SUMMARY[name][0]]])
    assert np.allclose(artists.lines(axes)["recommended"], [[0.5, SUMMARY[name][2]]])


def test_panels_and_curves_are_named():
    figure = drawing()
    assert sorted(artists.legend(figure)) == sorted([*LABELS, "p = 0", "recommended"])
    p = "dropout rate p"
    assert artists.labels(figure) == [
        (p, "loss on new data"), (p, "β"), (p, "expected calibration error")
    ]  # fmt: skip
    assert figure.get_suptitle() == "settings"


def test_a_regression_has_its_score_in_place_of_the_calibration_error():
    axes = drawing(SUMMARY.assign(ece=np.nan, ece_low=np.nan)).axes[2]
    assert axes.get_ylabel() == "accuracy"
    points, _ = artists.error_bars(axes)[LABELS[0]]
    assert np.allclose(points[:, 1], SUMMARY["score"][1:3])


CONSTANT = without_high(grid(["risk", "score"], label=["constant"], p=[np.nan]))


def test_the_constant_prediction_is_a_line_where_it_has_a_value():
    """It has a loss and a score, and is not trained, so that it has no beta."""
    table = pd.concat([CONSTANT.assign(chosen=False), SUMMARY], ignore_index=True)
    axes = drawing(table.assign(ece=np.nan)).axes
    for panel, name in ((0, "risk"), (2, "score")):
        level = artists.lines(axes[panel])["constant"][:, 1]
        assert np.allclose(level, CONSTANT[name][0])
        assert np.allclose(artists.lines(axes[panel])["recommended"], [[0.5, SUMMARY[name][2]]])
    assert "constant" not in artists.lines(axes[1])
    assert "constant" in artists.legend(drawing(table))


def test_where_the_constant_prediction_is_recommended_there_is_no_ring():
    table = pd.concat([CONSTANT, SUMMARY], ignore_index=True)
    axes = drawing(table.assign(chosen=table["p"].isna())).axes[0]
    assert len(artists.lines(axes)["recommended"]) == 0
    assert "constant" in artists.lines(axes)


def test_without_p_0_there_is_no_star():
    assert sorted(artists.legend(drawing(SUMMARY[1:]))) == sorted([*LABELS, "recommended"])


def test_what_diverged_is_left_out():
    names = [f"{name}{end}" for name in NAMES for end in ("", "_low")]
    artists.assert_unmoved(drawing, SUMMARY, [3], names, [LABELS[1]])


def test_a_recommended_candidate_that_diverged_has_no_ring():
    artists.assert_unmoved(drawing, SUMMARY, [2], NAMES, [LABELS[0], "recommended"])

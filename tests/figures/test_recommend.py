"""Every method is a line with its interval, the constant prediction a rule, the choice a ring."""

import numpy as np
import pandas as pd
import pytest

from figures.recommend import draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

NAMES = ["risk", "beta", "ece", "score"]
METHODS = ["LoRA", "LoRA Dropout", "weight decay"]
SUMMARY = without_high(grid(NAMES, method=METHODS)).assign(
    strength=[0.0, 0.3, 1.0], chosen=[False, True, False]
)
CONSTANT = without_high(grid(["risk", "score"], method=["constant"])).assign(
    strength=np.nan, chosen=False
)


def drawing(summary=SUMMARY):
    return draw(summary, "settings", "accuracy")


@pytest.mark.parametrize(("panel", "name"), list(enumerate(NAMES[:3])))
def test_points_and_ring_are_the_table_with_the_least_loss_at_the_top(panel, name):
    axes = drawing().axes[panel]
    points, ends = artists.error_bars(axes, across=True)["tuned method"]
    own = SUMMARY.sort_values("risk", ascending=False)
    assert np.allclose(points[:, 0], own[name])
    assert np.allclose(ends[:, 0], own[f"{name}_low"])
    assert np.allclose(artists.lines(axes)["recommended"], [[SUMMARY[name][1], 1]])


def test_panels_and_methods_are_named():
    figure = drawing()
    assert sorted(artists.legend(figure)) == ["recommended", "tuned method"]
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "loss on new data", "β  (units of the loss)", "expected calibration error",
    ]  # fmt: skip
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == METHODS[::-1]
    assert figure.get_supxlabel() == "settings"


def test_a_regression_has_its_score_in_place_of_the_calibration_error():
    axes = drawing(SUMMARY.assign(ece=np.nan, ece_low=np.nan)).axes[2]
    assert axes.get_xlabel() == "accuracy"
    points, _ = artists.error_bars(axes, across=True)["tuned method"]
    assert np.allclose(points[:, 0], SUMMARY["score"][::-1])


def test_where_beta_was_not_measured_it_has_no_panel():
    for table in (SUMMARY.drop(columns=["beta", "beta_low"]), SUMMARY.assign(beta=np.nan)):
        assert [axes.get_xlabel() for axes in drawing(table).axes] == [
            "loss on new data", "expected calibration error",
        ]  # fmt: skip


def test_the_constant_prediction_is_a_rule_where_it_has_a_value():
    table = pd.concat([CONSTANT, SUMMARY], ignore_index=True)
    axes = drawing(table.assign(ece=np.nan)).axes
    for panel, name in ((0, "risk"), (2, "score")):
        level = artists.lines(axes[panel])["best constant prediction"][:, 0]
        assert np.allclose(level, CONSTANT[name][0])
    assert "best constant prediction" not in artists.lines(axes[1])


def test_where_the_constant_prediction_is_recommended_there_is_no_ring():
    table = pd.concat([CONSTANT, SUMMARY], ignore_index=True)
    axes = drawing(table.assign(chosen=table["strength"].isna())).axes[0]
    assert len(artists.lines(axes)["recommended"]) == 0

"""A panel a quantity that the task has, a curve a label."""

import numpy as np
import pytest

from figures.finetune import draw
from tests.figures import artists
from tests.figures.tables import grid

NAMES = ["train_loss", "test_loss", "gap", "test_score", "ece"]
LABELS = ["LoRA, p = 0, no masks", "LoRA, p = 0.5, ensemble of 4"]
POINTS = grid(NAMES, label=LABELS, step=[0, 5, 10])


@pytest.mark.parametrize(("panel", "name"), list(enumerate(NAMES)))
def test_curves_and_bands_are_the_table(panel, name):
    axes = draw(POINTS, "", "accuracy").axes[panel]
    own = POINTS[POINTS["label"] == LABELS[1]]
    assert np.allclose(artists.lines(axes)[LABELS[1]], own[["step", name]])
    assert np.allclose(artists.bands(axes)[1], own[["step", f"{name}_low", f"{name}_high"]])


def test_panels_and_curves_are_named():
    figure = draw(POINTS, "settings", "accuracy")
    assert [label for _, label in artists.labels(figure)[:5]] == [
        "train loss", "test loss", "gap", "test accuracy", "expected calibration error"
    ]  # fmt: skip
    assert artists.legend(figure.axes[5]) == LABELS  # the panel that would be empty
    assert figure.get_supxlabel() == "settings"


def test_what_the_task_lacks_has_no_panel():
    less = POINTS.drop(columns=["gap", "gap_low", "gap_high"]).assign(ece=np.nan)
    figure = draw(less, "", "accuracy")
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "train loss", "test loss", "test accuracy"
    ]  # fmt: skip
    assert all(axes.axison for axes in figure.axes)
    assert not draw(POINTS, "", "accuracy").axes[5].axison


@pytest.mark.parametrize(
    ("score", "name", "ends"), [("accuracy", "test_score", (0, 1)), ("accuracy", "ece", (0, 1))]
)
def test_intervals_do_not_widen_an_axis_beyond_what_can_be(score, name, ends):
    wide = POINTS.assign(**{f"{name}_low": -3.0, f"{name}_high": 4.0})
    found = draw(wide, "", score).axes[NAMES.index(name)].get_ylim()
    # Room for half a marker.
    assert np.allclose(found, ends, atol=0.021)


def test_a_score_that_is_no_share_keeps_its_axis():
    wide = POINTS.assign(test_score_low=-3.0)
    assert draw(wide, "", "correlation").axes[3].get_ylim()[0] < -3


def test_a_diverged_step_is_left_out():
    names = [f"{name}{end}" for name in NAMES for end in ("", "_low", "_high")]
    artists.assert_unmoved(
        lambda table: draw(table, "", "accuracy"), POINTS, [5], names, [LABELS[1]]
    )


def test_many_curves_are_named_beside_the_panels():
    many = grid(NAMES, label=[f"LoRA, p = {number / 50}" for number in range(40)], step=[0, 5])
    figure = draw(many, "", "accuracy")
    figure.draw_without_rendering()  # warns where a legend leaves no room for the panels
    assert len(artists.legend(figure)) == 40

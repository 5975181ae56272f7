"""Losses and score along training are the table's."""

import numpy as np
import pytest

from figures.curves import draw
from tests.figures import artists
from tests.figures.tables import grid

NAMES = ["train_loss", "test_loss", "test_score"]
POINTS = grid(NAMES, method=["LoRA", "AdaLoRA"], p=[0.0, 0.5], step=[0, 1, 10])


@pytest.mark.parametrize(("panel", "name"), list(enumerate(NAMES)))
def test_curves_and_bands_are_the_table_after_the_first_step(panel, name):
    axes = draw(POINTS, "", "accuracy").axes[panel]
    own = POINTS.query("method == 'AdaLoRA' and p == 0.5 and step > 0")
    assert np.allclose(artists.lines(axes)["AdaLoRA, p = 0.5"], own[["step", name]])
    assert np.allclose(artists.bands(axes)[-1], own[["step", f"{name}_low", f"{name}_high"]])


def test_a_shade_is_a_rate_and_a_dash_a_method():
    lines = {line.get_label(): line for line in draw(POINTS, "", "accuracy").axes[0].lines}
    colours = {label: line.get_color() for label, line in lines.items()}
    assert colours["LoRA, p = 0.5"] == colours["AdaLoRA, p = 0.5"] != colours["LoRA, p = 0"]
    dashes = {label: line.get_linestyle() for label, line in lines.items()}
    assert dashes["LoRA, p = 0.5"] == dashes["LoRA, p = 0"] == "-"
    assert dashes["AdaLoRA, p = 0.5"] == dashes["AdaLoRA, p = 0"] == "--"


def test_panels_and_curves_are_named():
    figure = draw(POINTS, "settings", "accuracy")
    step = "optimizer step"
    assert artists.labels(figure) == [
        (step, "train loss"), (step, "test loss"), (step, "test accuracy")
    ]  # fmt: skip
    labels = [f"{method}, p = {p}" for p in ("0", "0.5") for method in ("LoRA", "AdaLoRA")]
    assert artists.legend(figure) == labels
    assert figure.get_supxlabel() == "settings"


def test_a_task_without_a_score_has_no_panel_for_it():
    scored = [name for name in POINTS if name.startswith("test_score")]
    figure = draw(POINTS.drop(columns=scored), "", "none")
    step = "optimizer step"
    assert artists.labels(figure) == [(step, "train loss"), (step, "test loss")]


def test_the_baseline_is_a_line_on_the_score_s_panel():
    axes = draw(POINTS, "", "accuracy", 0.77).axes[2]
    (dotted,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert set(dotted.get_ydata()) == {0.77}
    assert axes.texts[0].get_text() == "logistic regression on frozen embeddings"


@pytest.mark.parametrize("baseline", [None, float("nan")])
def test_without_a_baseline_there_is_no_line(baseline):
    axes = draw(POINTS, "", "accuracy", baseline).axes[2]
    assert len(axes.lines) == 4
    assert len(axes.texts) == 0


def test_more_rates_than_markers_are_all_drawn():
    many = grid(NAMES, method=["LoRA"], p=np.linspace(0, 0.9, 10), step=[1, 10])
    assert len(draw(many, "", "accuracy").axes[0].lines) == 10


def test_a_diverged_step_is_left_out():
    names = [f"{name}{end}" for name in NAMES for end in ("", "_low", "_high")]
    row = POINTS.index[-1]
    artists.assert_unmoved(
        lambda table: draw(table, "", "accuracy"), POINTS, [row], names, ["AdaLoRA, p = 0.5"]
    )

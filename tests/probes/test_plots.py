"""From a result to its figure: the tables and the caption that are handed over to be drawn."""

import importlib

import numpy as np
import pandas as pd
import pytest

from figures.style import Drawing
from probes import verify
from probes.own_model import OwnModelResult
from probes.results.bounds_table import bound_curves
from probes.statements.stability_cases import AS_IT_IS_PRINTED
from tests.figures import artists
from tests.probes.tables import (
    EFFECTS,
    WHERE,
    ablation_result,
    attribution_result,
    calibration_result,
    comparison_result,
    cost_result,
    curves_result,
    ensemble_result,
    finetune_result,
    gap_result,
    made,
    matched_result,
    recommend_result,
    sensitivity_result,
    stability_result,
    verify_result,
)
from theory.readings import READINGS


@pytest.fixture
def handed(monkeypatch):
    """Call a result's method; return what its figure was given, in place of drawing it."""

    def plot(result, figure, method="plot"):
        given = []
        module = importlib.import_module(f"figures.{figure}")
        monkeypatch.setattr(
            module, "draw", lambda *arguments: (given.extend(arguments), Drawing())[1]
        )
        getattr(result, method)()
        return given

    return plot


LOSSES = {(0.1, 0): (0.50, 0.52), (0.1, 4): (0.40, 0.44)}
VARIANTS = {("inference", "no masks", 0.1): (0.5, 0.52), ("inference", "ensemble", 0.1): (0.4, 0.4)}
GRID = {(0.1, 1, "expected weight"): (0.5, 0.52), (0.1, 4, "expected weight"): (0.4, 0.44)}


@pytest.mark.parametrize(
    ("figure", "result", "score"),
    [
        ("ensemble", ensemble_result(LOSSES), ["accuracy"]),
        ("ablation", ablation_result(VARIANTS), []),
        ("sensitivity", sensitivity_result(GRID), ["accuracy"]),
        ("cost", cost_result({("training", "LoRA", 0): ((1.0, 1.1), 1.0)}), []),
    ],
)
def test_the_summary_is_drawn(figure, result, score, handed):
    summary, caption, *more = handed(result, figure)
    pd.testing.assert_frame_equal(summary, result.summary)
    assert caption.startswith(result.setting)
    assert more == score


def test_an_own_model_is_drawn_by_names_of_its_inference(handed):
    losses = {"train_loss": 0.25, "gap": 0.25, "beta_signed": 0.0, "test_score": 0.5}
    records = [
        {"p": 0.1, "ensemble": size, "draw": draw, "test_loss": 0.5 + draw, "beta": 0.01} | losses
        for size in (0, 4)
        for draw in (0, 1)
    ]
    result = OwnModelResult(made(records))
    summary, caption = handed(result, "own_model")
    assert summary["label"].tolist() == ["expected weight", "ensemble, N = 4"]
    pd.testing.assert_frame_equal(summary.drop(columns="label"), result.summary)
    assert caption.startswith(WHERE.format(2))


def test_curves_are_means_along_training_beside_their_baseline(handed):
    result = curves_result({("LoRA", 0.1, draw): (0.9, 0.7, 0.6 + draw, 0.8) for draw in (0, 1)})
    rows = result.rows.assign(baseline=[2.0] * 4 + [2.5] * 4)
    points, caption, score, baseline = handed(type(result)(rows), "curves")
    assert points["step"].tolist() == [0, 10, 20, 40]
    assert points["test_loss"].tolist() == pytest.approx([0.9, 0.7, 1.1, 0.8])
    assert points["train_loss"].tolist() == pytest.approx([0.65, 0.45, 0.85, 0.55])
    assert (score, baseline) == ("accuracy", 2.25)
    assert caption.startswith(WHERE.format(2))


def test_calibration_is_drawn_along_training_at_its_end_and_as_a_diagram(handed):
    along = [(10, 0.5, 0.6, 0.7, 0.8, 0.1), (20, 0.6, 0.7, 0.7, 0.9, 0.2)]
    measured = {(0.0, "no masks", draw): along for draw in (0, 1)}
    result = calibration_result(measured)
    points, moments, diagram, caption = handed(result, "calibration")
    assert points[["step", "ece"]].to_numpy().tolist() == [[10, 0.1], [20, 0.2]]
    pd.testing.assert_frame_equal(moments.drop(columns="label"), result.summary)
    assert diagram["confidence"].tolist() == [0.5]
    assert {*points["label"], *moments["label"], *diagram["label"]} == {"p = 0, no masks"}
    assert caption.startswith(WHERE.format(2))


def test_fine_tuning_is_drawn_against_the_step(handed):
    losses = {("lora", 0.3, one, 0): (0.5, 0.4) for one in ("expected weight", "ensemble")}
    points, caption, score = handed(finetune_result(losses), "finetune")
    assert points["test_loss"].tolist() == [0.5, 0.4, 0.5, 0.4]
    assert points["label"].unique().tolist() == [
        "lora, p = 0.3, expected weight",
        "lora, p = 0.3, ensemble of 4",
    ]
    assert "objective dropout" in caption
    assert score == "accuracy"
    alone = {("lora", 0.3, "expected weight", 0): (0.5, 0.4)}
    _, caption, *_ = handed(finetune_result(alone, samples=4).curves(), "curves")
    assert "objective dropout, N = 4, expected-weight network" in caption


def test_tuned_methods_are_drawn_with_the_constant_prediction(handed):
    result = recommend_result({"LoRA": (1.0, 1.1), "LoRA Dropout": (0.5, 0.6)})
    summary, caption, score = handed(result, "recommend")
    pd.testing.assert_frame_equal(summary, result.summary)
    assert summary["method"].tolist() == ["best constant prediction", "LoRA", "LoRA Dropout"]
    assert "by held-out examples" in caption
    assert score == "accuracy"


def test_attribution_is_drawn_with_its_scores_by_held_out_example(handed):
    result = attribution_result([EFFECTS] * 8)
    result = type(result)(result.rows.assign(p=0.2), result.more, scores=result.scores)
    summary, by_example, caption = handed(result, "attribution")
    pd.testing.assert_frame_equal(summary, result.summary)
    pd.testing.assert_frame_equal(by_example, result.by_example)
    assert "p = 0.2" in caption


def test_bounds_are_drawn_over_all_sizes(handed):
    result = comparison_result({"Theorem 4.4": {50: 2.0, 100: 1.0, 10**6: 0.01}})
    rows, caption, ceiling = handed(result, "comparison")
    pd.testing.assert_frame_equal(rows, result.rows)
    assert caption == result.setting
    assert ceiling == 1  # the largest loss


#: Two rates, two draws; the ensemble has no place in the gap's figure.
CELLS = [
    {"p": p, "draw": draw, "train_loss": 0.25, "test_loss": 0.5 + p + draw, "changes": changes}
    | more
    for p in (0.5, 0.1)
    for draw, changes in ((0, [0.125, -0.25]), (1, [0.25, 0.5]))
    for more in ({}, {"inference": "ensemble", "ensemble": 4})
]


@pytest.fixture(scope="module")
def stability():
    return stability_result(*CELLS)


def test_stability_is_drawn_as_means_of_every_inference(stability, handed):
    points, curves, ceiling, caption, delta = handed(stability, "stability")
    assert points[["label", "p"]].to_numpy().tolist() == [
        ["expected weight network", 0.1],
        ["expected weight network", 0.5],
        ["ensemble, N = 4", 0.1],
        ["ensemble, N = 4", 0.5],
    ]
    assert points["deterministic"].tolist() == [True, True, False, False]
    assert points["beta"].tolist() == pytest.approx([(0.1875 + 0.375) / 2] * 4)
    assert points["gap"].tolist() == pytest.approx([0.85, 1.25] * 2)
    deterministic = stability.table[stability.table["ensemble"] == 0]
    expected, highest = bound_curves(deterministic, stability.strengths, 0.05)
    pd.testing.assert_frame_equal(curves, expected)
    assert np.array_equal(ceiling, highest, equal_nan=True)
    assert delta == 0.05
    setting = (
        "made up, n = 10, 2 draws of S, objective dropout, rank 2, 40 steps, learning rate 0.001"
    )
    assert caption.startswith(f"{setting}, masks not rescaled")
    assert "measured at each p" in caption


def test_the_caption_of_one_rate_says_at_which_p_the_bounds_were_measured(handed):
    _, _, _, caption, _ = handed(stability_result(*CELLS[:4], rescale=True), "stability")
    assert "masks rescaled" in caption
    assert "as measured at p = 0.5, whatever p" in caption


def test_the_gap_is_drawn_beside_its_estimate_for_the_deterministic_network(stability, handed):
    points, cells, caption = handed(stability, "gap", "plot_gap")
    assert points["p"].tolist() == [0.1, 0.5]
    assert points["gap"].tolist() == pytest.approx([0.85, 1.25])
    # Means of the signed changes: (0.125 - 0.25) / 2 and (0.25 + 0.5) / 2.
    assert points["gap_estimate"].tolist() == pytest.approx([(-0.0625 + 0.375) / 2] * 2)
    assert cells["ensemble"].unique().tolist() == [0]
    assert cells["p"].tolist() == [0.1, 0.1, 0.5, 0.5]
    assert "learning rate 0.001, expected weight network\n" in caption


def test_estimates_are_drawn_beside_what_was_retrained(handed):
    cell = CELLS[0] | {"method": "influence", "validate": 1, "retrained": [0.25, float("nan")]}
    rows, _ = handed(stability_result(cell, cell | CELLS[1]), "influence", "plot_validation")
    assert rows[["ensemble", "loss_retrained"]].to_numpy().tolist() == [[0, 0.5]]


def test_the_gap_against_n_is_drawn_with_the_bound_at_the_largest_strength(handed):
    result = gap_result(*CELLS)
    points, caption, strength, delta = handed(result, "generalization")
    assert points["p"].tolist() == [0.1, 0.5]
    assert points["gap"].tolist() == pytest.approx([0.85, 1.25])
    assert strength == max(result.strengths)
    assert delta == 0.05
    assert "expected weight network" in caption


def test_controls_are_drawn_at_the_smallest_size(handed):
    controls = {"weight decay": [(0.0, 1.0), (0.0, 0.5)]}
    result = matched_result({0.1: [(0.5, 0.25), (0.5, 0.75)]}, controls, n=(20, 10))
    points, decision, caption = handed(result, "matched")
    dropout = points[points["variant"] == "dropout"]
    assert dropout[["train_loss", "beta"]].to_numpy().tolist() == [[0.5, 0.5]]
    control = points[points["variant"] == "weight decay"]
    assert control["beta"].tolist() == [0.0, 0.75]
    assert decision["n"].unique().tolist() == [10]
    assert caption.startswith("made up, n = 10, the smallest of 10, 20, 2 draws of S")


def test_readings_and_failures_are_drawn_by_their_names(handed):
    printed, corrected = list(verify.DRAWN)[:2]
    known = {"command": verify.COMMAND}
    cases = [
        (("Proposition 4.2", corrected, "ridge, p = 0.1", 1.0, 4.0), {}),
        (("Proposition 4.2", printed, "ridge, p = 0.1", 1.0, 2.0), {}),
        (("Proposition 4.2", printed, "ridge, p = 0.3", 1.0, 5.0), {"failed": "not close"}),
        (("Proposition 4.2", "none that is drawn", "ridge, p = 0.1", 1.0, 3.0), {}),
        (("Lemma 4.3", "alone, as printed", "a memoriser", 2.0, 1.0), known | {"provable": False}),
        (("Lemma 4.3", "both", "a memoriser", 1.0, 2.0), known),
        (("Proposition 4.2", "worst, as printed", "far", 2.0, 1.0),
         known | {"failed": "not close", "reach": 0.25}),
        (("Proposition 4.2", "worst, curvature: segment", "far", 1.0, 2.0), known),
    ]  # fmt: skip
    readings, failures, _ = handed(verify_result(*cases), "verify")
    names = list(verify.DRAWN.values())[:2]
    ridge = readings[readings["data"] == "ridge"]
    assert ridge["name"].tolist() == names
    assert ridge["ratio"].tolist() == [2.0, 4.0]
    assert failures["kind"].tolist() == ["as printed", "corrected"] * 2
    assert failures["group"].tolist() == [verify.ALL_MET] * 2 + [verify.ONE_MISSING] * 2
    far = "far\nexpansion good for 25 % of the way"
    assert failures["setting"].tolist() == ["a memoriser"] * 2 + [far] * 2


def test_what_is_drawn_of_the_verifier_are_readings_that_it_tries():
    assert set(verify.DRAWN) <= {str(reading) for reading in READINGS} | {AS_IT_IS_PRINTED}


def over_sizes(make, *cells):
    """A result over n = 10 and n = 20, whose losses differ."""
    few = make(*cells).rows
    more = few.assign(
        n=20, test_loss=few["test_loss"] + 0.25, loss_left_out=few["loss_left_out"] + 1
    )
    return type(make(*cells))(pd.concat([few, more], ignore_index=True))


#: Two sizes of S, rates, draws, and an ensemble, where a command line allows them.
SEVERAL = {
    "stability": (over_sizes(stability_result, *CELLS), "plot", {"beta", "gap"}),
    "gap": (over_sizes(stability_result, *CELLS), "plot_gap", {"gap", "gap_estimate"}),
    "generalization": (over_sizes(gap_result, *CELLS), "plot", {"gap"}),
    "gap of generalization": (over_sizes(gap_result, *CELLS), "plot_gap", {"gap", "gap_estimate"}),
    "matched": (
        matched_result(
            {0.1: [(0.5, 0.25), (0.5, 0.75)]}, {"weight decay": [(0.0, 1.0), (0.0, 0.5)]},
            n=(20, 10),
        ),
        "plot", set(),
    ),
    "sensitivity": (sensitivity_result(GRID | {(0.3, 1, "ensemble"): (0.4, 0.41)}), "plot", set()),
    "curves": (
        curves_result({(m, p, d): (0.9, 0.7, 0.6 + d / 10 + p, 0.8) for m in ("LoRA", "AdaLoRA")
                       for p in (0.1, 0.3) for d in (0, 1)}),
        "plot", set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_what_is_drawn_is_a_row_of_the_table_and_the_caption_has_its_n(name):
    """A mean that no table has, as one over several n, is a curve of nothing."""
    result, method, quantities = SEVERAL[name]
    figure = getattr(result, method)()
    caption = figure.get_supxlabel() or figure.get_suptitle()
    if quantities:
        summary = result.summary
        known = {
            round(value, 9)
            for quantity in quantities
            for value in summary[quantity]
            if np.isfinite(value)
        }
        drawn = {
            round(float(y), 9)
            for axes in figure.axes
            for points, _ in artists.error_bars(axes).values()
            for y in points[:, 1]
            if np.isfinite(y)
        }
        assert drawn
        assert drawn <= known
    sizes = sorted(result.rows["n"].unique())
    shown = [n for n in sizes if any(str(n) in text for text in words_of(figure))]
    assert shown, caption
    if method == "plot_gap" or name == "stability":
        assert f"n = {sizes[-1]}, the largest of {sizes[0]}, {sizes[-1]}" in caption.replace(
            "\n", " "
        )


def words_of(figure):
    """The caption, and the ticks of every panel."""
    ticks = [tick.get_text() for axes in figure.axes for tick in axes.get_xticklabels()]
    return [figure.get_supxlabel(), figure.get_suptitle(), *ticks]

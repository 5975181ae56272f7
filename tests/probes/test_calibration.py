"""Calibration along training: what is chosen on one half is measured on the other."""

import numpy as np
import pandas as pd
import pytest

from probes import calibration as calibration_probe
from probes.calibration import QUANTITIES, CalibrationResult
from probes.jobs.job import TableKind
from probes.metrics.confidence_intervals import means
from tests.probes.same_numbers import SMALL, table_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def calibration():
    return calibration_probe.measure(p=0.4, ensemble=3, **SMALL)


def test_calibration_is_measured_on_the_other_half_of_the_held_out_data(calibration):
    """At the end, losses on both halves average to the stability probe's test loss."""
    end = calibration.rows[calibration.rows["step"] == SMALL["steps"]]
    held_out = 1797 - SMALL["n"]
    first = held_out // 2
    for inference, size in (("expected weight", 0), ("ensemble", 3)):
        rows = end[(end["inference"] == inference) & (end["p"] == 0.4)]
        together = first * rows["validation_loss"] + (held_out - first) * rows["test_loss"]
        expected = table_of(0.4, ensemble=3).loc[size]["test_loss"].tolist()
        assert (together / held_out).tolist() == pytest.approx(expected, rel=2e-4)


def test_the_best_checkpoint_has_the_least_validation_loss(calibration):
    keys = ["p", "inference", "draw"]
    least = calibration.rows.groupby(keys)["validation_loss"].min()
    best = calibration.best.set_index(keys)["validation_loss"]
    assert best.sort_index().tolist() == least.sort_index().tolist()


def test_the_diagram_lies_between_zero_and_one(calibration):
    diagram = calibration.more[TableKind.DIAGRAM]
    assert diagram[["confidence", "accuracy"]].min().min() >= 0
    assert diagram[["confidence", "accuracy"]].max().max() <= 1
    assert set(diagram["inference"]) == {"no masks", "expected weight", "ensemble"}


def test_the_figure_of_calibration_shows_the_summary(calibration):
    figure = calibration.plot()
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 2]
    points = means(calibration.rows, ["p", "inference", "step"], ["ece", "ece_floor"])
    shown = np.concatenate([line.get_ydata() for line in lines])
    assert sorted(shown) == pytest.approx(sorted([*points["ece"], *points["ece_floor"]]))


KEYS = ["p", "inference", "moment"]


def diverged(calibration, draw, since=0):
    """The same, but what one draw measured from a step on is NaN, and so is its validation loss."""
    rows = calibration.rows.copy()
    lost = (rows["draw"] == draw) & (rows["step"] >= since)
    rows.loc[lost, ["validation_loss", *QUANTITIES]] = np.nan
    return CalibrationResult(rows, calibration.more)


def only(calibration, draw):
    rows = calibration.rows
    return CalibrationResult(rows[rows["draw"] == draw], calibration.more)


def test_every_error_has_its_floor_and_a_debiased_form(calibration):
    rows, summary = calibration.rows, calibration.summary
    assert rows["ece_floor"].between(0, 0.5).all()
    # Without noise the l2 error is less than with it, whose square is at most the error.
    assert (rows["ece_debiased"] <= np.sqrt(rows["ece"])).all()
    text = calibration.text()
    assert text["floor"].tolist() == summary["ece_floor"].map("{:.4f}".format).tolist()
    for shown, (_, row) in zip(text["debiased"], summary.iterrows(), strict=True):
        low, high = row["ece_debiased_low"], row["ece_debiased_high"]
        assert shown == f"{row['ece_debiased']:.4f} [{low:.4f}, {high:.4f}]"


def test_of_what_is_debiased_the_squares_are_averaged(calibration):
    end = calibration.rows[calibration.rows["step"] == SMALL["steps"]]
    summary = calibration.summary.query("moment == 'end'").set_index(["p", "inference"])
    for key, group in end.groupby(["p", "inference"]):
        values = group["ece_debiased"]
        square = (np.sign(values) * values**2).mean()
        expected = np.sign(square) * np.sqrt(abs(square))
        assert summary.loc[key, "ece_debiased"] == pytest.approx(expected)
        assert summary.loc[key, "ece_debiased_low"] <= expected
        assert summary.loc[key, "ece_debiased_high"] >= expected


def test_a_draw_that_diverged_leaves_the_others_as_they_are(calibration):
    found = diverged(calibration, draw=1)
    assert found.best["step"].isna().tolist() == (found.best["draw"] == 1).tolist()
    summary, alone = found.summary, only(calibration, draw=0).summary
    assert summary[KEYS].equals(alone[KEYS])
    for name in QUANTITIES:
        assert summary[name].tolist() == pytest.approx(alone[name].tolist(), nan_ok=True)
    assert (summary["draws"] == 2).all()
    assert (summary["ece_draws"] == 1).all()
    assert found.text()["ECE"].str.endswith("(1 of 2)").all()
    assert found.text()["debiased"].str.endswith("(1 of 2)").all()


def test_a_draw_that_diverged_late_has_its_best_checkpoint_before(calibration):
    steps = sorted(calibration.rows["step"].unique())
    early = calibration.rows[calibration.rows["step"] < steps[5]]
    expected = CalibrationResult(early, calibration.more).best.query("draw == 1")
    found = diverged(calibration, draw=1, since=steps[5]).best.query("draw == 1")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_networks_that_all_diverged_have_no_numbers_and_are_counted():
    """The first step leads to parameters that are not finite."""
    result = calibration_probe.measure(
        task="breast_cancer", p=0.5, n=8, draws=2, steps=5, lr=1e200, ensemble=2
    )
    late = result.rows[result.rows["step"] > 1]
    assert late[["validation_loss", *QUANTITIES]].isna().all(axis=None)
    end = result.text()[result.text()["checkpoint"] == "end"]
    for name in ("ECE", "floor", "debiased", "test loss", "test accuracy", "mean confidence"):
        assert (end[name] == "nan (0 of 2)").all()
    result.plot().draw_without_rendering()


def test_where_no_loss_is_finite_there_is_no_diagram(calibration):
    none = diverged(diverged(calibration, draw=0), draw=1)
    assert none.best["ece"].isna().all()
    assert len(none.best) == len(calibration.best)
    empty = calibration.more[TableKind.DIAGRAM].iloc[:0]
    CalibrationResult(none.rows, {TableKind.DIAGRAM: empty}).plot().draw_without_rendering()


def test_rows_without_a_floor_are_shown_without(calibration):
    """As those of fine-tuning are."""
    rows = calibration.rows.drop(columns=["ece_floor", "ece_debiased"])
    result = CalibrationResult(rows, calibration.more)
    assert {"floor", "debiased"}.isdisjoint(result.text())
    assert result.text()["ECE"].tolist() == calibration.text()["ECE"].tolist()
    result.plot().draw_without_rendering()


def test_where_all_diverge_a_run_still_ends_with_its_figure(tmp_path):
    result = calibration_probe.measure(
        task="breast_cancer", p=0.3, n=8, draws=2, steps=60, lr=1e38, ensemble=2, out=tmp_path
    )
    end = result.summary.query("moment == 'end'")
    assert end["ece"].isna().all()
    assert (tmp_path / "calibration.png").exists()

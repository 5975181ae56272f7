"""Calibration along training: what is chosen on one half is measured on the other."""

import numpy as np
import pytest

from probes import calibration as calibration_probe
from probes.jobs.job import TableKind
from probes.metrics.confidence_intervals import means
from tests.probes.same_numbers import SMALL, table_of


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
    points = means(calibration.rows, ["p", "inference", "step"], ["ece"])
    shown = np.concatenate([line.get_ydata() for line in lines])
    assert sorted(shown) == pytest.approx(sorted(points["ece"]))

"""Intervals and sets from leave-one-out replicas, against a loop over test examples."""

import numpy as np
import pytest
import torch

from probes.cells.leave_one_out import train_cell
from probes.cells.prediction_sets import METHODS, allowed_instability, measure_sets, predicted
from probes.coverage import CoverageSettings
from probes.jobs.job import TableKind, silent
from theory.barber2021 import jackknife_coverage, jackknife_plus_coverage

ALPHA = 0.25


def cell_of(task, **changes):
    known = {"task": task, "n": 11, "draws": 1, "p": (0.3,), "steps": 30, "alpha": ALPHA}
    (cell,) = CoverageSettings(**known | changes).cells()
    return cell.base


def rows_of(cell):
    return measure_sets(cell, ALPHA, silent)[TableKind.ROWS].set_index("method")


def order_statistics(values, rank):
    return np.sort(values, axis=0)[rank - 1]


def test_intervals_are_those_of_the_definition():
    cell = cell_of("ridge")
    trained = train_cell(cell)
    with torch.no_grad():
        train, test = (
            trained.network.replica_outputs(
                trained.factors, inputs, update_scale=cell.update_scale
            )[:, 0].double().numpy()
            for inputs in (trained.train, trained.test)
        )  # fmt: skip
    values = trained.test.targets[0].double().numpy()
    errors = np.abs(trained.train.targets[0].double().numpy() - np.diagonal(train[1:]))
    # (1 - 1/4) 12 = 9 and 12 / 4 = 3.
    low = order_statistics(test[1:] - errors[:, None], 3)
    high = order_statistics(test[1:] + errors[:, None], 9)
    rows = rows_of(cell)
    plus = rows.loc["jackknife+"]
    assert plus["coverage"] == np.mean((low <= values) & (values <= high))
    assert plus["size"] == pytest.approx((high - low).mean())
    half = order_statistics(errors, 9)
    plain = rows.loc["jackknife"]
    assert plain["coverage"] == np.mean(np.abs(values - test[0]) <= half)
    assert plain["size"] == pytest.approx(2 * half)
    widened = rows.loc["jackknife, widened"]
    assert widened["size"] == pytest.approx(2 * (half + widened["widening"]))


def test_sets_are_those_of_the_definition():
    cell = cell_of("digits")
    trained = train_cell(cell)
    with torch.no_grad():
        train, test = (
            trained.network.replica_outputs(trained.factors, inputs, update_scale=cell.update_scale)
            .double().softmax(1).numpy()
            for inputs in (trained.train, trained.test)
        )  # fmt: skip
    labels, truth = (inputs.targets.argmax(0).numpy() for inputs in (trained.train, trained.test))
    own = np.array([1 - train[1 + i, labels[i], i] for i in range(11)])
    inside = np.array(
        [
            [(own < 1 - test[1:, y, x]).sum() < 9 for x in range(test.shape[2])]
            for y in range(10)
        ]
    )  # fmt: skip
    plus = rows_of(cell).loc["jackknife+"]
    assert plus["coverage"] == np.mean(inside[truth, np.arange(len(truth))])
    assert plus["size"] == pytest.approx(inside.sum(0).mean())
    assert plus["empty"] == pytest.approx(1 - inside.any(0).mean())


@pytest.mark.parametrize("task", ["ridge", "breast_cancer"])
def test_widening_buys_the_guarantee_of_the_jackknife_plus(task):
    rows = rows_of(cell_of(task))
    assert rows.index.tolist() == list(METHODS)
    widened, plain = rows.loc["jackknife, widened"], rows.loc["jackknife"]
    assert widened["unstable"] <= allowed_instability(ALPHA) < plain["unstable"]
    guaranteed = jackknife_coverage(ALPHA, allowed_instability(ALPHA))
    assert guaranteed == pytest.approx(jackknife_plus_coverage(ALPHA))
    assert (rows.loc[["jackknife+", "jackknife"], "widening"] == 0).all()
    assert widened["coverage"] >= plain["coverage"]
    assert widened["size"] >= plain["size"]


def test_two_classes_have_probabilities_that_sum_to_1():
    cell = cell_of("breast_cancer")
    found = predicted(cell, train_cell(cell))
    assert found.test.shape[:2] == (12, 2)
    assert np.allclose(found.test.sum(1), 1)
    assert set(found.test_labels) == {0, 1}


def test_networks_that_diverged_have_no_intervals():
    rows = rows_of(cell_of("ridge", lr=1e30))
    assert rows.index.tolist() == list(METHODS)
    assert rows[["coverage", "size", "widening"]].isna().all(axis=None)

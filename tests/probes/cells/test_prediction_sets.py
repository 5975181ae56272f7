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


def scores_of(found, network, example, candidate):
    """How badly a network's prediction for an example fits a candidate: a value, or a class."""
    if found.test.shape[1] == 1:
        return abs(candidate - found.test[network, 0, example])
    return 1 - found.test[network, candidate, example]


@pytest.mark.parametrize("task", ["ridge", "breast_cancer", "digits"])
def test_what_moves_is_the_score_of_the_truth(task):
    """In a loop over pairs; no smaller widening leaves so few moves above it."""
    cell = cell_of(task)
    found = predicted(cell, train_cell(cell))
    moves = np.array(
        [
            [abs(scores_of(found, 1 + i, x, y) - scores_of(found, 0, x, y)) for i in range(11)]
            for x, y in enumerate(found.test_labels)
        ]
    )
    rows = rows_of(cell)
    assert rows["change"].tolist() == pytest.approx([moves.mean()] * 3)
    widening = rows.loc["jackknife, widened", "widening"]
    above = [np.mean(moves > least) for least in (0.0, 0.0, widening + 1e-12)]
    assert rows["unstable"].tolist() == pytest.approx(above, abs=1e-9)
    assert np.mean(moves > widening + 1e-12) <= allowed_instability(ALPHA)
    assert np.mean(moves > widening - 1e-12) > allowed_instability(ALPHA)


@pytest.mark.parametrize("task", ["breast_cancer", "digits"])
def test_a_class_is_accepted_by_the_network_of_s_and_the_scores_of_those_left_out(task):
    cell = cell_of(task, lr=0.05)
    found = predicted(cell, train_cell(cell))
    own = sorted(1 - found.train[1 + i, y, i] for i, y in enumerate(found.train_labels))
    rows = rows_of(cell)
    for method in ("jackknife", "jackknife, widened"):
        row = rows.loc[method]
        inside = 1 - found.test[0] <= own[9 - 1] + row["widening"]
        truth = [inside[y, x] for x, y in enumerate(found.test_labels)]
        assert row["coverage"] == np.mean(truth)
        assert row["size"] == pytest.approx(inside.sum() / inside.shape[1])
        assert row["empty"] == pytest.approx(np.mean(inside.sum(0) == 0))


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

"""The rivals: what they have in common with the other probes, and what must hold of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from probes.cells.cell import objective_of
from probes.cells.ensemble_rivals import (
    HALVES,
    MANY_HALVES,
    MASKS,
    MASKS_OUTPUTS,
    PREDICTORS,
    SEEDS,
    SINGLE,
    compared_replica_steps,
    measure_rivals,
)
from probes.cells.prepare import prepare
from probes.cells.subbagging import with_replacements, without_training
from probes.ensemble import EnsembleSettings
from probes.jobs.job import silent
from probes.stability import measure
from probes.training.ensemble_members import member_outputs
from probes.training.retrain import retrain
from theory.soloff2024 import leave_one_out_changes

SMALL = {"task": "breast_cancer", "n": 10, "draws": 1, "steps": 15}


def cell_of(p):
    (cell,) = EnsembleSettings(p=(p,), **SMALL).cells()
    return cell.base


@pytest.fixture(scope="module")
def rivals():
    done = []
    rows = pd.DataFrame(measure_rivals(cell_of(0.4), 4, 64, done.append)).set_index("predictor")
    return rows, sum(done)


def test_all_are_measured_and_the_work_is_known(rivals):
    rows, done = rivals
    assert tuple(rows.index) == PREDICTORS
    assert done == compared_replica_steps(cell_of(0.4), 4, 64)
    assert rows["members"].tolist() == [1, 4, 4, 4, 4, 64]
    assert rows["networks"].tolist() == [1, 1, 1, 4, 4, 64]


def test_the_network_and_its_masks_are_those_of_the_stability_probe(rivals):
    rows, _ = rivals
    table = measure(p=0.4, ensemble=[4], **SMALL).table.set_index("ensemble")
    for predictor, size in ((SINGLE, 0), (MASKS_OUTPUTS, 4)):
        for name in ("test_loss", "test_score", "beta"):
            # Its losses, of about 0.7, are float32, with some roundings of 6e-8 each.
            expected = pytest.approx(table.loc[size, name], rel=1e-5, abs=5e-7)
            assert rows.loc[predictor, name] == expected


def test_the_bound_for_the_bags_drawn_is_kept_at_every_test_example(rivals):
    many = rivals[0].loc[MANY_HALVES]
    assert 0 < many["change"] <= many["change_largest"] <= many["bound_drawn"]
    assert many["bound"] == pytest.approx(1 / 6)
    assert rivals[0].drop(index=MANY_HALVES)["bound"].isna().all()


def test_the_change_of_many_halves_is_that_of_its_networks(rivals):
    cell = cell_of(0.4)
    ready, generator = prepare(cell), np.random.default_rng([0, 0, 4, 64])
    few = [generator.random((4, 10))]  # what the few halves draw, before the many
    few += [generator.choice(5) for _ in range(4 * 5)]
    bags = without_training(10, 64, generator)
    weights = torch.from_numpy(bags.weights)
    with torch.no_grad():
        factors = retrain(
            ready.network, ready.train, weights, ready.start, ready.training, objective_of(cell)
        )
        outputs = ready.network.replica_outputs(factors, ready.test, update_scale=cell.update_scale)
    positive = outputs[:, 0].double().sigmoid()
    labels = ready.test.targets[0].bool()
    right = positive.where(labels, 1 - positive).numpy()
    changes = leave_one_out_changes(right, bags.inside)
    expected = np.sqrt(np.square(changes).mean())
    found = rivals[0].loc[MANY_HALVES]
    assert found["change"] == pytest.approx(expected, rel=1e-6)
    assert found["test_score"] == pytest.approx(
        float(((positive.mean(0) > 0.5) == labels).double().mean())
    )


def test_without_masks_the_mask_ensemble_is_the_network():
    rows = pd.DataFrame(measure_rivals(cell_of(0.0), 2, 64, silent)).set_index("predictor")
    names = ["test_loss", "test_score", "change", "beta"]
    for predictor in (MASKS, MASKS_OUTPUTS):
        assert rows.loc[predictor, names].tolist() == rows.loc[SINGLE, names].tolist()


def test_the_mask_ensemble_averages_the_probabilities_of_its_members(rivals):
    cell, losses = cell_of(0.4), []
    ready = prepare(cell)
    with torch.no_grad():
        factors = retrain(
            ready.network, ready.train, ready.weights, ready.start, ready.training,
            objective_of(cell),
        )  # fmt: skip
        for inputs in (ready.train, ready.test):
            members = member_outputs(ready.network, factors, inputs, 4, p=0.4, seed=cell.seeds()[2])
            positive = torch.stack([one[:, 0].double().sigmoid() for one in members]).mean(0)
            losses.append(-positive.where(inputs.targets[0].bool(), 1 - positive).log())
    train, test = losses
    found = rivals[0].loc[MASKS, ["train_loss", "test_loss", "beta"]].tolist()
    change = (train[1:].diagonal() - train[0]).abs()
    assert found == pytest.approx([float(one.mean()) for one in (train[0], test[0], change)])


def record_of(mixing, train, test, ready):
    """What is measured of the weighted means of the probabilities that networks give to 1."""
    found = {}
    for name, positive, inputs in (("train", train, ready.train), ("test", test, ready.test)):
        labels = inputs.targets[0].bool()
        found[name] = (mixing @ positive.where(labels, 1 - positive)).numpy()
    kept, left_out = -np.log(found["train"][0]), -np.log(found["train"][1:].diagonal())
    squares = np.square(found["test"][1:] - found["test"][0]).mean(0)
    return {
        "test_loss": -np.log(found["test"][0]).mean(),
        "test_score": ((mixing[0] @ test > 0.5) == ready.test.targets[0].bool()).double().mean(),
        "train_loss": kept.mean(), "change": np.sqrt(squares.mean()),
        "change_largest": np.sqrt(squares.max()), "beta": np.abs(left_out - kept).mean(),
    }  # fmt: skip


def test_starts_and_halves_are_the_means_of_their_networks(rivals):
    cell = cell_of(0.4)
    ready = prepare(cell)

    @torch.no_grad()
    def positive(weights, start, seed):
        factors = retrain(
            ready.network, ready.train, weights, start, replace(ready.training, seed=seed),
            objective_of(cell),
        )  # fmt: skip
        return [
            ready.network.replica_outputs(factors, inputs, update_scale=cell.update_scale)[:, 0]
            .double().sigmoid()
            for inputs in (ready.train, ready.test)
        ]  # fmt: skip

    starts = [positive(ready.weights, ready.start, cell.seeds()[2])]
    for number in range(1, 4):
        first, seed = np.random.SeedSequence([0, 0, number]).generate_state(2, np.uint64).tolist()
        start = ready.network.initial_factors(torch.Generator().manual_seed(first))
        starts.append(positive(ready.weights, start, seed))
    few = with_replacements(10, 4, np.random.default_rng([0, 0, 4, 64]))
    halves = positive(torch.from_numpy(few.weights), ready.start, cell.seeds()[2])
    alone = torch.eye(11, dtype=torch.float64)
    for predictor, mixing, networks in (
        (SINGLE, alone, starts[0]),
        (SEEDS, alone.repeat(1, 4) / 4, map(torch.cat, zip(*starts, strict=True))),
        (HALVES, torch.from_numpy(few.mixing), halves),
    ):
        for name, value in record_of(mixing, *networks, ready).items():
            assert rivals[0].loc[predictor, name] == pytest.approx(float(value), rel=1e-6), name


def test_an_ensemble_of_one_start_is_the_network():
    alone = pd.DataFrame(measure_rivals(cell_of(0.4), 1, 64, silent)).set_index("predictor")
    names = ["test_loss", "test_score", "change", "beta"]
    assert alone.loc[SEEDS, names].tolist() == alone.loc[SINGLE, names].tolist()


def test_networks_that_diverged_are_nan():
    cell = replace(cell_of(0.4), lr=1e30)
    rows = pd.DataFrame(measure_rivals(cell, 2, 64, silent))
    names = ["test_loss", "test_score", "change", "change_largest", "beta"]
    assert rows[names].isna().all(axis=None)

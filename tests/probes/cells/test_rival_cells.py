"""Tuning and measuring give what training one network after the other gives."""

from dataclasses import replace

import numpy as np
import pytest

from probes.cells.prepare import network_of
from probes.cells.rival_cells import (
    FOLDS,
    MeasuredCell,
    TuningCell,
    drawn_examples,
    measure,
    run_rival_cell,
    tune,
)
from probes.cells.stopped_training import SCHEDULED, Setting
from probes.cells.tuning_parts import prepare_part
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.job import TableKind, silent
from probes.metrics.calibration_error import calibration_error, calibration_floor
from probes.tasks import load_task
from probes.training.example_weights import full_sample, leave_out
from probes.training.rival_training import obstacle, rival_outputs, train_rival
from probes.training.rivals import RIVALS, Rival

BASE = StabilitySettings(task="digits", n=8, steps=8, draws=1, dtype="float64").cells()[0]
LOSS = load_task("digits").loss


def alone(method, setting, weights, part="tuning", steps=None):
    """Outputs on what is drawn and on the rest of one network that is trained for itself."""
    base = replace(BASE, n=weights.shape[1])
    ready, rival = prepare_part(base, part), Rival(method, setting.strength)
    steps = setting.stop(method, BASE.steps) * rival.method.members if steps is None else steps
    training = replace(ready.training, lr=setting.lr, steps=steps)
    factors = train_rival(ready.network, ready.train, weights, ready.start, training, rival)
    seed = BASE.seeds()[2]
    return ready, [
        rival_outputs(ready.network, factors, inputs, rival, seed=seed)
        for inputs in (ready.train, ready.test)
    ]


@pytest.mark.parametrize("method", ["LoRA", "LoRA Dropout, N = 4", "seed ensemble of 4"])
def test_every_example_is_judged_by_the_network_that_did_not_see_it(method):
    strength = RIVALS[method].strengths[0]
    cell = TuningCell(BASE, "tuning", method, (strength,), (0.01, 0.03), (0.5, 1.0), folds=True)
    rows = tune(cell, silent)
    assert rows[["lr", "share"]].to_numpy().tolist() == [
        [0.01, 0.5], [0.01, 1.0], [0.03, 0.5], [0.03, 1.0],
    ]  # fmt: skip
    for row in (rows.iloc[0], rows.iloc[3]):
        setting, losses = Setting(strength, row["lr"], row["share"]), []
        for fold in range(FOLDS):
            # 8 examples and a third of them: every network trains on 8 of 11, but for rounding.
            held = list(range(fold, 11, FOLDS))
            ready, (outputs, _) = alone(method, setting, leave_out([held], 11))
            losses += ready.network.loss.value(outputs, ready.train.targets)[0, held].tolist()
        assert row["validation_loss"] == pytest.approx(np.mean(losses))


@pytest.mark.parametrize(("n", "drawn"), [(8, 11), (64, 85), (512, 683), (700, 718)])
def test_the_networks_of_cross_validation_train_on_n_examples(n, drawn):
    """As far as the part has so many: that of digits has 719."""
    cell = TuningCell(replace(BASE, n=n), "tuning", "LoRA", (0.0,), (0.01,), (1.0,), folds=True)
    assert drawn_examples(cell) == drawn
    assert drawn_examples(replace(cell, folds=False)) == n
    if drawn < 718:
        assert abs(drawn - drawn / FOLDS - n) < 1


def test_without_folds_the_rest_of_the_data_judges():
    cell = TuningCell(BASE, "tuning", "LoRA", (0.0,), (0.01,), (0.5,), folds=False)
    (row,) = tune(cell, silent).to_dict("records")
    ready, (_, outputs) = alone("LoRA", Setting(0.0, 0.01, 0.5), full_sample(8))
    expected = ready.network.loss.value(outputs, ready.test.targets).mean()
    assert row["validation_loss"] == pytest.approx(float(expected))


def test_a_network_that_diverged_has_an_infinite_loss():
    cell = TuningCell(BASE, "tuning", "LoRA", (0.0,), (1e300,), (1.0,), folds=True)
    assert tune(cell, silent)["validation_loss"].tolist() == [np.inf]


def test_what_is_measured_is_the_network_of_the_setting_and_those_without_an_example():
    setting = Setting(0.3, 0.02, 0.5)
    cell = MeasuredCell(BASE, "measuring", "LoRA Dropout", (setting,), "examples")
    (row,) = measure(cell, silent).to_dict("records")
    ready, (on_train, on_test) = alone("LoRA Dropout", setting, full_sample(8), "measuring")
    loss = ready.network.loss
    kept = loss.value(on_train, ready.train.targets)[0]
    assert row["train_loss"] == pytest.approx(float(kept.mean()))
    assert row["test_loss"] == pytest.approx(float(loss.value(on_test, ready.test.targets).mean()))
    assert (row["risk"], row["score"]) == (row["test_loss"], row["test_score"])
    changes = []
    for example in range(8):
        _, (outputs, _) = alone("LoRA Dropout", setting, leave_out([[example]], 8), "measuring")
        lost = loss.value(outputs, ready.train.targets)[0, example]
        changes.append(float(abs(lost - kept[example])))
    assert row["beta"] == pytest.approx(np.mean(changes))
    assert (row["stop"], row["passes"], row["test_passes"]) == (4, 4, 1)
    probabilities = on_test[0].T.softmax(1)
    labels = ready.test.targets.argmax(0)
    assert row["ece"] == pytest.approx(calibration_error(probabilities, labels))
    assert row["ece_floor"] == pytest.approx(calibration_floor(probabilities))
    shares = ready.test.targets.mean(1).numpy()
    assert row["chance_risk"] == pytest.approx(-float((shares * np.log(shares)).sum()))
    assert row["chance_score"] == pytest.approx(shares.max())


@pytest.mark.parametrize(
    ("method", "counted"), [("LoRA Dropout, N = 4", (4, 16, 1)), ("seed ensemble of 4", (1, 4, 4))]
)
def test_passes_are_those_of_all_samples_and_members(method, counted):
    setting = Setting(RIVALS[method].strengths[0], 0.02, 0.5)
    cell = MeasuredCell(BASE, "measuring", method, (setting,), "none")
    (row,) = measure(cell, silent).to_dict("records")
    assert (row["stop"], row["passes"], row["test_passes"]) == counted
    assert {name: row[name] for name in vars(setting)} == vars(setting)
    assert (row["draw"], row["method"], row["n"], row["judge"]) == (0, method, 8, "test set")
    assert row["score_name"] == "accuracy"


@pytest.mark.parametrize(("beside", "groups"), [("examples", 8), ("folds", FOLDS)])
def test_the_unseen_examples_of_s_judge_where_asked(beside, groups):
    setting = Setting(0.0, 0.02, 1.0)
    cell = MeasuredCell(BASE, "all", "LoRA", (setting,), beside, "unseen")
    (row,) = measure(cell, silent).to_dict("records")
    losses = np.empty(8)
    for group in range(groups):
        held = list(range(group, 8, groups))
        ready, (outputs, _) = alone("LoRA", setting, leave_out([held], 8), "all")
        losses[held] = ready.network.loss.value(outputs, ready.train.targets)[0, held]
    assert row["risk"] == pytest.approx(losses.mean())
    assert ("beta" in row) == (beside == "examples")


#: All that are tuned: "early stopping" is the stopping time of LoRA.
METHODS = [
    name for name in RIVALS if name != "early stopping" and not obstacle(network_of(BASE), name)
]


@pytest.mark.parametrize("method", METHODS)
def test_stopping_early_is_training_for_fewer_steps_unless_there_is_a_schedule(method):
    """So that what is measured after fewer steps is what was tuned."""
    strength = RIVALS[method].strengths[-1]
    cell = TuningCell(BASE, "tuning", method, (strength,), (0.02,), (0.5, 1.0), folds=False)
    whole = tune(cell, silent)["validation_loss"].iloc[0]
    short = tune(replace(cell, shares=(0.5,)), silent)["validation_loss"].iloc[0]
    assert short == pytest.approx(whole, rel=1e-9)
    setting = Setting(strength, 0.02, 0.5)
    ready, (_, outputs) = alone(method, setting, full_sample(8))
    stopped = float(ready.network.loss.value(outputs, ready.test.targets).mean())
    assert (stopped == pytest.approx(whole, rel=1e-9)) == (RIVALS[method].rule not in SCHEDULED)


def test_running_a_cell_tells_its_whole_size():
    seen = []
    for cell in (
        TuningCell(BASE, "tuning", "LoRA Dropout, N = 4", (0.3,), (0.01,), (1.0,), folds=True),
        TuningCell(BASE, "tuning", "seed ensemble of 4", (0.0,), (0.01,), (0.5, 1.0), folds=False),
        MeasuredCell(BASE, "measuring", "LoRA", (Setting(0.0, 0.01, 1.0),), "examples"),
        MeasuredCell(BASE, "measuring", "LoRA", (Setting(0.0, 0.01, 0.5),), "examples"),
    ):
        seen.clear()
        rows = run_rival_cell(cell, seen.append)[TableKind.ROWS]
        assert sum(seen) == cell.replica_steps
        assert set(rows["draw"]) == {0}

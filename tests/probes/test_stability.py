"""The probe from Python: what a cell's rows say, and what the result makes of them."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import theory
from probes import generalization
from probes.cells import run_cell as cell_run
from probes.cells.information_bounds import STRENGTHS
from probes.cells.leave_one_out import train_cell
from probes.cells.measure_cell import loss_matrix, measure_cell
from probes.cli.stability_settings import StabilitySettings
from probes.metrics.confidence_intervals import mean_interval
from probes.results.bounds_table import bounds
from probes.results.stability_result import StabilityResult
from probes.stability import measure
from probes.training.example_weights import full_sample
from probes.training.plan import Dropout, Training
from probes.training.retrain import retrain
from tests.devices import DEVICES

SMALL = {"task": "breast_cancer", "n": 10, "draws": 2, "steps": 15, "dtype": "float64"}


@pytest.fixture(scope="module")
def result():
    return measure(p=[0, 0.3], ensemble=[1, 3], **SMALL)


def one_cell(**changes):
    return StabilitySettings(**SMALL | {"p": (0.3,)} | changes).cells()[0]


def rows_of(cell):
    return measure_cell(cell, train_cell(cell))


def test_rows_are_one_a_mode_and_example(result):
    assert len(result.rows) == 2 * 2 * 3 * 10
    assert result.rows.groupby(["p", "draw", "ensemble"]).size().eq(10).all()
    assert not any(isinstance(v, list | tuple | dict) for v in result.rows.iloc[0])


def test_beta_is_the_mean_absolute_leave_one_out_difference(result):
    rows = result.rows.query("p == 0.3 and draw == 1 and ensemble == 3")
    expected = theory.pointwise_stability(rows["loss_left_out"], rows["loss_kept"])
    found = result.table.query("p == 0.3 and draw == 1 and ensemble == 3")
    assert found["beta"].item() == pytest.approx(expected)
    assert found["beta_signed"].item() == pytest.approx(
        (rows["loss_left_out"] - rows["loss_kept"]).mean()
    )


def test_left_out_loss_is_that_of_a_model_that_never_saw_the_example():
    """A replica trained on the pool from which the example was removed has the same loss on it."""
    cell = one_cell()
    trained = train_cell(cell)
    keep = torch.tensor([i for i in range(cell.n) if i != 4])
    factor_seed, mask_seed = cell.seeds()[1:]
    start = trained.network.initial_factors(torch.Generator().manual_seed(factor_seed))
    training = Training(cell.steps, cell.lr, seed=mask_seed)
    without = retrain(
        trained.network, trained.train.take(keep), full_sample(cell.n - 1), start, training,
        Dropout(cell.p),
    )  # fmt: skip
    unseen = trained.network.losses(without, trained.train, update_scale=cell.update_scale)[0, 4]
    assert rows_of(cell)["loss_left_out"][4] == pytest.approx(unseen.item(), rel=1e-9)


def test_draws_differ_and_rates_share_their_draws(result):
    examples = result.rows.groupby(["p", "draw"])["example"].apply(lambda e: tuple(e[:10]))
    assert examples[0.0, 0] == examples[0.3, 0] != examples[0.3, 1]


def test_same_settings_same_numbers(result):
    again = measure(p=[0, 0.3], ensemble=[1, 3], **SMALL)
    pd.testing.assert_frame_equal(result.rows, again.rows)


def test_without_masks_every_inference_mode_is_the_same(result):
    rows = result.rows.query("p == 0")
    reference = rows.query("ensemble == 0")["loss_left_out"].to_numpy()
    for number in (1, 3):
        found = rows.query(f"ensemble == {number}")["loss_left_out"].to_numpy()
        assert np.allclose(found, reference, rtol=1e-12)


def test_smaller_ensembles_are_the_first_members_of_larger_ones():
    rows = rows_of(one_cell(ensemble=(2,)))
    larger = rows_of(one_cell(ensemble=(2, 5)))
    for ensemble in (0, 2):
        pick = f"ensemble == {ensemble}"
        assert np.allclose(rows.query(pick)["loss_kept"], larger.query(pick)["loss_kept"])


def test_warm_start_is_recorded_and_differs():
    cold, warm = rows_of(one_cell()), rows_of(one_cell(warm_start=True))
    assert set(cold["start"]) == {"initial"}
    assert set(warm["start"]) == {"warm"}
    assert not np.allclose(cold["loss_left_out"], warm["loss_left_out"])


def test_matrix_holds_every_replica_and_example():
    cell = one_cell()
    trained = train_cell(cell)
    matrix, rows = loss_matrix(cell, trained), measure_cell(cell, trained)
    size = 569
    assert len(matrix) == 11 * size
    own = matrix.set_index(["replica", "example"])["loss"]
    for example, kept, left_out in rows[["example", "loss_kept", "loss_left_out"]].to_numpy():
        assert own[-1, int(example)] == pytest.approx(kept)
        assert own[int(example), int(example)] == pytest.approx(left_out)
    test = matrix.query("replica == -1 and split == 'test'")["loss"].mean()
    assert test == pytest.approx(rows["test_loss"].iloc[0])


@pytest.mark.parametrize("worse", [1.0, -50.0])
def test_a_cell_says_its_sizes_its_largest_loss_and_how_s_is_fitted(worse):
    """The largest loss is that of a test example, or that of a replica that is made worse."""
    cell = one_cell()
    trained = train_cell(cell)
    trained.factors[0][1][3] *= worse
    row, matrix = measure_cell(cell, trained).iloc[0], loss_matrix(cell, trained)
    seen = matrix[(matrix["replica"] == -1) | (matrix["split"] == "train")]
    assert row["largest_loss"] == pytest.approx(seen["loss"].max())
    largest = seen.loc[seen["loss"].idxmax(), "split"]
    assert largest == ("test" if worse == 1 else "train")
    assert (row["test_examples"], row["pool"]) == (559, 569)
    outputs = trained.network.replica_outputs(
        [(A[:1], B[:1]) for A, B in trained.factors], trained.train, update_scale=cell.update_scale
    )
    right = (outputs[0] > 0) == trained.train.targets.bool()
    assert row["train_score"] == pytest.approx(float(right.double().mean()))


@pytest.mark.slow
def test_a_matrix_that_is_asked_for_later_is_measured_then_and_kept(tmp_path, monkeypatch):
    settings = SMALL | {"p": 0.3, "out": tmp_path}
    assert measure(**settings).matrix is None
    fresh = measure(**settings, matrix=True).matrix
    monkeypatch.setattr(cell_run, "train_part", lambda *_: pytest.fail("trained again"))
    pd.testing.assert_frame_equal(measure(**settings, matrix=True).matrix, fresh)


def test_clipped_losses_are_bounded_by_the_clip():
    rows = rows_of(one_cell(loss_bound=0.5))
    assert rows[["loss_kept", "loss_left_out"]].to_numpy().max() <= 0.5
    result = measure(p=0.3, loss_bound=0.5, **SMALL)
    assert result.table["loss_bound_used"].eq(0.5).all()
    assert "given" in result.table["loss_bound_how"].iloc[0]


def test_divergence_is_marked_and_counted_and_not_averaged():
    result = measure(task="ridge", n=6, draws=2, steps=60, lr=1e30, optimizer="sgd", p=0.1)
    assert result.rows["diverged"].all()
    assert result.table["diverged"].eq(6).all()
    assert result.table["beta"].isna().all()
    assert result.diverged == 2 * 7
    assert set(result.bounds["verdict"]) == {"not measured"}
    assert f"{result.diverged} replicas diverged" in repr(result)


def test_some_diverged_replicas_are_left_out_of_beta_and_counted(result):
    rows = result.rows.copy()
    first = rows.index[0]
    rows.loc[first, ["loss_left_out", "diverged"]] = [math.inf, True]
    table = StabilityResult(rows).table
    clean = result.rows.iloc[1:10]
    assert table["diverged"].iloc[0] == 1
    assert table["beta"].iloc[0] == pytest.approx(
        (clean["loss_left_out"] - clean["loss_kept"]).abs().mean()
    )


def test_bounds_are_those_of_the_theory_with_their_verdicts(result):
    row = result.table.query("p == 0.3 and draw == 0 and ensemble == 0").iloc[0]
    found = bounds(result.table, STRENGTHS, 0.05).query("p == 0.3 and draw == 0 and ensemble == 0")
    found = found.set_index(["statement", "strength"])["bound"]
    known = {"lipschitz": row["lipschitz"], "curvature": row["curvature"], "p": 0.3, "n": 10}
    proposition = theory.stability_bound(**known, strength=0.1)
    assert found["Proposition 4.2", 0.1] == pytest.approx(proposition)
    over_draws = result.table.query("p == 0.3 and ensemble == 0")["beta"].mean()
    lemma = theory.stability_gap_bound(
        loss_bound=row["largest_loss"], beta=over_draws, n=10, delta=0.05
    )
    assert found.loc["Lemma 4.3"].item() == pytest.approx(lemma)


def test_interval_of_one_draw_is_unknown():
    mean, low, high = mean_interval([2.0])
    assert mean == 2.0
    assert math.isnan(low)
    assert math.isnan(high)
    assert all(math.isnan(value) for value in mean_interval([]))


def test_result_shows_itself(result):
    shown = result._repr_html_()
    # What the command line prints, and folded the tables of --details.
    assert shown.count("<table") == 1 + len(result.text_tables())
    assert "<summary>Bounds: Proposition 4.2 on β" in shown
    assert "breast_cancer, n = 10, 2 draws of S" in repr(result)
    content = json.loads(result.to_json())
    assert len(content["summary"]) == 6
    assert content["summary"][3]["beta"] == result.summary["beta"][3]


def test_penalty_needs_no_masks_and_names_its_network():
    trained = SMALL | {"steps": 400}
    result = measure(objective="penalty", strength=0.5, p=0.3, **trained)
    assert set(result.table["inference"]) == {"no masks"}
    assert result.strengths == (0.5,)
    stronger = measure(objective="penalty", strength=50.0, p=0.3, **trained)
    assert stronger.summary["beta"].item() < result.summary["beta"].item()


BAD = [
    ({"p": (1.0,)}, r"p must be in \[0, 1\); got 1.0"), ({"p": (-0.1,)}, "p must be"),
    ({"p": (math.nan,)}, "p must be"), ({"p": ()}, "p must be at least one rate"),
    ({"ensemble": (0,)}, "ensemble must be at least 1; got 0"),
    ({"n": 1}, "n must be from 2 to 1796 for digits; got 1"), ({"n": 1797}, "n must be"),
    ({"rank": 11}, "rank must be from 1 to 10"), ({"rank": 0}, "rank must be"),
    ({"task": "mnist"}, "task must be one of digits, .*; got 'mnist'"),
    ({"device": "tpu"}, "device must be one of cpu"), ({"dtype": "int8"}, "dtype must be one of"),
    ({"draws": 0}, "draws must be"), ({"steps": 0}, "steps must be"), ({"lr": 0.0}, "lr must be"),
    ({"lr": math.inf}, "lr must be"), ({"alpha": -1.0}, "alpha must be"),
    ({"samples": 0}, "samples must be"), ({"batch": 65}, "batch must be from 1 to n = 64"),
    ({"optimizer": "lion"}, "optimizer must be one of adam, sgd"),
    ({"objective": "l2"}, "objective must be one of dropout, penalty"),
    ({"objective": "penalty"}, "strength must be given"), ({"strength": -1.0}, "strength must be"),
    ({"objective": "penalty", "strength": 1.0, "ensemble": (2,)}, "ensemble must be left out"),
    ({"delta": 0.0}, "delta must be"), ({"seed": -1}, "seed must be"),
    ({"loss_bound": 0.0}, "loss_bound must be"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_settings_raise_with_the_value_and_what_is_allowed(changes, message):
    with pytest.raises(ValueError, match=message):
        measure(**changes)


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_seeds_depend_on_seed_and_draw_alone(seed, draw):
    cell = dataclasses.replace(one_cell(), seed=seed, draw=draw)
    assert cell.seeds() == dataclasses.replace(cell, p=0.9, steps=7).seeds()
    assert cell.seeds() != dataclasses.replace(cell, draw=draw + 1).seeds()


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize(
    "changes",
    [
        {"ensemble": (1, 3), "samples": 2, "matrix": True},
        {"batch": 4, "optimizer": "sgd"},
        {"objective": "penalty", "strength": 0.5},
        {"method": "influence", "validate": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_device_gives_the_numbers_of_the_cpu(device, changes):
    settings = SMALL | {"p": 0.3} | changes
    here, there = measure(**settings), measure(**settings, device=device)
    assert np.allclose(here.table["beta"], there.table["beta"], rtol=1e-6)
    assert np.allclose(here.table["gap"], there.table["gap"], rtol=1e-6)
    for one, other in [(here.matrix, there.matrix), (here.validation, there.validation)]:
        if one is not None and len(one):
            pd.testing.assert_frame_equal(one, other, rtol=1e-6)


def test_every_size_has_its_own_best_rate():
    result = generalization.measure(task="ridge", p=(0.0, 0.3, 0.5), n=(6, 12), draws=2, steps=10)
    assert [name for name in result.optima if name.startswith("test loss")] == [
        "test loss at n = 6", "test loss at n = 12",
    ]  # fmt: skip


def test_a_draw_that_diverged_has_no_lipschitz_constant(result):
    rows = result.rows.copy()
    lost = rows["draw"] == 0
    rows.loc[lost, ["train_loss", "loss_kept", "loss_left_out"]] = math.nan
    rows.loc[lost, "lipschitz"] = 0.0
    table = StabilityResult(rows).table
    assert table.loc[table["draw"] == 0, "lipschitz"].isna().all()
    assert table["lipschitz"].mean() == result.table.query("draw != 0")["lipschitz"].mean()


def test_what_is_unusual_of_a_training_is_said():
    usual = {"n": 8, "draws": 1, "steps": 2, "p": 0.1}
    plain, other = (
        measure(**usual, **more).setting
        for more in (
            {},
            {"optimizer": "sgd", "batch": 4, "samples": 2, "rescale": True, "loss_bound": 2.5},
        )
    )
    assert plain.endswith("2 steps, learning rate 0.001")
    said = ", by SGD, batches of 4, N = 2, rescaled masks, losses clipped at 2.5"
    assert other == plain + said
    assert measure(**usual, warm_start=True).setting == plain + ", warm start"

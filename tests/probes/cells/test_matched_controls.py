"""The controls at matched train loss: what they train, how they are interpolated, what is said."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_1samp

from probes import generalization
from probes.cells.matched_controls import (
    CONTROLS,
    RATE_SHARES,
    UPDATE_SCALES,
    WEIGHT_DECAYS,
    ControlCell,
    control_networks,
    decide,
    match,
    measure_controls,
)
from probes.cells.prepare import prepare
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.job import TableKind, silent
from probes.metrics.multiple_comparisons import holm
from probes.stability import measure
from probes.training.blocks import replica_blocks
from probes.training.plan import Dropout
from probes.training.retrain import retrain
from tests.probes.training.test_retrain import assert_same_factors

SMALL = {"task": "breast_cancer", "n": 10, "draws": 1, "steps": 12, "dtype": "float64"}


@pytest.fixture(scope="module")
def rows():
    (base,) = StabilitySettings(**SMALL).cells()
    return measure_controls(ControlCell(base, (0.3, 0.6)), lambda steps: None)[TableKind.ROWS]


def test_every_variant_is_there(rows):
    counts = rows["variant"].value_counts()
    assert set(counts.index) == {"dropout", *CONTROLS}
    assert counts["dropout"] == 2
    assert counts["weight decay"] == 1 + len(WEIGHT_DECAYS)
    assert counts["learning rate"] == 1 + len(RATE_SHARES)


@pytest.mark.parametrize("p", [0.3, 0.6])
def test_dropout_is_the_network_of_the_stability_probe(rows, p):
    found = rows[(rows["variant"] == "dropout") & (rows["value"] == p)].iloc[0]
    expected = measure(p=p, **SMALL).table.iloc[0]
    for name in ("beta", "train_loss", "test_loss", "gap", "test_score", "beta_median"):
        assert found[name] == pytest.approx(expected[name], rel=1e-9), name


def test_without_stopping_or_shrinking_it_is_the_network_of_p_0(rows):
    expected = measure(p=0, **SMALL).table.iloc[0]
    for variant, value in zip(CONTROLS, (12, 0.0, 1.0, 1.0), strict=True):
        found = rows[(rows["variant"] == variant) & (rows["value"] == value)].iloc[0]
        assert found["beta"] == pytest.approx(expected["beta"], rel=1e-9)
        assert found["gap"] == pytest.approx(expected["gap"], rel=1e-9)


@pytest.mark.parametrize("share", RATE_SHARES[:2])
def test_a_smaller_rate_is_the_network_of_p_0_at_that_rate(rows, share):
    found = rows[(rows["variant"] == "learning rate") & (rows["value"] == share)].iloc[0]
    (base,) = StabilitySettings(**SMALL).cells()
    expected = measure(p=0, lr=share * base.lr, **SMALL).table.iloc[0]
    for name in ("train_loss", "beta", "gap"):
        assert found[name] == pytest.approx(expected[name], rel=1e-9), name


@pytest.mark.parametrize("decay", WEIGHT_DECAYS[-2:])
def test_weight_decay_is_that_of_adamw_without_masks(rows, decay):
    found = rows[(rows["variant"] == "weight decay") & (rows["value"] == decay)].iloc[0]
    (base,) = StabilitySettings(**SMALL).cells()
    ready = prepare(base)
    training = replace(ready.training, weight_decay=decay)
    with torch.no_grad():
        factors = retrain(
            ready.network, ready.train, ready.weights, ready.start, training, Dropout(0.0)
        )
        losses = ready.network.losses(factors, ready.train)
    change = (losses[1:].diagonal() - losses[0]).abs()
    assert found[["train_loss", "beta"]].tolist() == pytest.approx(
        [float(losses[0].mean()), float(change.mean())]
    )


def test_at_step_0_and_without_an_update_nothing_depends_on_s(rows):
    for variant in ("early stopping", "shrunk update"):
        start = rows[(rows["variant"] == variant) & (rows["value"] == 0)].iloc[0]
        assert start["beta"] == 0
        assert start["train_loss"] == pytest.approx(np.log(2))


@pytest.mark.parametrize("rescale", [False, True])
def test_every_control_is_a_training_of_its_own(rescale):
    """A network that was stopped is trained for so many steps, whatever its training did later."""
    changes = {"n": 6, "samples": 2, "steps": 6, "rescale": rescale}
    (base,) = StabilitySettings(**SMALL | changes).cells()
    ready = prepare(base)
    # Several blocks: what is kept of each is put together in order.
    ready.network.block_activations = 3 * 2 * 6 * ready.network.activations
    assert len(replica_blocks(ready.network, 7, 6, ready.training, Dropout(0.3))) > 1

    def alone(p=0.0, **changes):
        training = replace(ready.training, **changes)
        objective = Dropout(p, rescale)
        return retrain(
            ready.network, ready.train, ready.weights, ready.start, training, objective
        )  # fmt: skip

    whole, seen = alone(), set()
    compared = {
        "dropout": lambda p: alone(p),
        "early stopping": lambda step: alone(steps=step),
        "weight decay": lambda decay: alone(weight_decay=decay),
        "learning rate": lambda share: alone(lr=share * base.lr),
    }
    for factors, scale, variant, value in control_networks(
        ready, (0.3, 0.6), rescale, silent, RATE_SHARES[:1]
    ):
        seen.add((variant, value))
        if variant == "weight decay" and value in WEIGHT_DECAYS[1:-1]:
            continue
        scales = {
            "dropout": 1.0 if rescale else (1 - value) ** 2,
            "shrunk update": value,
            "early stopping": min(value, 1),
        }
        assert scale == pytest.approx(scales.get(variant, 1.0))
        # At step 0 there is no update, whatever the factors.
        trained_alone = variant in compared and scale > 0
        assert_same_factors(factors, compared[variant](value) if trained_alone else whole)
    values = {
        "dropout": (0.3, 0.6), "early stopping": range(7), "shrunk update": UPDATE_SCALES,
        "weight decay": (0.0, *WEIGHT_DECAYS), "learning rate": (1.0, *RATE_SHARES[:1]),
    }  # fmt: skip
    assert seen == {(variant, value) for variant, each in values.items() for value in each}


def test_what_is_measured_of_a_shrunk_update_is_that_of_its_outputs(rows):
    (base,) = StabilitySettings(**SMALL).cells()
    ready = prepare(base)
    factors = retrain(
        ready.network, ready.train, ready.weights, ready.start, ready.training, Dropout(0.0)
    )
    found = rows[(rows["variant"] == "shrunk update") & (rows["value"] == 0.5)].iloc[0]
    shrunk = [(A, B / 2) for A, B in factors]
    losses = ready.network.losses(shrunk, ready.train)
    new = ready.network.losses([(A[:1], B[:1]) for A, B in shrunk], ready.test)
    change = (losses[1:].diagonal() - losses[0]).abs()
    expected = [losses[0].mean(), new.mean(), new.mean() - losses[0].mean(), change.mean()]
    assert found[["train_loss", "test_loss", "gap", "beta"]].tolist() == pytest.approx(
        [float(one) for one in expected]
    )


def test_the_top_tenth_has_its_share():
    (base,) = StabilitySettings(**SMALL | {"n": 20}).cells()
    rows = measure_controls(ControlCell(base, (0.3,)), lambda steps: None)[TableKind.ROWS]
    found = rows[rows["variant"] == "dropout"].iloc[0]
    measured = measure(p=0.3, **SMALL | {"n": 20}).rows
    size = (measured["loss_left_out"] - measured["loss_kept"]).abs().sort_values(ascending=False)
    assert found["beta_top_tenth"] == pytest.approx(size[:2].sum() / size.sum())
    assert found["beta_q90"] == pytest.approx(np.quantile(size, 0.9))


def synthetic(draw, beta_dropout=1.0, slope=1.0):
    """A control whose beta is slope * (3 - train loss), and dropout at train loss 1."""
    names = ("beta", "beta_median", "beta_top_tenth", "gap", "test_loss", "test_score")
    dropped = {"variant": "dropout", "value": 0.5, "train_loss": 1.0} | dict.fromkeys(
        names, beta_dropout
    )
    controls = [
        {"variant": variant, "value": loss, "train_loss": loss}
        | dict.fromkeys(names, slope * (3 - loss))
        for variant in CONTROLS
        for loss in (2.0, 0.5, 1.5)
    ]
    return pd.DataFrame([dropped, *controls]).assign(draw=draw, n=8)


@pytest.mark.parametrize("at", [0.5, 1.0, 2.0])
def test_controls_are_interpolated_to_the_train_loss_of_dropout(at):
    """To their ends, where the start has the largest, but for rounding."""
    rows = synthetic(0, beta_dropout=0.4).assign(pool=99)
    rows.loc[rows["variant"] == "dropout", "train_loss"] = at
    start = rows[(rows["variant"] == "early stopping") & (rows["value"] == 2.0)].copy()
    start[["value", "train_loss"]] = [0.0, 2 * (1 - 1e-7)]
    matched = match(pd.concat([rows, start]))
    assert len(matched) == len(CONTROLS)
    assert matched["pool"].eq(99).all()
    assert np.allclose(matched["beta_control"], 3 - at)
    assert np.allclose(matched["beta_difference"], 3 - at - 0.4)


def on_the_chords(points, at):
    """What the chords between points (x, y) say at ``at``; NaN outside."""
    points = sorted(points)
    for (x, y), (right, end) in pairwise(points):
        if x <= at <= right:
            return y + (end - y) * (at - x) / (right - x)
    return float("nan")


def test_every_draw_rate_and_size_is_matched_with_its_own_controls():
    generator = np.random.default_rng(0)
    names = ("train_loss", "beta", "gap")
    sizes, rates, draws = (8, 16), (0.1, 0.5), range(4)
    # At a rate of 0.1 dropout has less, for certain.
    table = [
        {"n": n, "draw": draw, "variant": variant, "value": value}
        | dict(zip(names, generator.random(3) - [0, 0, 9 * (value == 0.1)], strict=True))
        for n in sizes
        for draw in draws
        for variant, values in (("dropout", rates), *((one, range(1, 5)) for one in CONTROLS))
        for value in values
    ]
    generator.shuffle(table)
    matched = match(pd.DataFrame(table), ("beta", "gap"))
    differences = {}
    for row in matched.to_dict("records"):
        (dropped,) = (
            one for one in table
            if one["variant"] == "dropout"
            and (one["n"], one["draw"], one["value"]) == (row["n"], row["draw"], row["p"])
        )  # fmt: skip
        assert row["train_loss"] == dropped["train_loss"]
        for name in ("beta", "gap"):
            curve = [
                (one["train_loss"], one[name]) for one in table
                if (one["n"], one["draw"], one["variant"])
                == (row["n"], row["draw"], row["variant"])
            ]  # fmt: skip
            control = on_the_chords(curve, dropped["train_loss"])
            found = [row[f"{name}_{part}"] for part in ("dropout", "control", "difference")]
            expected = [dropped[name], control, control - dropped[name]]
            assert found == pytest.approx(expected, nan_ok=True)
        differences.setdefault((row["n"], row["p"], row["variant"]), []).append(found[-1])
    assert len(matched) == len(sizes) * len(rates) * len(draws) * len(CONTROLS)

    assert {"dropout", "undecided", "not reached"} == set(decide(matched, "gap")["verdict"])
    decided = decide(matched, "gap").set_index(["n", "p", "variant"])
    reached = {key: [one for one in all_draws if np.isfinite(one)]
               for key, all_draws in differences.items()}  # fmt: skip
    keys = [key for key, values in reached.items() if len(values) > 1]
    corrected = holm([ttest_1samp(reached[key], 0).pvalue for key in keys])
    p_values = dict(zip(keys, corrected, strict=True))
    for key, values in reached.items():
        row = decided.loc[key]
        assert row["difference_draws"] == len(values)
        assert not row["diverged"]
        if len(values) < 2:
            assert row["verdict"] == "not reached"
            continue
        assert row["difference"] == pytest.approx(np.mean(values))
        assert row["control"] - row["dropout"] == pytest.approx(np.mean(values))
        assert row["difference_holm"] == pytest.approx(p_values[key])
        less = "dropout" if np.mean(values) > 0 else "control"
        assert row["verdict"] == (less if p_values[key] <= 0.05 else "undecided")


def test_a_control_that_does_not_reach_the_train_loss_is_not_extrapolated():
    rows = synthetic(0)
    rows.loc[rows["variant"] == "dropout", "train_loss"] = 0.1
    assert match(rows)["beta_difference"].isna().all()
    assert decide(match(rows))["verdict"].eq("not reached").all()


@pytest.mark.parametrize(
    ("dropout", "verdict"), [(1.0, "dropout"), (3.0, "control"), (2.0, "undecided")]
)
def test_the_verdict_follows_the_interval(dropout, verdict):
    spread = (-0.1, 0.0, 0.1, 0.05)
    rows = pd.concat([synthetic(draw, dropout + s) for draw, s in enumerate(spread)])
    decision = decide(match(rows))
    assert set(decision["verdict"]) == {verdict}
    assert decision["difference_draws"].eq(4).all()
    assert decision["difference"].iloc[0] == pytest.approx(2.0 - dropout - np.mean(spread))


def test_a_control_that_diverged_spoils_no_other_of_its_curve():
    rows = pd.concat([synthetic(0), synthetic(1)])
    lost = rows[(rows["variant"] == "weight decay") & (rows["value"] == 0.5)].copy()
    lost[["train_loss", "beta", "gap"]] = np.nan
    matched = match(pd.concat([rows, lost]))
    assert np.allclose(matched["beta_control"], 2.0)
    assert decide(matched)["difference_draws"].eq(2).all()


def test_the_order_of_rows_says_nothing(rows):
    """Of the networks with a value of 0 that which was stopped at once is the one at the start."""
    keys = ["p", "variant"]
    turned = rows.sort_values("variant", ascending=False)
    found, other = (match(table).set_index(keys).sort_index() for table in (rows, turned))
    assert found["beta_control"].notna().any()
    pd.testing.assert_frame_equal(found, other)


def test_no_chord_leads_to_an_infinite_train_loss():
    rows = synthetic(0)
    rows.loc[rows["variant"] == "dropout", "train_loss"] = 5.0
    rows.loc[rows["value"] == 2.0, "train_loss"] = np.inf
    assert match(rows)["beta_control"].isna().all()


def test_a_control_that_diverges_with_large_weight_decay_is_still_compared():
    """A weight decay of 100 diverges at this learning rate."""
    result = generalization.measure(
        task="ridge", matched=True, n=8, draws=3, steps=150, lr=0.05, p=0.3
    )
    decay = result.rows[result.rows["variant"] == "weight decay"]
    assert not np.isfinite(decay["train_loss"]).all()
    (decided,) = result.decision().query("variant == 'weight decay'").to_dict("records")
    assert decided["difference_draws"] == 3
    assert decided["verdict"] in {"dropout", "control", "undecided"}
    assert "3 of" in result.caption


def test_draws_in_which_dropout_diverged_are_counted():
    rows = pd.concat([synthetic(draw) for draw in range(3)])
    lost = (rows["variant"] == "dropout") & (rows["draw"] == 0)
    rows.loc[lost, ["train_loss", "beta"]] = np.inf, np.nan
    matched = match(rows)
    assert matched["train_loss"].isna().equals(matched["draw"] == 0)
    decision = decide(matched)
    assert decision["draws"].eq(3).all()
    assert decision["diverged"].eq(1).all()
    assert decision["difference_draws"].eq(2).all()


def test_verdicts_are_those_of_all_rows_together():
    """A difference that its own interval tells from 0 may not survive among many."""
    noise = np.random.default_rng(0).normal(0, 1, (40, 3))
    rows = [
        synthetic(draw, beta_dropout=2.0 + value).assign(n=n)
        for n, values in enumerate(noise)
        for draw, value in enumerate(values)
    ]
    decision = decide(match(pd.concat(rows)))
    alone = (decision["difference_low"] > 0) | (decision["difference_high"] < 0)
    assert alone.any()
    assert decision["verdict"].eq("undecided").all()


def test_a_control_that_blew_up_is_not_reached():
    """A weight decay of 100 ends at 1e44, above the loss before training: no chord leads there."""
    result = generalization.measure(
        task="ridge", matched=True, n=8, draws=2, steps=20, lr=0.05, p=0.95
    )
    start = result.rows.query("variant == 'early stopping' and value == 0")["train_loss"].max()
    decay, matched = (
        table.query("variant == 'weight decay'") for table in (result.rows, result.matched)
    )
    assert decay["train_loss"].max() > 1e6 * start
    assert matched["beta_control"].isna().all()

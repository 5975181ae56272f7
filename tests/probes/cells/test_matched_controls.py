"""The controls at matched train loss: what they train, how they are interpolated, what is said."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from probes import generalization
from probes.cells.matched_controls import (
    CONTROLS,
    RATE_SHARES,
    WEIGHT_DECAYS,
    ControlCell,
    decide,
    match,
    measure_controls,
)
from probes.cells.prepare import prepare
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.job import TableKind
from probes.stability import measure
from probes.training.plan import Dropout
from probes.training.retrain import retrain

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


def test_controls_are_interpolated_to_the_train_loss_of_dropout():
    matched = match(synthetic(0, beta_dropout=0.4))
    assert len(matched) == len(CONTROLS)
    assert np.allclose(matched["beta_control"], 2.0)
    assert np.allclose(matched["beta_difference"], 1.6)


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
    rows.loc[(rows["variant"] == "dropout") & (rows["draw"] == 0), ["train_loss", "beta"]] = np.nan
    decision = decide(match(rows))
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

"""Bounds at equal fit: dropout and what nothing holds back are the networks of a plain run."""

import numpy as np
import pytest

from probes import information
from probes.cells.matched_controls import WEIGHT_DECAYS
from probes.cells.matched_information import COMPARED

SMALL = {"task": "breast_cancer", "n": 6, "draws": 2, "steps": 10, "selections": 4}


@pytest.fixture(scope="module")
def matched():
    return information.measure(matched=True, p=[0.3, 0.6], **SMALL)


@pytest.fixture(scope="module")
def plain():
    return information.measure(p=[0, 0.3, 0.6], **SMALL).rows.set_index(["name", "p", "draw"])


def assert_same(row, plain, p):
    for name in COMPARED[1:]:
        expected = plain.loc[(name, p, row["draw"])]
        assert row[name] == pytest.approx(expected["bound"], rel=1e-9), name
        assert row["gap"] == pytest.approx(expected["gap"], rel=1e-9, abs=1e-12)
        assert row["train_bounded"] == pytest.approx(expected["train_loss"], abs=1e-12)


def test_dropout_has_the_bounds_of_the_run_without_controls(matched, plain):
    for _, row in matched.rows[matched.rows["variant"] == "dropout"].iterrows():
        assert_same(row, plain, row["value"])


@pytest.mark.parametrize(
    ("variant", "value"), [("early stopping", 10), ("weight decay", 0.0), ("shrunk update", 1.0)]
)
def test_a_control_that_nothing_holds_back_is_the_network_without_dropout(
    variant, value, matched, plain
):
    rows = matched.rows[(matched.rows["variant"] == variant) & (matched.rows["value"] == value)]
    assert len(rows) == 2
    for _, row in rows.iterrows():
        assert_same(row, plain, 0.0)


def test_an_update_of_nothing_has_no_gap_beyond_chance_and_no_information(matched):
    rows = matched.rows[(matched.rows["variant"] == "shrunk update") & (matched.rows["value"] == 0)]
    # Each example is selected by half of the networks, which are all the same.
    assert np.allclose(rows[["gap", "ld-CMI", "fast rate"]], 0, atol=1e-9)


def test_every_control_but_the_learning_rate_is_measured(matched):
    counts = matched.rows["variant"].value_counts() / 2
    assert counts["dropout"] == 2
    assert counts["weight decay"] == 1 + len(WEIGHT_DECAYS)
    assert "learning rate" not in counts
    assert set(matched.summary["variant"]) == {"early stopping", "weight decay", "shrunk update"}

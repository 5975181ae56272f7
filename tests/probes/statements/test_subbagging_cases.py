"""Subbagging's bound on every subset, and flaws of it that the learners find."""

import numpy as np
import pytest

from probes.statements.case import case_table
from probes.statements.subbagging_cases import (
    LEARNERS,
    SIZES,
    all_subsets,
    largest_change,
    network_cases,
    subbagging_cases,
)


def test_it_holds_for_every_learner_and_fails_outside():
    table = case_table(subbagging_cases(0))
    inside = table[table["failed"] == ""]
    assert set(inside["verdict"]) == {"holds"}
    assert len(inside) == len(LEARNERS) * (len(SIZES) + 1)
    assert (table.loc[table["failed"] != "", "verdict"] == "fails without its premise").all()


def test_a_memoriser_makes_it_an_equality():
    table = case_table(subbagging_cases(0))
    halves = table[table["setting"].isin(["memoriser, n = 4, m = 2", "memoriser, n = 12, m = 6"])]
    assert halves.loc[halves["failed"] == "", "ratio"].tolist() == pytest.approx([1.0, 1.0])


def test_a_trained_network_keeps_it_on_all_its_halves():
    (case,) = network_cases(0.3, seed=0)
    assert case.verdict == "holds"
    # Far from a constant: what is bounded is there.
    assert case.measured > case.bound / 10


FLAWS = {
    "a quarter in the place of a half": lambda n, m: np.sqrt(m / ((n - m) * (n - 1))) / 4,
    "n in the place of n - 1": lambda n, m: np.sqrt(m / ((n - m) * n)) / 2,
    "m/n in the place of m/(n - m)": lambda n, m: np.sqrt(m / (n * (n - 1))) / 2,
    "1/n in the place of its root": lambda n, m: np.sqrt(m / (n - m)) / (2 * (n - 1)),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_planted_flaw_is_found(flaw):
    generator = np.random.default_rng(0)
    exceeded = [
        largest_change(learn(all_subsets(n, m), generator), all_subsets(n, m)) > FLAWS[flaw](n, m)
        for learn in LEARNERS.values()
        for n, m in SIZES
    ]
    assert any(exceeded)

"""Bounds from uniform stability on a coin: its stability by brute force, and planted flaws."""

import numpy as np
import pytest

from probes.statements.case import case_table
from probes.statements.coin_cases import COIN_N, coin_draws
from probes.statements.uniform_stability_cases import (
    BOUNDS,
    coin_stability,
    memoriser_cases,
    uniform_stability_cases,
)
from theory import sparsity

DELTA = 0.05
STRONG = 1000 * float(sparsity(0.3))


def test_the_stability_is_the_largest_change_over_all_draws():
    n, s = 5, 0.3

    def loss(labels, y):
        return (y - sum(labels) / len(labels) / (1 + s)) ** 2

    largest = {"beta": 0.0, "gamma": 0.0}
    for code in range(2**n):
        tosses = [code >> i & 1 for i in range(n)]
        for y in (0, 1):
            kept, other = loss(tosses, y), [1 - tosses[0], *tosses[1:]]
            deleted, replaced = abs(loss(tosses[1:], y) - kept), abs(loss(other, y) - kept)
            largest["beta"] = max(largest["beta"], deleted)
            largest["gamma"] = max(largest["gamma"], replaced)
    assert coin_stability(n, s) == pytest.approx(largest, rel=1e-12)


def test_the_bounds_hold_and_with_a_strong_penalty_the_first_says_much():
    table = case_table(case for p in (0.05, 0.3, 0.9) for case in uniform_stability_cases(p, DELTA))
    assert set(table["verdict"]) == {"holds", "vacuous"}
    strong = table[table["setting"].str.endswith("λ = 1000")].groupby("reading")["ratio"].max()
    assert strong["Bousquet & Elisseeff 2002"] < 2
    assert (strong < 25).all()


def test_stability_on_average_is_not_enough():
    assert {case.verdict for case in memoriser_cases()} == {"fails without its premise"}


@pytest.mark.parametrize("one", BOUNDS, ids=lambda one: one.reading)
def test_without_the_spread_of_the_losses_a_bound_is_refuted(one):
    """A planted flaw: C of 0."""
    excess = []
    for n in COIN_N:
        stable = {one.stability: coin_stability(n, STRONG)[one.stability]}
        bound = one.bound(loss_bound=0.0, n=n, delta=DELTA, **stable)
        excess.append(coin_draws(n, STRONG).quantile(DELTA, signed=one.signed) / bound)
    assert max(excess) > 1


def test_the_size_of_the_gap_is_exceeded_no_more_often_than_said():
    draws = coin_draws(30, 0.5)
    quantile = draws.quantile(DELTA, signed=False)
    assert draws.probability[np.abs(draws.gap) > quantile].sum() <= DELTA
    assert quantile >= draws.quantile(DELTA)

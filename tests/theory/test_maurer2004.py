"""PAC-Bayes: its factor for small n, coverage by enumeration, and laws."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.binary_kl import binary_kl
from theory.maurer2004 import pac_bayes_gap_bound, pac_bayes_loss_bound

sizes = st.integers(8, 10**7)


def test_the_factor_of_pac_bayes_holds_from_one_example_on():
    """What the proof has is the sum xi(n); Maurer 2004 shows xi(n) <= 2 sqrt(n) for n >= 8 only."""
    for n in range(1, 100):
        shares = [Fraction(k, n) for k in range(n + 1)]
        xi = sum(math.comb(n, k) * s**k * (1 - s) ** (n - k) for k, s in enumerate(shares))
        assert xi**2 <= 4 * n
        assert n != 1 or xi == 2


@pytest.mark.parametrize("n", [1, 2, 4, 7])
@pytest.mark.parametrize("risk", [0.2, 0.5, 0.9])
def test_pac_bayes_covers_below_eight_examples(n, risk):
    """One predictor, so no divergence: the gap exceeds the bound with probability below delta."""
    for delta in (0.05, 0.3, 0.6, 1.0):
        bound = pac_bayes_gap_bound(loss_bound=1.0, divergence=0.0, n=n, delta=delta)
        exceeded = sum(
            math.comb(n, k) * risk**k * (1 - risk) ** (n - k)
            for k in range(n + 1)
            if risk - k / n > bound
        )
        assert exceeded <= delta


@given(st.floats(0, 100), st.floats(0, 100), sizes)
def test_pac_bayes_rises_with_the_divergence(a, b, n):
    low, high = sorted((a, b))
    known = {"loss_bound": 1.0, "n": n, "delta": 0.05}
    assert pac_bayes_gap_bound(divergence=low, **known) <= pac_bayes_gap_bound(
        divergence=high, **known
    )


@given(st.floats(0, 1), st.floats(0, 100), sizes)
def test_inversion_is_never_above_pinskers_inequality(loss, divergence, n):
    known = {"divergence": divergence, "n": n, "delta": 0.05}
    bound = pac_bayes_loss_bound(train_loss=loss, **known)
    assert loss <= bound <= min(1.0, loss + pac_bayes_gap_bound(loss_bound=1.0, **known)) + 1e-12


def test_inversion_has_the_divergence_that_is_allowed():
    budget = (3.0 + math.log(2 * math.sqrt(200) / 0.05)) / 200
    bound = pac_bayes_loss_bound(train_loss=0.1, divergence=3.0, n=200, delta=0.05)
    assert binary_kl(0.1, bound) == pytest.approx(budget, rel=1e-12)


@pytest.mark.parametrize("n", [1, 5, 20])
def test_the_gibbs_posterior_of_many_coins_is_covered(n):
    """Every draw enumerated: two predictors with independent errors, posterior by their errors."""
    risks, delta = (0.3, 0.5), 0.2
    failed = 0.0
    for first in range(n + 1):
        for second in range(n + 1):
            weights = [math.exp(-first), math.exp(-second)]
            chosen = [weight / sum(weights) for weight in weights]
            loss = (chosen[0] * first + chosen[1] * second) / n
            divergence = sum(q * math.log(2 * q) for q in chosen if q)
            bound = pac_bayes_loss_bound(
                train_loss=loss, divergence=max(divergence, 0), n=n, delta=delta
            )
            if chosen[0] * risks[0] + chosen[1] * risks[1] > bound:
                failed += math.prod(
                    math.comb(n, k) * r**k * (1 - r) ** (n - k)
                    for k, r in zip((first, second), risks, strict=True)
                )
    assert failed <= delta


def test_a_prior_that_has_seen_the_data_breaks_it():
    """The best of 2,000 fair coins, of which the prior is sure: divergence 0, no errors in 10."""
    n, coins = 10, 2000
    without_errors = 1 - (1 - 0.5**n) ** coins
    assert without_errors > 0.85  # of the draws
    assert pac_bayes_loss_bound(train_loss=0.0, divergence=0.0, n=n, delta=0.2) < 0.5
    honest = math.log(coins)
    assert pac_bayes_loss_bound(train_loss=0.0, divergence=honest, n=n, delta=0.2) > 0.5

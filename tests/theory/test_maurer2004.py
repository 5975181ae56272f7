"""PAC-Bayes: its factor for small n, coverage by enumeration, and laws."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.maurer2004 import pac_bayes_gap_bound

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

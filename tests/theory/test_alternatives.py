"""The other bounds: values from elsewhere, their laws, and what they assume."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from theory import sparsity_gap_bound
from theory.alternatives import (
    binomial_tail_bound,
    feldman_vondrak_gap_bound,
    masked_gaussian_divergence,
    moment_gap_bound,
    pac_bayes_gap_bound,
    second_moment_gap_bound,
    uniform_stability_gap_bound,
)
from theory.binomial import upper_limit

AT = {"loss_bound": 1.0, "n": 10_000, "delta": 0.05}
stabilities = st.floats(0, 1)
sizes = st.integers(8, 10**7)
deltas = st.floats(1e-6, 0.13)
REPLACING = (second_moment_gap_bound, feldman_vondrak_gap_bound, moment_gap_bound)


def test_values_at_the_usual_point_are_those_worked_out_by_hand():
    """s = 0.05, n = 10,000, C = eta = 1: beta = 2/(0.1 n) = 0.002, gamma = 0.004."""
    theorem = sparsity_gap_bound(lipschitz=1.0, curvature=0.0, strength=0.05, p=1.0, **AT)
    assert theorem == pytest.approx(0.49, abs=5e-3)
    assert uniform_stability_gap_bound(beta=0.002, **AT) == pytest.approx(1.00, abs=5e-3)
    assert feldman_vondrak_gap_bound(gamma=0.004, **AT) == pytest.approx(0.0955, abs=5e-5)
    # (2 * 0.004 + sqrt(0.004^2 + 1/40,000)) / sqrt(0.05)
    assert second_moment_gap_bound(gamma=0.004, **AT) == pytest.approx(0.06441, abs=5e-6)
    # 0.008 + e (24 sqrt(2) * 0.004 * 14 * 2.9957 + 4 * 0.017308)
    assert moment_gap_bound(gamma=0.004, **AT) == pytest.approx(15.674, abs=5e-3)


@given(stabilities, sizes, deltas, st.floats(0.01, 10))
def test_the_derived_second_moment_implies_the_published_one(gamma, n, delta, ceiling):
    known = {"loss_bound": ceiling, "gamma": gamma, "n": n, "delta": delta}
    assert second_moment_gap_bound(**known) <= feldman_vondrak_gap_bound(**known) * (1 + 1e-12)


@pytest.mark.parametrize("bound", REPLACING, ids=lambda bound: bound.__name__)
@given(stabilities, stabilities, sizes, sizes, deltas, deltas)
def test_bounds_rise_with_instability_and_fall_with_delta(bound, a, b, n, m, delta, other):
    fixed = {"loss_bound": 1.0, "n": n, "delta": delta}
    low, high = sorted((a, b))
    assert bound(gamma=low, **fixed) <= bound(gamma=high, **fixed)
    rare, often = sorted((delta, other))
    assert bound(gamma=a, loss_bound=1.0, n=n, delta=often) <= bound(
        gamma=a, loss_bound=1.0, n=n, delta=rare
    )
    few, many = sorted((n, m))
    if bound is not moment_gap_bound:  # its logarithm of n is a staircase that rises
        assert bound(gamma=a, loss_bound=1.0, n=many, delta=delta) <= bound(
            gamma=a, loss_bound=1.0, n=few, delta=delta
        )


@pytest.mark.parametrize("bound", REPLACING, ids=lambda bound: bound.__name__)
@given(stabilities, sizes, st.floats(0.1, 100))
def test_bounds_scale_with_the_unit_of_the_loss(bound, gamma, n, unit):
    scaled = bound(loss_bound=unit, gamma=unit * gamma, n=n, delta=0.05)
    assert scaled == pytest.approx(unit * bound(loss_bound=1.0, gamma=gamma, n=n, delta=0.05))


def test_the_moment_bound_says_nothing_for_large_delta():
    last = np.exp(-2)
    found = moment_gap_bound(loss_bound=1.0, gamma=0.1, n=100, delta=[0.99 * last, 1.01 * last])
    assert np.isinf(found).tolist() == [False, True]


SIZES = [1, 2, 3, 10, 31, 100, 1000, 10**4, 10**6]
FAILURES = [1e-300, 1e-20, 1e-6, 0.05, 0.5, 0.500001, 0.9, 1 - 1e-9, 1 - 2**-53]


def some_errors(n):
    shares = {0, 1, 2, n // 100, n // 10, n // 3, n // 2, 9 * n // 10, n - 2, n - 1}
    return sorted(shares & set(range(n)))


def tail_exceeds(k, n, p, delta):
    """Whether P(X <= k) > delta, by the smaller tail, summed away from k."""
    upper, p = delta > 0.5, mpmath.mpf(p)
    at = k + 1 if upper else k
    log = mpmath.loggamma(n + 1) - mpmath.loggamma(at + 1) - mpmath.loggamma(n - at + 1)
    term = mpmath.exp(log + at * mpmath.log(p) + (n - at) * mpmath.log1p(-p))
    total, odds = mpmath.mpf(0), p / (1 - p)
    while term > total * mpmath.mpf(10) ** -25:
        total += term
        if upper:
            term, at = term * odds * (n - at) / (at + 1), at + 1
        else:
            term, at = term / odds * at / (n - at + 1), at - 1
    return total < 1 - mpmath.mpf(delta) if upper else total > delta


@pytest.mark.parametrize("n", SIZES)
def test_the_binomial_tail_has_the_size_delta_to_the_thirteenth_digit(n):
    """The tail is larger than delta just below the bound, and smaller just above."""
    with mpmath.workdps(30):
        digit = mpmath.mpf("1e-13")
        for k in some_errors(n):
            for delta, bound in zip(FAILURES, binomial_tail_bound(k, n, FAILURES), strict=True):
                assert tail_exceeds(k, n, bound * (1 - digit), delta)
                above = bound * (1 + digit)
                assert above >= 1 or not tail_exceeds(k, n, above, delta)


def test_the_binomial_tail_is_scipys():
    for n in SIZES:
        errors = np.array(some_errors(n))[:, None]
        rare = np.array(FAILURES[1:5])  # SciPy has no answer at 1e-300
        expected = stats.beta.isf(rare, errors + 1, n - errors)
        np.testing.assert_allclose(binomial_tail_bound(errors, n, rare), expected, rtol=1e-9)
        often = np.array(FAILURES[4:])
        expected = stats.beta.ppf(1 - often, errors + 1, n - errors)
        np.testing.assert_allclose(binomial_tail_bound(errors, n, often), expected, rtol=1e-9)


@given(st.integers(1, 10**6), st.data(), st.floats(1e-300, 1))
def test_the_binomial_tail_is_a_rate_above_the_measured_one(n, data, delta):
    errors = data.draw(st.integers(0, n))
    bound = binomial_tail_bound(errors, n, delta)
    assert 0 <= bound <= 1
    assert bound >= errors / n or delta > 0.5
    assert binomial_tail_bound(min(errors + 1, n), n, delta) >= bound
    assert binomial_tail_bound(errors, n, delta / 2) >= bound


def test_the_binomial_tail_at_its_ends():
    for n in SIZES:
        assert binomial_tail_bound(n, n, 0.05) == binomial_tail_bound(n, n, 1) == 1
        assert binomial_tail_bound(n - 1, n, 1) == 0
        # No error: (1 - p)^n = delta.
        assert binomial_tail_bound(0, n, 0.05) == pytest.approx(-np.expm1(np.log(0.05) / n))
        # One right answer: p^n = 1 - delta.
        assert binomial_tail_bound(n - 1, n, 0.05) == pytest.approx(0.95 ** (1 / n))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("errors", "examples"), [(4999999993, 10**10), (1250000000, 10**13), (8 * 10**9, 10**10)]
)
def test_large_counts_have_the_expansion_which_is_the_sum(errors, examples, monkeypatch):
    """To the accuracy that the sum is known to have."""
    expanded = [upper_limit(errors, examples, delta) for delta in (1e-300, 0.05, 0.9)]
    monkeypatch.setattr("theory.binomial.LARGE_VARIANCE", math.inf)
    summed = [upper_limit(errors, examples, delta) for delta in (1e-300, 0.05, 0.9)]
    np.testing.assert_allclose(expanded, summed, rtol=1e-13)


def test_counts_beyond_whole_doubles_have_poissons_limit():
    """P(X <= k) of a Poisson variable is the tail of a gamma distribution (SciPy's)."""
    for k, delta in ((0, 0.05), (5, 0.05), (1000, 1e-9), (3, 0.9)):
        for n in (1e20, 1e120, 1e300):
            expected = stats.gamma.isf(delta, k + 1) / n
            assert upper_limit(float(k), n, delta) == pytest.approx(expected, rel=1e-12)


def test_the_binomial_tail_takes_arrays():
    table = binomial_tail_bound([[0], [3]], [5, 10, 20], 0.05)
    assert table.shape == (2, 3)
    assert table[1, 2] == binomial_tail_bound(3, 20, 0.05)
    assert isinstance(binomial_tail_bound(3, 20, 0.05), float)
    assert binomial_tail_bound([], 20, 0.05).shape == (0,)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((-1, 5, 0.1), "errors must be at least 0"), ((1.5, 5, 0.1), "errors must be a whole"),
        ((0, 0, 0.1), "examples must be at least 1"), ((0, 5.5, 0.1), "examples must be a whole"),
        ((0, np.inf, 0.1), "examples must be a whole"), ((np.nan, 5, 0.1), "errors must be at"),
        ((6, 5, 0.1), "errors must be at most examples, 5, got 6"),
        ((0, 5, 0), "delta must be in"), ((0, 5, 1.1), "delta must be in"),
    ],
)  # fmt: skip
def test_bad_counts_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        binomial_tail_bound(*bad)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_divergence_bounds_that_of_the_mixture(p):
    """One weight: the posterior is a mixture of N(0, 1) and N(d, 1), integrated numerically."""
    update, keep = 1.7, (1 - p) ** 2

    def integrand(x):
        mixture = keep * stats.norm.pdf(x, update) + (1 - keep) * stats.norm.pdf(x)
        return mixture * np.log(mixture / stats.norm.pdf(x))

    exact, _ = integrate.quad(integrand, -12, 14)
    bound = masked_gaussian_divergence([[update]], p, 1.0)
    assert 0 < exact <= bound
    assert bound == pytest.approx(keep * update**2 / 2)


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

"""The binomial tail: against other ways to compute it, at its ends, and bad counts."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from theory.binomial import LARGE_VARIANCE, upper_limit
from theory.langford2005 import binomial_tail_bound

SIZES = [1, 2, 3, 10, 31, 100, 1000, 10**4, 10**6]

FAILURES = [1e-300, 1e-20, 1e-6, 0.05, 0.5, 0.500001, 0.9, 1 - 1e-9, 1 - 2**-53]


def some_errors(n):
    shares = {0, 1, 2, n // 100, n // 10, n // 3, n // 2, 9 * n // 10, n - 2, n - 1}
    return sorted(shares & set(range(n)))


#: Digit that the limit is right to.
DIGIT = mpmath.mpf("1e-13")


def tail_exceeds(k, n, p, delta):
    """Whether P(X <= k) > delta, by the smaller tail, summed away from k.

    Terms are whole multiples of 2^-120 of the first: more digits than doubles have, at less cost.
    """
    upper, p = delta > 0.5, mpmath.mpf(p)
    at = k + 1 if upper else k
    log = mpmath.loggamma(n + 1) - mpmath.loggamma(at + 1) - mpmath.loggamma(n - at + 1)
    first = mpmath.exp(log + at * mpmath.log(p) + (n - at) * mpmath.log1p(-p))
    odds = int(mpmath.ldexp(p / (1 - p) if upper else (1 - p) / p, 120))
    # Upwards, one more of k is an error in place of a right answer; downwards, the reverse.
    more, less = (at, n - at) if upper else (n - at, at)
    total, term = 0, 1 << 120
    while term << 83 > total:
        total += term
        more += 1
        term = term * odds * less // (more << 120)
        less -= 1
    found = first * mpmath.ldexp(total, -120)
    return found < 1 - mpmath.mpf(delta) if upper else found > delta


def assert_limit(k, n, limit, delta):
    """The tail is larger than delta just below the limit, and smaller just above."""
    with mpmath.workdps(30):
        assert tail_exceeds(k, n, limit * (1 - DIGIT), delta)
        above = limit * (1 + DIGIT)
        assert above >= 1 or not tail_exceeds(k, n, above, delta)


@pytest.mark.parametrize("n", [*SIZES[:-1], pytest.param(SIZES[-1], marks=pytest.mark.slow)])
def test_the_binomial_tail_has_the_size_delta_to_the_thirteenth_digit(n):
    for k in some_errors(n):
        for delta, bound in zip(FAILURES, binomial_tail_bound(k, n, FAILURES), strict=True):
            assert_limit(k, n, bound, delta)


def test_the_binomial_tail_is_scipys():
    for n in SIZES[:-1]:
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
    ("errors", "examples", "deltas"),
    [(4999999993, 10**10, (1e-300, 0.05)), (1250000000, 10**13, (1e-300, 0.9)),
     (8 * 10**9, 10**10, (1e-300, 0.05, 0.9))],
)  # fmt: skip
def test_large_counts_have_the_expansion_to_the_thirteenth_digit(errors, examples, deltas):
    assert errors * (1 - errors / examples) > LARGE_VARIANCE
    for delta in deltas:
        assert_limit(errors, examples, upper_limit(errors, examples, delta), delta)


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

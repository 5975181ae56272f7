"""The divergence of two coins and its inverse, also where they are nearly equal."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.binary_kl import binary_kl, largest_excess

SOME = [0.0, 5e-324, 1e-300, 1e-12, 0.1, 0.3, 0.5, 0.7, 1 - 1e-12, 1 - 2**-53, 1.0]


def high_precision(p, q):
    with mpmath.workdps(400):
        p, q = mpmath.mpf(p), mpmath.mpf(q)
        parts = ((p, q), (1 - p, 1 - q))
        if any(one > 0 and other == 0 for one, other in parts):
            return math.inf
        return float(sum(one * mpmath.log(one / other) for one, other in parts if one > 0))


@pytest.mark.parametrize("p", SOME)
@pytest.mark.parametrize("q", [*SOME, 0.3 + 1e-9, 0.5 + 2**-40, 0.6])
def test_it_is_that_of_high_precision(p, q):
    assert binary_kl(p, q) == pytest.approx(high_precision(p, q), rel=4e-15, abs=5e-324)


@given(st.floats(0, 1), st.floats(0, 1))
def test_it_is_0_for_equal_coins_alone_and_at_least_pinskers_bound(p, q):
    assert binary_kl(p, p) == 0
    assert binary_kl(p, q) >= 2 * (p - q) ** 2 * (1 - 1e-14)


@given(st.integers(0, 2**53), st.integers(0, 2**53))
def test_success_and_failure_may_be_exchanged(p, q):
    p, q = p / 2**53, q / 2**53  # so that 1 - p has no rounding error
    assert binary_kl(p, q) == pytest.approx(binary_kl(1 - p, 1 - q), rel=1e-14)


@given(st.floats(0, 1), st.floats(0, 3))
def test_the_excess_is_the_last_one_with_the_divergence(p, divergence):
    excess = largest_excess(p, divergence)
    assert 0 <= excess <= 1 - p
    # The excess has digits that q has not, so q is moved to its neighbours.
    q = p + excess
    below, above = math.nextafter(math.nextafter(q, 0), 0), math.nextafter(q, 2)
    assert binary_kl(p, max(below, p)) <= divergence
    assert above > 1 or binary_kl(p, above) >= divergence * (1 - 1e-14)


@pytest.mark.parametrize("divergence", [1e-300, 1e-30, 1e-8])
def test_small_divergences_have_the_excess_of_a_normal_law(divergence):
    """d(p || p + x) is x^2 / (2 p (1-p)) to first order, and x for p = 0."""
    assert largest_excess(0.3, divergence) == pytest.approx(
        math.sqrt(2 * 0.21 * divergence), rel=max(1e-14, 2 * math.sqrt(divergence))
    )
    assert largest_excess(0.0, divergence) == pytest.approx(divergence, rel=1e-7)


def test_from_no_errors_the_inverse_is_exponential():
    for divergence in (0.0, 5e-324, 0.1, 2.0, math.inf):
        assert largest_excess(0.0, divergence) == pytest.approx(-math.expm1(-divergence), rel=1e-15)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_it_is_jointly_convex(p, q, a, b, weight):
    mixed = binary_kl(
        min(weight * p + (1 - weight) * a, 1.0), min(weight * q + (1 - weight) * b, 1.0)
    )
    ends = [(weight, binary_kl(p, q)), (1 - weight, binary_kl(a, b))]
    most = sum(share * end for share, end in ends if share > 0)
    assert np.isinf(mixed) or mixed <= most * (1 + 1e-12) + 1e-12


@pytest.mark.parametrize("p", SOME)
def test_without_divergence_nothing_is_between_the_coins(p):
    """Not 1e-162 either, of which the square is 0 as a double."""
    assert largest_excess(p, 0.0) == 0

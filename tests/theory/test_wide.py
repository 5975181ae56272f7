"""Numbers whose exponent has no end: doubles to the last bit, and arithmetic at 0 and infinity."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.wide import Wide

#: Products, quotients and squares of these are doubles without loss of digits.
moderate = st.floats(1e-60, 1e60)
finite = st.floats(5e-324, allow_infinity=False)
signed = moderate | moderate.map(lambda x: -x) | st.just(0.0)


def double(number):
    return float(number.array())


@given(moderate, moderate, signed, signed)
def test_where_doubles_suffice_it_is_the_double(a, b, c, d):
    assert double(Wide(a) * b) == double(a * Wide(b)) == a * b
    assert double(Wide(a) / b) == double(a / Wide(b)) == a / b
    assert double(Wide(c) + d) == double(c + Wide(d)) == c + d
    assert double(Wide(c) - d) == c - d
    assert double(Wide(c).squared()) == c * c
    assert double(Wide(c).magnitude()) == abs(c)
    assert double(Wide(a).root()) == np.sqrt(a)
    assert float(Wide(a).log()) == np.log(a)


@given(st.lists(signed, min_size=1, max_size=30), st.integers(1, 3))
def test_its_sum_is_numpys(values, columns):
    table = np.outer(values, np.arange(1.0, columns + 1))
    for array in (table, np.asfortranarray(table)):
        assert (Wide(array).sum(0).array() == array.sum(0)).all()
        assert (Wide(array).sum(-1).array() == array.sum(-1)).all()
        assert double(Wide(array).sum()) == array.sum()


@given(finite, finite, finite)
def test_steps_beyond_doubles_lose_nothing(a, b, c):
    exact = Fraction(a) ** 2 * Fraction(b) / Fraction(c)
    expected = math.inf if exact > Fraction(np.finfo(np.float64).max) else float(exact)
    assert double(Wide(a).squared() * b / c) == pytest.approx(expected, rel=1e-15, abs=5e-324)
    assert double((Wide(a).squared() * b / b).root()) == pytest.approx(a, rel=1e-15, abs=5e-324)


def test_arithmetic_at_zero_and_infinity():
    zero, one, infinite = 0.0, 1.0, math.inf
    assert double(Wide(zero) * infinite) == double(Wide(infinite) * zero) == 0
    assert double(Wide(zero) / zero) == double(Wide(zero) / infinite) == 0
    assert double(Wide(one) / zero) == double(Wide(infinite) / zero) == math.inf
    assert double(Wide(infinite) / infinite) == math.inf
    assert double(Wide(one) / infinite) == 0
    assert double(Wide(-one) / zero) == -math.inf
    assert double(Wide(one) + infinite) == math.inf
    assert double(Wide(infinite).root()) == math.inf
    assert double(Wide([]).sum()) == double(Wide([0.0, 0.0]).sum()) == 0


def test_an_endless_count_cancels_and_outweighs_all_else():
    n = Wide.count(math.inf)
    assert double(3 * n / (2 * n)) == 1.5
    assert double(1e308 / n) == double((1e308 / n).root()) == 0
    assert double(5e-324 * n) == math.inf
    assert double((1 + 5e-324 * n) / n) == 5e-324
    assert double(n.log() / n) == 0


def test_logarithms_reach_beyond_doubles():
    assert float(Wide(1e-200).squared().log()) == pytest.approx(-400 * math.log(10))
    assert float(Wide(1e200).squared().log()) == pytest.approx(400 * math.log(10))

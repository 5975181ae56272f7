"""How far a second-order expansion is accurate: values, laws, what is not a number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.closeness import EXPANSION_ERROR, EXPANSION_STEPS, expansion_reach, is_close


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_a_quadratic_is_its_expansion(slope, curvature):
    reach = expansion_reach(
        lambda a: a * slope + a**2 * curvature / 2, slope=slope, curvature=curvature
    )
    assert reach == EXPANSION_STEPS[-1]


@given(st.sampled_from(EXPANSION_STEPS), st.floats(1.1, 1.9))
def test_a_cubic_term_is_seen_where_it_is_a_tenth_of_the_square(step, factor):
    """a^2 + k a^3 is off by k a: by a tenth or less up to a = 1/(10 k)."""
    k = EXPANSION_ERROR / (step * factor)
    assert expansion_reach(lambda a: a**2 + k * a**3, slope=0.0, curvature=2.0) == step


def test_the_steps_are_halvings_and_doublings_of_the_whole_way():
    assert EXPANSION_STEPS == (2**-8, 2**-7, 2**-6, 2**-5, 2**-4, 2**-3, 0.25, 0.5, 1, 2, 4)


def test_an_error_beyond_a_step_that_is_not_accurate_does_not_count():
    """Accurate at 1, but not at 1/2: the reach ends at 1/4."""
    assert expansion_reach(lambda a: a**2 + (a == 0.5), slope=0.0, curvature=2.0) == 0.25


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_change_that_is_not_a_number_is_not_accurate(value):
    assert expansion_reach(lambda a: value, slope=1.0, curvature=1.0) == 0


def test_many_directions_are_those_one_by_one():
    generator = np.random.default_rng(0)
    cubic, slope, curvature = generator.standard_normal((3, 50))
    together = expansion_reach(
        lambda a: a * slope + a**2 * curvature / 2 + a**3 * cubic, slope=slope, curvature=curvature
    )
    alone = [
        expansion_reach(lambda a, k=k, g=g, c=c: a * g + a**2 * c / 2 + a**3 * k,
                        slope=g, curvature=c)
        for k, g, c in zip(cubic, slope, curvature, strict=True)
    ]  # fmt: skip
    assert together.tolist() == alone
    assert is_close(together).tolist() == [reach >= 1 for reach in alone]

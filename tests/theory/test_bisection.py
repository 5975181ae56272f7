"""The largest double at which a condition holds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.bisection import largest_where

LARGEST = float(np.finfo(np.float64).max)


@given(st.lists(st.floats(0, LARGEST), min_size=1), st.floats(0, LARGEST))
def test_it_is_the_threshold_itself_to_the_last_bit(thresholds, upper):
    limits = np.array(thresholds)
    found = largest_where(lambda x: x <= limits, np.full(limits.shape, upper))
    assert found.tolist() == np.minimum(limits, upper).tolist()


@pytest.mark.parametrize("target", [5e-324, 1e-310, 2.0, 1e300])
def test_the_next_double_fails(target):
    (found,) = largest_where(lambda x: x < target, np.array([LARGEST]))
    assert found == math.nextafter(target, 0)


def test_no_axes_and_no_entries_are_shapes_too():
    assert largest_where(lambda x: x <= 0.5, np.array(1.0)).shape == ()
    assert largest_where(lambda x: x <= 0.5, np.zeros((0, 3))).shape == (0, 3)

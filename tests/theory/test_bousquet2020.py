"""The moment bound: where it speaks."""

import numpy as np
import pytest

from theory.bousquet2020 import moment_gap_bound


def test_the_moment_bound_says_nothing_for_large_delta():
    last = np.exp(-2)
    found = moment_gap_bound(loss_bound=1.0, gamma=0.1, n=100, delta=[0.99 * last, 1.01 * last])
    assert np.isinf(found).tolist() == [False, True]


def test_the_levels_are_those_of_the_number_of_examples_and_not_of_a_rounded_logarithm():
    """log2(2^52 + 1) as a double is 52; without C the bound is linear in the levels, 53."""
    known = {"loss_bound": 0.0, "gamma": 1.0, "delta": np.exp(-2.0)}
    for power in (10, 49, 52):
        at, after = moment_gap_bound(n=[2.0**power, 2.0**power + 1], **known) - 2
        assert after / at == pytest.approx((power + 1) / power, rel=1e-12)

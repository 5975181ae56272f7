"""Counting: every draw enumerated, and a network whose bits were not counted."""

import numpy as np
import pytest
from scipy import stats

from theory.zhu2024 import quantized_gap_bound


def expected_gap_of_the_best(choices, n):
    """Choose the coin with the fewest heads among many, of n tosses each: 1/2 less its share."""
    heads = np.arange(n + 1)
    at_least = stats.binom.sf(heads - 1, n, 0.5) ** choices
    fewest = at_least[1:].sum() / n  # E[min] is the sum of P(min >= k)
    return 0.5 - fewest


@pytest.mark.parametrize("n", [1, 10, 100])
@pytest.mark.parametrize("bits", [1, 4, 12])
def test_it_bounds_the_best_of_all_networks_of_so_many_bits(bits, n):
    gap = expected_gap_of_the_best(2**bits, n)
    assert 0 < gap <= quantized_gap_bound(bits=bits, parameters=1, loss_bound=1.0, n=n)


def test_it_is_nearly_reached_by_many_choices():
    """The least of N normal variables is at sqrt(2 ln N) deviations as N grows; here 85 %."""
    gap = expected_gap_of_the_best(2.0**40, 10_000)
    assert gap > 0.85 * quantized_gap_bound(bits=40, parameters=1, loss_bound=1.0, n=10_000)


def test_bits_that_are_not_counted_break_it():
    """A number that holds all labels as its digits: train loss 0, risk 1/2."""
    assert quantized_gap_bound(bits=1, parameters=1, loss_bound=1.0, n=100) < 0.5
    assert quantized_gap_bound(bits=100, parameters=1, loss_bound=1.0, n=100) > 0.5


def test_only_the_product_of_bits_and_numbers_counts():
    known = {"loss_bound": 2.0, "n": 100}
    assert quantized_gap_bound(bits=8, parameters=3, **known) == quantized_gap_bound(
        bits=4, parameters=6, **known
    )

"""Ranks of sums against ranks of the same sums in fractions, which do not round."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import rankdata

from probes.metrics.rank_correlations import rank_correlations
from probes.metrics.tied_sums import tied_sums


def halves(rng, n, count):
    chosen = np.zeros((count, n))
    for row in chosen:
        row[rng.choice(n, n // 2, replace=False)] = 1
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_sums_of_few_values_are_ties_where_they_are_equal(seed):
    rng = np.random.default_rng(seed)
    chosen = halves(rng, 32, 60)
    tenths = rng.integers(-3, 4, (32, 3))
    exact = [[sum(Fraction(int(one), 10) for one in tenths[row > 0, column]) for column in range(3)]
             for row in chosen]  # fmt: skip
    expected = np.stack([rankdata([row[column] for row in exact]) for column in range(3)], axis=1)
    np.testing.assert_array_equal(rankdata(tied_sums(chosen, tenths / 10), axis=0), expected)


def test_other_sums_keep_their_order_whatever_the_scale_of_their_column_and_its_sign():
    rng = np.random.default_rng(0)
    chosen, values = halves(rng, 64, 100), rng.uniform(-1, 1, (64, 5))
    values[:, 3] = -np.abs(values[:, 3])
    found = tied_sums(chosen, values * [1e-300, 1.0, 1e308, 1e308, 1e-16])
    np.testing.assert_array_equal(rankdata(found, axis=0), rankdata(chosen @ values, axis=0))


def test_equal_scores_order_nothing():
    """They once had an order that rounding gave them."""
    rng = np.random.default_rng(0)
    chosen = halves(rng, 64, 100)
    found = rank_correlations(tied_sums(chosen, np.full((64, 2), 0.1)), rng.normal(size=(100, 2)))
    assert np.isnan(found).all()


def test_nothing_is_summed_to_nothing():
    assert tied_sums(np.empty((0, 3)), np.ones((3, 2))).shape == (0, 2)
    assert tied_sums(np.empty((2, 0)), np.empty((0, 2))).tolist() == [[0, 0], [0, 0]]

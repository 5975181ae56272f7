"""The mean of a sample: against the exact tail, and coverage by enumeration."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from theory.binary_kl import binary_kl
from theory.hoeffding1963 import sample_mean_bound
from theory.langford2005 import binomial_tail_bound


@pytest.mark.parametrize("n", [1, 10, 300])
@pytest.mark.parametrize("delta", [0.01, 0.3])
def test_the_exact_tail_of_the_0_1_loss_is_below_it(n, delta):
    errors = np.arange(n + 1)
    bound = sample_mean_bound(mean=errors / n, n=n, delta=delta)
    assert (binomial_tail_bound(errors, n, delta) <= bound + 1e-12).all()
    np.testing.assert_allclose(
        binary_kl(errors[:-1] / n, bound[:-1]), -np.log(delta) / n, rtol=1e-9
    )


def test_it_covers_values_between_0_and_1():
    """Three values, all samples of 6: the bound fails with probability delta at most."""
    values, chances, delta = np.array([0.0, 0.4, 1.0]), np.array([0.2, 0.5, 0.3]), 0.1
    draws = np.array(list(product(range(3), repeat=6)))
    bound = sample_mean_bound(mean=values[draws].mean(1), n=6, delta=delta)
    assert chances[draws].prod(1)[values @ chances > bound].sum() <= delta


def test_values_beyond_1_break_it():
    """0 or 10, the latter with probability 1/10: of 6 values all are 0 in 53 % of the samples."""
    assert sample_mean_bound(mean=0.0, n=6, delta=0.1) < 1  # the expectation
    assert stats.binom.pmf(0, 6, 0.1) > 0.1


def test_copies_of_one_value_break_it():
    """A fair coin, tossed once and counted 20 times: tails with probability 1/2."""
    assert sample_mean_bound(mean=0.0, n=20, delta=0.1) < 0.5

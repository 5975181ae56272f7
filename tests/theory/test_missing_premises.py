"""Where a premise is missing, the statements named by author and year fail."""

import numpy as np
import pytest
from scipy import stats

from theory.bousquet2002 import uniform_stability_gap_bound
from theory.bousquet2020 import moment_gap_bound
from theory.feldman2018 import feldman_vondrak_gap_bound
from theory.langford2005 import binomial_tail_bound
from theory.masked_gaussian import masked_gaussian_divergence
from theory.second_moment import second_moment_gap_bound

#: Bounds that need uniform stability, and the name of what they take it by.
UNIFORM = {
    uniform_stability_gap_bound: "beta", moment_gap_bound: "gamma",
    feldman_vondrak_gap_bound: "gamma", second_moment_gap_bound: "gamma",
}  # fmt: skip


@pytest.mark.parametrize("bound", UNIFORM)
def test_stability_on_average_is_not_enough(bound):
    """Labels of fair coins are memorised, for n inputs out of 100 n.

    Leaving one out, or another in its place, changes the loss at a fresh input by 2 / (100 n) on
    average, and by 1 where it was.
    """
    n = 10**9
    gap = (1 - 1 / 100) / 2  # no train loss; half of what was not seen is wrong
    known = {"loss_bound": 1.0, "n": n, "delta": 0.05}
    assert bound(**{UNIFORM[bound]: 2 / (100 * n)}, **known) < gap
    assert bound(**{UNIFORM[bound]: 1.0}, **known) > gap


def test_a_test_set_that_chose_the_network_bounds_nothing():
    """Of many networks that guess, the best on the test set is seldom as good elsewhere."""
    examples, delta, networks = 100, 0.05, 2000
    errors = np.arange(examples + 1)
    fails = stats.binom.pmf(errors, examples, 0.5)[
        binomial_tail_bound(errors, examples, delta) < 0.5
    ]
    assert 0.01 < fails.sum() <= delta
    assert 1 - (1 - fails.sum()) ** networks > 0.999


def test_a_mask_that_the_data_chose_is_further_from_the_prior():
    """At the rate of one half, but kept wherever that fits the data: nothing is masked."""
    update, deviation = np.array([[3.0, 1.0], [0.0, 2.0]]), 0.7
    chosen = np.square(update).sum() / (2 * deviation**2)
    assert masked_gaussian_divergence(update, 0.0, deviation) == pytest.approx(chosen)
    assert masked_gaussian_divergence(update, 0.5, deviation) < chosen

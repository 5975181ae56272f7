"""The exponential bound: what it assumes, and how it compares."""

import math

from theory.bousquet2002 import uniform_stability_gap_bound


def test_without_instability_it_is_hoeffdings():
    bound = uniform_stability_gap_bound(loss_bound=2.0, beta=0.0, n=50, delta=0.05)
    assert bound == 2 * math.sqrt(math.log(20) / 100)


def test_stability_on_average_is_not_enough():
    """Labels of fair coins are memorised, for 10,000 inputs out of a million.

    Leaving one out changes the loss at that input by 1, at a fresh one by 1e-6 on average.
    """
    known = {"loss_bound": 1.0, "n": 10_000, "delta": 0.05}
    gap = (1 - 10_000 / 1e6) / 2  # no train loss
    assert uniform_stability_gap_bound(beta=1e-6, **known) < gap
    assert uniform_stability_gap_bound(beta=1.0, **known) > gap

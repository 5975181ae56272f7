"""The exponential bound: what it assumes, and how it compares."""

import math

from theory.bousquet2002 import uniform_stability_gap_bound


def test_without_instability_it_is_hoeffdings():
    bound = uniform_stability_gap_bound(loss_bound=2.0, beta=0.0, n=50, delta=0.05)
    assert bound == 2 * math.sqrt(math.log(20) / 100)

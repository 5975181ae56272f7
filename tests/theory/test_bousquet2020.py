"""The moment bound: where it speaks."""

import numpy as np

from theory.bousquet2020 import moment_gap_bound


def test_the_moment_bound_says_nothing_for_large_delta():
    last = np.exp(-2)
    found = moment_gap_bound(loss_bound=1.0, gamma=0.1, n=100, delta=[0.99 * last, 1.01 * last])
    assert np.isinf(found).tolist() == [False, True]

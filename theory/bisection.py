"""The largest double at which a condition holds, to the last bit."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from theory.domain import Real


def largest_where(holds: Callable[[Real], NDArray[np.bool_]], upper: Real) -> Real:
    """Return the largest double from 0 to a limit at which a condition holds.

    Positive doubles are in the order of their bits, read as whole numbers. Halving the range of
    those takes 63 steps, however small or large the double is.

    Args:
        holds: the condition. Of an array of the shape of ``upper`` it says for every entry whether
            it holds; it does up to some number and not above. At 0 it is taken to hold.
        upper: the limits, finite, at least 0.

    Returns:
        The largest doubles, of the shape of ``upper``.

    >>> largest_where(lambda x: x * x <= 2.0, np.array([9.0, 1.0])).tolist()
    [1.414213562373095, 1.0]
    """
    high = np.array(upper, dtype=np.float64).view(np.int64)
    low = np.zeros_like(high)
    while (low < high).any():
        middle = low + (high - low + 1) // 2
        good = holds(middle.view(np.float64))
        low, high = np.where(good, middle, low), np.where(good, high, middle - 1)
    return low.view(np.float64)

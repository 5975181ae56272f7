"""The largest double at which a condition holds, to the last bit."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from theory.domain import Real


def largest_where(holds: Callable[[Real], NDArray[np.bool_]], upper: Real) -> Real:
    """Return the largest double from 0 to a limit at which a condition holds.

    The order of positive doubles is that of their bits read as whole numbers, so halving those
    finds the double itself in 63 steps, however small or large it is.

    Args:
        holds: the condition, true at 0 and false above some number; takes an array of the shape of
            ``upper`` and answers each entry.
        upper: the limits, finite, at least 0.

    Returns:
        The largest doubles, of the shape of ``upper``.

    >>> largest_where(lambda x: x * x <= 2.0, np.array([9.0, 1.0])).tolist()
    [1.4142135623730951, 1.0]
    """
    high = np.array(upper, dtype=np.float64).view(np.int64)
    low = np.zeros_like(high)
    while (low < high).any():
        middle = low + (high - low + 1) // 2
        good = holds(middle.view(np.float64))
        low, high = np.where(good, middle, low), np.where(good, high, middle - 1)
    return low.view(np.float64)

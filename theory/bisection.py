"""The largest double at which a condition holds, to the last bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from theory.domain import Real

#: Parts into which a step cuts the range. Steps cost more than entries, so a few at once are fast.
PARTS = 64


def largest_where(holds: Callable[[Real], NDArray[np.bool_]], upper: Real) -> Real:
    """Return the largest double from 0 to a limit at which a condition holds.

    Positive doubles are in the order of their bits, read as whole numbers. Cutting the range of
    those into 64 parts takes 11 steps, however small or large the double is.

    Args:
        holds: the condition. Of an array (m, ...), whose last axes are those of ``upper``, it says
            for every entry whether it holds; it does up to some number and not above. At 0 it is
            taken to hold.
        upper: the limits, finite, at least 0.

    Returns:
        The largest doubles, of the shape of ``upper``.

    >>> largest_where(lambda x: x * x <= 2.0, np.array([9.0, 1.0])).tolist()
    [1.414213562373095, 1.0]
    """
    high = np.array(upper, dtype=np.float64).view(np.int64)
    low = np.zeros_like(high)
    part = np.arange(1, PARTS + 1).reshape(-1, *np.ones(high.ndim, np.int64))
    while (low < high).any():
        step = (high - low) // PARTS + 1
        ends = np.minimum(low + step * part, high)
        fails = ~holds(ends.view(np.float64))
        good = np.where(fails.any(axis=0), np.argmax(fails, axis=0), PARTS)
        next_end = np.minimum(low + step * np.minimum(good + 1, PARTS), high)
        low = np.minimum(low + step * good, high)
        high = np.where(good < PARTS, next_end - 1, high)
    return low.view(np.float64)

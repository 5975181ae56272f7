"""Sums whose order is asked for: equal ones are ties, however they were rounded."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def tied_sums(chosen: Array, values: Array) -> Array:
    """Sum the chosen values column by column, for their ranks.

    A product of matrices rounds as it likes. Sums that are equal, as those of equally many equal
    values, would have an order that means nothing: those that rounding may have told apart are made
    one number.

    Args:
        chosen: which values each sum takes, 0 or 1, (sums, rows).
        values: finite, (rows, m).

    Returns:
        The sums, (sums, m), each column in units of a power of two, so that none overflows.

    >>> chosen = np.array([[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    >>> one, other = tied_sums(chosen, np.array([[0.1], [0.2], [0.3], [0.1]]))
    >>> (one == other).all()
    np.True_
    """
    _, exponents = np.frexp(np.abs(values).max(axis=0, initial=0.0))
    values = np.ldexp(values, -exponents)
    sums = chosen @ values
    order = sums.argsort(axis=0)
    rising = np.take_along_axis(sums, order, axis=0)
    rounding = len(values) * np.finfo(np.float64).eps * np.abs(values).sum(axis=0)
    first = np.diff(rising, axis=0, prepend=-np.inf) > rounding
    places = np.where(first, np.arange(len(sums))[:, None], 0)
    tied = np.take_along_axis(rising, np.maximum.accumulate(places, axis=0), axis=0)
    np.put_along_axis(sums, order, tied, axis=0)
    return sums

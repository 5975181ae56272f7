"""Confidence intervals over independent draws of the training set."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean over draws and Student's interval for its expectation.

    Student's rather than a bootstrap's, which covers too seldom with the few draws that one has.

    Args:
        values: one value a draw; values that are not finite are left out.
        level: nominal coverage.

    Returns:
        The mean and the ends of the interval; the ends are NaN for fewer than two draws, which say
        nothing about the spread, and all are NaN for none.

    >>> [round(value, 3) for value in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if len(finite) == 0:
        return float("nan"), float("nan"), float("nan")
    mean = float(finite.mean())
    if len(finite) == 1:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf((1 + level) / 2, len(finite) - 1) * stats.sem(finite))
    return mean, mean - half, mean + half

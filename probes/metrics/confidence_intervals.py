"""Means over independent draws of the training set, with confidence intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit


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
    error = finite.std(ddof=1) / np.sqrt(len(finite))
    half = float(stdtrit(len(finite) - 1, (1 + level) / 2) * error)
    return mean, mean - half, mean + half


def means(rows: pd.DataFrame, keys: Sequence[str], quantities: Sequence[str]) -> pd.DataFrame:
    """Average over draws, with 95 % Student intervals.

    Args:
        rows: one a draw and key.
        keys: columns that identify what is averaged.
        quantities: columns that are averaged; those that are not there are left out.

    Returns:
        One row a key, in order of first appearance: the keys, ``draws``, and for each quantity its
        mean, ``..._low`` and ``..._high``.
    """
    records = []
    for key, group in rows.groupby(list(keys), sort=False, dropna=False):
        record: dict[str, Any] = dict(zip(keys, key, strict=True)) | {"draws": len(group)}
        for name in quantities:
            if name in group:
                mean, low, high = mean_interval(group[name])
                record |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        records.append(record)
    return pd.DataFrame(records)

"""Means over draws of the training set, with confidence intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from probes.metrics.multiple_comparisons import LEVEL, holm

#: From this share of the data set in S on, draws of S count as dependent: they share examples.
DEPENDENT = 0.2
#: Numbers that differ by this share of one of them differ by rounding.
EQUAL = 1e-12
#: Differences whose spread is this share of their mean do, too: they are small beside what they are
#: differences of, which networks compute with seven digits.
SAME = float(np.finfo(np.float32).eps)


def mean_interval(
    values: ArrayLike, level: float = 0.95, *, overlap: float = 0.0
) -> tuple[float, float, float]:
    r"""Mean over draws and Student's interval for its expectation.

    Student's rather than a bootstrap's, which covers too seldom with the few draws that one has.

    Draws of n out of N examples share n/N of these, so that means over draws vary by more than
    independent ones would. To first order in the examples two draws have the correlation
    :math:`\rho=n/N`, and the mean of k draws with the sample variance :math:`s^2` has the variance
    :math:`s^2\bigl(\frac1k+\frac{\rho}{1-\rho}\bigr)`.

    Source: Nadeau & Bengio 2003, "Inference for the generalization error", their corrected
    resampled t-test, with the correlation that shared training examples give.

    Args:
        values: one value a draw; values that are not finite are left out.
        level: nominal coverage.
        overlap: the correlation of two draws, in [0, 1).

    Returns:
        The mean and the ends of the interval; the ends are NaN for fewer than two draws, which say
        nothing about the spread, and all are NaN for none.

    >>> [round(value, 3) for value in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    mean, error, draws = mean_and_error(values, overlap)
    half = float(stdtrit(draws - 1, (1 + level) / 2)) * error if draws > 1 else float("nan")
    return mean, mean - half, mean + half


def mean_p_value(values: ArrayLike, *, overlap: float = 0.0) -> float:
    """Two-sided p-value of Student's test that the expectation over draws is 0.

    Where all values are the same up to rounding, as counts of few examples may be, Student's test
    would be certain after two draws. The sign test, which asks for no spread, takes its place.

    Args:
        values: one value a draw; values that are not finite are left out.
        overlap: as for :func:`mean_interval`.

    Returns:
        The p-value; NaN for fewer than two draws, and where all values are 0, as those of what is
        compared with itself.

    >>> mean_p_value([0.25, 0.25, 0.25])
    0.25

    >>> round(mean_p_value([1.0, 2.0, 3.0]), 3)
    0.074
    """
    mean, error, draws = mean_and_error(values, overlap)
    if draws < 2 or (mean == 0 and error == 0):
        return float("nan")
    if error <= SAME * abs(mean):
        return float(2.0 ** (1 - draws))
    return float(2 * stdtr(draws - 1, -abs(mean) / error))


def told_interval(values: ArrayLike, *, overlap: float = 0.0) -> tuple[float, float, float]:
    """Mean over draws and its interval, from whose ends it may be told that it is not 0.

    A few equal values say nothing of how they spread, so that Student's interval would be a point.

    Args:
        values: as for :func:`mean_interval`.
        overlap: as there.

    Returns:
        As there; the ends are infinite where 0 lies outside and :func:`mean_p_value` does not tell.

    >>> told_interval([0.25, 0.25])
    (0.25, -inf, inf)
    """
    mean, low, high = mean_interval(values, overlap=overlap)
    if (low > 0 or high < 0) and mean_p_value(values, overlap=overlap) > LEVEL:
        return mean, -np.inf, np.inf
    return mean, low, high


def mean_and_error(values: ArrayLike, overlap: float) -> tuple[float, float, int]:
    """Mean over draws of what is finite, its standard error, and how many values that are.

    Args:
        values: one value a draw; values that are not finite are left out.
        overlap: as for :func:`mean_interval`.

    Returns:
        The three; the error is NaN for fewer than two values, and both are for none.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    draws = len(finite)
    if draws == 0:
        return float("nan"), float("nan"), 0
    if draws == 1:
        return float(finite[0]), float("nan"), 1
    factor = np.sqrt(1 / draws + overlap / (1 - overlap))
    # Squares of what nearly diverged are infinite: nothing is then known of the mean.
    with np.errstate(over="ignore", invalid="ignore"):
        return float(finite.mean()), float(finite.std(ddof=1) * factor), draws


def overlap_of(rows: pd.DataFrame) -> float:
    """Correlation of two draws of S, by the share of the data set that they hold.

    Args:
        rows: with the columns ``n`` (size of S) and ``pool`` (of the data set), where known.

    Returns:
        The largest n/N, or 0 below ``DEPENDENT`` and where the size of the data set is not known.
    """
    if "pool" not in rows or not len(rows):
        return 0.0
    share = float((rows["n"] / rows["pool"]).max())
    return share if share >= DEPENDENT else 0.0


def means(
    rows: pd.DataFrame,
    keys: Sequence[str],
    quantities: Sequence[str],
    differences: Sequence[str] = (),
) -> pd.DataFrame:
    """Average over draws, with 95 % Student intervals.

    Args:
        rows: one a draw and key; with ``n`` and ``pool`` intervals know how dependent draws are.
        keys: columns that identify what is averaged.
        quantities: columns that are averaged; those that are not there are left out.
        differences: more of them, each of which is also tested against 0.

    Returns:
        One row a key, in order of first appearance: the keys, ``draws``, and for each quantity its
        mean, ``..._low``, ``..._high`` and ``..._draws``, the number of draws in which it is
        finite, over which the mean is taken. For each difference also ``..._holm``, the p-value of
        Student's test corrected for the number of tests in the whole table.
    """
    records = []
    for key, group in rows.groupby(list(keys), sort=False, dropna=False):
        record: dict[str, Any] = dict(zip(keys, key, strict=True)) | {"draws": len(group)}
        overlap = overlap_of(group)
        for name in (*quantities, *differences):
            if name in group:
                mean, low, high = mean_interval(group[name], overlap=overlap)
                finite = int(np.isfinite(group[name].to_numpy(np.float64)).sum())
                record |= {name: mean, f"{name}_low": low, f"{name}_high": high}
                record[f"{name}_draws"] = finite
        for name in differences:
            record[f"{name}_holm"] = mean_p_value(group[name], overlap=overlap)
        records.append(record)
    table = pd.DataFrame(records)
    tested = [f"{name}_holm" for name in differences]
    if tested and len(table):
        p_values = table[tested].to_numpy()
        table[tested] = holm(p_values.ravel()).reshape(p_values.shape)
    return table

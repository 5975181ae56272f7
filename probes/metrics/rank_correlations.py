"""Spearman's correlation of many columns at once, and their mean with its interval."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]


def rank_correlations(given: Array, truth: Array) -> Array:
    """Spearman's correlation of every column with its own.

    Args:
        given: scores, (rows, m), finite.
        truth: what they should order, (rows, m), finite.

    Returns:
        Correlations over rows, (m,), in [-1, 1]; NaN where a column is constant, or has fewer than
        two rows.
    """
    return _correlations(_ranks(given), _ranks(truth))


def mean_over_columns(given: Array, truth: Array) -> tuple[float, float, float]:
    """Mean of the columns' correlations where the rows are all there are.

    Args:
        given: scores, (rows, m), finite.
        truth: what they should order, (rows, m), finite; columns are a sample.

    Returns:
        The mean over the columns that are not constant, and its 95 % Student interval over columns,
        within [-1, 1]; the ends are NaN for fewer than two columns, and all are for none.
    """
    found = rank_correlations(given, truth)
    found = found[np.isfinite(found)]
    return _interval(_mean_of_known(found), _variance_over_columns(found), len(found))


def mean_over_rows_and_columns(given: Array, truth: Array) -> tuple[float, float, float]:
    r"""Mean of the columns' correlations where rows and columns are both samples.

    With m rows, :math:`\hat\rho` the mean over columns and :math:`\hat\rho_{(i)}` the same without
    row i, the mean is the jackknife's, :math:`m\hat\rho-(m-1)\overline{\hat\rho_{(i)}}`: a rank
    correlation of few rows lies nearer to 0 than that of many, by more than the error where many
    columns are averaged. Its variance is the jackknife's,
    :math:`\frac{m-1}m\sum_i(\hat\rho_{(i)}-\overline{\hat\rho_{(i)}})^2`, and that of a mean over
    columns. The noise of single entries counts in both, so that the interval is rather too wide.

    Resampling rows with replacement, as a bootstrap does, ties those that are drawn twice and
    shifts the correlation away from its estimate: such an interval may not even contain it.

    Source: Efron & Stein 1981, "The jackknife estimate of variance".

    Args:
        given: scores, (rows, m), finite.
        truth: what they should order, (rows, m), finite.

    Returns:
        The mean over the columns that are not constant, at most 1 in size, and its 95 % interval
        within [-1, 1], which contains it; the ends are NaN for fewer than two columns, and all are
        NaN without columns, with fewer than three rows, and where every column is constant but for
        one row.
    """
    rows = len(given)
    one, other = _ranks(given), _ranks(truth)
    found = _correlations(one, other)
    known = np.isfinite(found)
    if rows < 3 or not known.any():
        return float("nan"), float("nan"), float("nan")
    found, one, other = found[known], one[:, known], other[:, known]
    without = [
        _mean_of_known(_correlations(_ranks_without(one, row), _ranks_without(other, row)))
        for row in range(rows)
    ]
    mean = rows * found.mean() - (rows - 1) * np.mean(without)
    variance = float((rows - 1) * np.var(without)) + _variance_over_columns(found)
    return _interval(float(np.clip(mean, -1, 1)), variance, rows)


def _interval(mean: float, variance: float, count: int) -> tuple[float, float, float]:
    """Student's, within [-1, 1]."""
    if not np.isfinite(variance):
        return mean, float("nan"), float("nan")
    half = float(stdtrit(count - 1, 0.975) * np.sqrt(variance))
    return mean, max(mean - half, -1.0), min(mean + half, 1.0)


def _mean_of_known(found: Array) -> float:
    known = found[np.isfinite(found)]
    return float(known.mean()) if len(known) else float("nan")


def _variance_over_columns(found: Array) -> float:
    return float(found.var(ddof=1) / len(found)) if len(found) > 1 else float("nan")


def _ranks(values: Array) -> Array:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=0), np.float64)


def _ranks_without(ranks: Array, row: int) -> Array:
    """The ranks among all other rows: those above lose one, equal ones share the loss."""
    lost = (ranks > ranks[row]) + (ranks == ranks[row]) / 2
    return np.delete(ranks - lost, row, axis=0)


def _correlations(one: Array, other: Array) -> Array:
    """Of ranks, column by column; NaN where one of the two is constant."""
    if len(one) < 2:
        return np.full(one.shape[1], np.nan)
    one, other = one - one.mean(0), other - other.mean(0)
    sizes = np.sqrt((one**2).sum(0) * (other**2).sum(0))
    found = np.full(len(sizes), np.nan)
    return np.divide((one * other).sum(0), sizes, out=found, where=sizes > 0)

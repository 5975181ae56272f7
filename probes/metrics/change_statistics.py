"""How the leave-one-out changes of the loss are spread: a few examples carry their mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

#: Below this train loss a training example's loss is nearly 0: beta then equals the leave-one-out
#: loss and adds nothing to the gap.
SATURATED = 0.05


#: Names of the statistics.
STATISTICS = ("beta", "beta_signed", "beta_median", "beta_q90", "beta_top_tenth")


def change_statistics(change: ArrayLike) -> dict[str, float]:
    """Describe the leave-one-out changes of one draw of S.

    Source: arXiv 2404.09610, Definition 4.1 (beta).

    Args:
        change: signed changes of the left-out examples' losses. Those of replicas that diverged
            are not finite; they are left out.

    Returns:
        ``beta``, the mean of the absolute changes (Definition 4.1 for this S), ``beta_signed``,
        that of the signed ones, ``beta_median``, ``beta_q90`` (the upper decile) and
        ``beta_top_tenth``, the share of the sum that the largest tenth has (NaN where nothing
        changed, or the sum is infinite); all are NaN where every replica diverged. ``diverged`` is
        their number.

    >>> change_statistics([0.0, -1.0, 1.0, 8.0])["beta_top_tenth"]
    0.8
    """
    values = np.asarray(change, np.float64)
    finite = values[np.isfinite(values)]
    diverged = {"diverged": float(len(values) - len(finite))}
    if not len(finite):
        return dict.fromkeys(STATISTICS, float("nan")) | diverged
    size = np.sort(np.abs(finite))
    tenth = max(1, round(len(size) / 10))
    # Sums of what nearly diverged are infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        total, largest = size.sum(), size[-tenth:].sum()
        return {
            "beta": float(size.mean()),
            "beta_signed": float(finite.mean()),
            "beta_median": float(np.median(size)),
            "beta_q90": float(np.quantile(size, 0.9)),
            "beta_top_tenth": float(largest / total) if 0 < total < np.inf else float("nan"),
        } | diverged

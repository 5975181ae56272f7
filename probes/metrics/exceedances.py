"""Whether a bound is exceeded by more than chance explains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtrc

from probes.metrics.confidence_intervals import mean_p_value


def exceedance_p_value(exceeded: int, draws: int, delta: float) -> float:
    r"""Return the p-value of "a bound is exceeded with probability at most delta".

    .. math:: P(X\ge k),\quad X\sim\mathrm{Binomial}(m,\delta)

    Args:
        exceeded: k, number of draws in which it was exceeded.
        draws: m, independent draws, at least 1.
        delta: in (0, 1].

    Returns:
        The p-value of the exact one-sided test, in (0, 1].

    >>> round(exceedance_p_value(1, 20, 0.05), 4), exceedance_p_value(0, 20, 0.05)
    (0.6415, 1.0)
    """
    return float(bdtrc(exceeded - 1, draws, delta))


def against_bound(
    gaps: ArrayLike, bounds: ArrayLike, delta: float | None, *, overlap: float = 0.0
) -> dict[str, Any]:
    """Compare the gaps of several draws with what a bound says of them.

    Args:
        gaps: one a draw of S.
        bounds: of each draw, or one for all.
        delta: probability with which the bound may be exceeded, in (0, 1]; None for a bound on the
            expected gap.
        overlap: as for ``probes.metrics.confidence_intervals.mean_interval``.

    Returns:
        - ``measured``: the 1 - delta quantile of the gaps, or their mean;
        - ``coverage``: share of the draws in which the bound held; NaN for one on the mean;
        - ``p_value``: of the one-sided test that it is exceeded no more than it allows: an exact
          one of the number of draws, or Student's of the mean. NaN where nothing can be tested,
          such as counts of draws that share examples;
        - ``draws``.

    >>> against_bound([0.5, 0.5, 0.5], 0.25, None)["p_value"]
    0.125
    """
    gap, bound = np.asarray(gaps, np.float64), np.asarray(bounds, np.float64)
    if delta is None:
        measured, coverage = gap.mean(), float("nan")
        p_value = _mean_p_value(gap - bound, overlap)
    else:
        measured = np.quantile(gap, 1 - delta, method="higher")
        held = gap <= bound
        coverage = float(held.mean())
        above = len(gap) - int(held.sum())
        p_value = float("nan") if overlap else exceedance_p_value(above, len(gap), delta)
    return {"measured": float(measured), "coverage": coverage, "p_value": p_value,
            "draws": len(gap)}  # fmt: skip


def _mean_p_value(excess: NDArray[np.float64], overlap: float) -> float:
    """Of the one-sided test that the expectation is at most 0."""
    both = mean_p_value(excess, overlap=overlap)
    return both / 2 if np.isnan(both) or excess[np.isfinite(excess)].mean() > 0 else 1 - both / 2

"""Correction of p-values for their number: of many tests some reject by chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

#: Probability that any verdict of a table is wrong by chance.
LEVEL = 0.05


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values for their number, so that all are right together at the level of each.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Args:
        p_values: of m hypotheses, (m,); NaN where a hypothesis was not tested, which then does not
            count among the m.

    Returns:
        Adjusted p-values, (m,), in [0, 1]; NaN stays NaN. Those at most alpha are rejected, and the
        probability that any true one is among them is at most alpha.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    found = np.asarray(p_values, np.float64)
    adjusted = np.full(found.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(found))
    order = tested[np.argsort(found[tested], kind="stable")]
    scaled = found[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted

"""Differences between networks that were trained on the same S."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probes.metrics.confidence_intervals import EQUAL, means


def less(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """First less second, where what differs by rounding is equal: sums have an order.

    Args:
        first: any shape.
        second: one that goes with it.

    >>> less([0.3, 1.0], [0.1 + 0.2, 0.25]).tolist()
    [0.0, 0.75]
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    with np.errstate(invalid="ignore"):
        difference = one - other
    equal = np.isfinite(other) & (np.abs(difference) <= EQUAL * np.abs(other))
    return np.where(equal, 0.0, difference)


def paired_differences(
    rows: pd.DataFrame,
    reference: pd.Series,
    quantities: Sequence[str],
    *,
    keys: Sequence[str],
    within: Sequence[str] = (),
) -> pd.DataFrame:
    """Compare variants with a reference, draw by draw, and test each difference against 0.

    Args:
        rows: one a draw and variant, with ``draw``.
        reference: which rows are the reference, one a draw (and value of ``within``).
        quantities: columns that are compared.
        keys: columns that tell the variants apart.
        within: columns in which a variant and its reference agree.

    Returns:
        One row a variant but the reference: the keys, and of each difference, variant less
        reference, what ``probes.metrics.confidence_intervals.means`` says.
    """
    same = [*within, "draw"]
    known = rows[reference].set_index(same)[list(quantities)].add_suffix("_reference")
    joined = rows[~reference].join(known, on=same)
    for name in quantities:
        joined[name] = less(joined[name], joined[f"{name}_reference"])
    return means(joined, keys, (), quantities)

"""Differences between networks that were trained on the same S."""

from collections.abc import Sequence

import pandas as pd

from probes.metrics.confidence_intervals import means


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
        joined[name] = joined[name] - joined[f"{name}_reference"]
    return means(joined, keys, (), quantities)

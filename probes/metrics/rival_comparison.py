"""Methods against a reference, on the same draws: better, worse, equal within a margin, or open."""

import pandas as pd

from probes.metrics.confidence_intervals import overlap_of
from probes.metrics.equivalence import equivalence_p_value
from probes.metrics.multiple_comparisons import LEVEL, holm
from probes.metrics.paired_differences import paired_differences


def compare_methods(
    rows: pd.DataFrame, reference: str, margin: float, quantity: str = "test_loss"
) -> pd.DataFrame:
    """Compare every method with the reference, paired over draws.

    Two families of tests, each corrected by Holm for the number of methods: whether the difference
    is 0 (Student), and whether it is at least the margin (two one-sided tests, see
    :func:`probes.metrics.equivalence.equivalence_p_value`).

    Args:
        rows: one a method and draw, with ``method``, ``draw`` and the quantity, of which less is
            better; with ``n`` and ``pool`` intervals know how dependent draws are.
        reference: a method.
        margin: of equivalence, as a share of the reference's value, which is paired draw by draw.
        quantity: that is compared.

    Returns:
        One row a method but the reference: ``method``, ``difference`` (method less reference) with
        ``_low``, ``_high``, ``_draws`` and ``_holm``, ``equivalent_holm``, and ``verdict``:
        "better", "worse", "equal" (within the margin, significantly different from 0 or not), or
        "undecided". A better or worse one whose difference is shown to be within the margin is
        "equal": too little to matter, as it was named beforehand.
    """
    found = paired_differences(rows, rows["method"] == reference, [quantity], keys=["method"])
    found = found.rename(columns=lambda name: name.replace(quantity, "difference"))
    known = rows[rows["method"] == reference].set_index("draw")[quantity]
    p_values = []
    for method in found["method"]:
        own = rows[rows["method"] == method].set_index("draw")[quantity]
        differences, references = (own - known).align(known, join="inner")
        p_values.append(
            equivalence_p_value(differences, margin * references, overlap=overlap_of(rows))
        )
    found["equivalent_holm"] = holm(p_values)
    found["verdict"] = [
        _verdict(*values)
        for values in zip(
            found["difference"], found["difference_holm"], found["equivalent_holm"], strict=True
        )
    ]
    return found


def _verdict(difference: float, different: float, equivalent: float) -> str:
    if equivalent <= LEVEL:
        return "equal"
    if different <= LEVEL:
        return "better" if difference < 0 else "worse"
    return "undecided"

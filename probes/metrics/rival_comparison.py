"""Methods against a reference, on the same draws: better, worse, equal within a margin, or open."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from probes.metrics.confidence_intervals import overlap_of, told_interval
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
        "better", "worse", "equal" (within the margin, significantly different from 0 or not),
        "undecided", or "diverged" where the quantity is not finite in any of the method's draws,
        whatever the others say. Where the reference diverged in a draw, the others cannot tell that
        it is better or equal: a method is then "better" or "undecided", and tests of anything else
        are NaN. A better or worse one whose difference is shown to be within the
        margin is "equal": too little to matter, as it was named beforehand.
    """
    found = paired_differences(rows, rows["method"] == reference, [quantity], keys=["method"])
    found = found.rename(columns=lambda name: name.replace(quantity, "difference"))
    known = rows[rows["method"] == reference].set_index("draw")[quantity]
    p_values, sound = [], []
    for method in found["method"]:
        own = rows[rows["method"] == method].set_index("draw")[quantity]
        sound.append(bool(np.isfinite(own.to_numpy(np.float64)).all()))
        differences, references = (own - known).align(known, join="inner")
        p_values.append(
            equivalence_p_value(differences, margin * references, overlap=overlap_of(rows))
        )
    found["equivalent_holm"] = holm(p_values)
    found.loc[~np.array(sound, bool), "difference_holm"] = np.nan
    if not np.isfinite(known.to_numpy(np.float64)).all():
        found["equivalent_holm"] = np.nan
        found.loc[found["difference"] >= 0, "difference_holm"] = np.nan
    found["verdict"] = [
        _verdict(*values) if finite else "diverged"
        for finite, *values in zip(
            sound,
            found["difference"],
            found["difference_holm"],
            found["equivalent_holm"],
            strict=True,
        )
    ]
    return found


def below_chance(rows: pd.DataFrame, methods: Sequence[str]) -> bool | None:
    """Whether a method is detectably better than the best constant prediction.

    Args:
        rows: one a method and draw, with ``method``, ``test_loss`` and ``chance_risk``, the loss of
            the best constant prediction on the same examples; ``n`` and ``pool`` as above.
        methods: of which the one with the least mean loss counts.

    Returns:
        Whether the 95 % interval of chance less loss, paired over draws, lies above 0; None where
        chance was not measured, or the interval is not known.
    """
    if "chance_risk" not in rows:
        return None
    own = rows[rows["method"].isin(methods)]
    losses = own.groupby("method")["test_loss"].mean().dropna()
    if losses.empty:
        return None
    best = own[own["method"] == losses.idxmin()]
    _, low, _ = told_interval(best["chance_risk"] - best["test_loss"], overlap=overlap_of(best))
    return None if np.isnan(low) else bool(low > 0)


def _verdict(difference: float, different: float, equivalent: float) -> str:
    if equivalent <= LEVEL:
        return "equal"
    if different <= LEVEL:
        return "better" if difference < 0 else "worse"
    return "undecided"

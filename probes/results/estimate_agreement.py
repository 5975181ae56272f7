"""Estimated effects of leaving an example out, beside retraining without it."""

from typing import Any

import pandas as pd

from probes.metrics.confidence_intervals import mean_interval

#: How estimated effects compare with retrained ones.
AGREEMENT = (
    "pearson", "spearman", "beta_estimated", "beta_retrained", "bias", "beta_corrected",
)  # fmt: skip
#: Estimates are trusted in their order from this rank correlation on, in their size up to this
#: relative bias of beta; nothing is said of fewer checked examples.
TRUSTED_RANKS, TRUSTED_BIAS, FEWEST_CHECKED = 0.8, 0.1, 8


def agreement(group: pd.DataFrame) -> dict[str, float]:
    """Compare the estimates of one cell and inference mode with retraining, where it was done.

    Args:
        group: rows of the cell; ``loss_retrained`` is missing where it was not.

    Returns:
        The columns of ``AGREEMENT``, and ``checked``, the number of examples.
    """
    change = group["loss_left_out"] - group["loss_kept"]
    checked = group["loss_retrained"].notna()
    estimated = change[checked]
    retrained = (group["loss_retrained"] - group["loss_kept"])[checked]
    sizes = estimated.abs().mean(), retrained.abs().mean()
    return {
        "checked": len(estimated),
        "pearson": estimated.corr(retrained),
        # Of the ranks, which is the same and says nothing where one of the two is constant.
        "spearman": estimated.rank().corr(retrained.rank()),
        "beta_estimated": sizes[0],
        "beta_retrained": sizes[1],
        "bias": sizes[0] / sizes[1] - 1,
        "beta_corrected": change.abs().mean() * sizes[1] / sizes[0],
    }


def agreement_over_draws(group: pd.DataFrame) -> dict[str, Any]:
    """Average over draws what :func:`agreement` says of each, and say what estimates are good for.

    Args:
        group: one row a draw, with the columns of :func:`agreement`.

    Returns:
        ``draws``, ``checked``, means of ``AGREEMENT`` with 95 % Student intervals, ``verdict``.
    """
    record: dict[str, Any] = {"draws": len(group), "checked": int(group["checked"].iloc[0])}
    for name in AGREEMENT:
        mean, low, high = mean_interval(group[name])
        record |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return record | {"verdict": _trust(record)}


def _trust(record: dict[str, Any]) -> str:
    """What the estimates may be used for."""
    if record["checked"] < FEWEST_CHECKED:
        return f"not known: fewer than {FEWEST_CHECKED} checked"
    if not record["spearman"] >= TRUSTED_RANKS:
        return "not trustworthy"
    return "order and size" if abs(record["bias"]) <= TRUSTED_BIAS else "order alone"

"""Estimated effects of leaving an example out, beside retraining without it."""

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probes.metrics.confidence_intervals import mean_interval, overlap_of

#: How estimated effects compare with retrained ones.
AGREEMENT = (
    "pearson", "spearman", "beta_estimated", "beta_retrained", "bias", "beta_corrected",
)  # fmt: skip
#: The order of estimates is trusted if the interval of the rank correlation lies above the first
#: number; their size if the interval of the relative bias of beta lies within the second. There is
#: no verdict with fewer checked examples than the third. Of one draw the values count.
TRUSTED_RANKS, TRUSTED_BIAS, FEWEST_CHECKED = 0.8, 0.1, 8
#: Checks that an interval needs, in multiples of the squared skewness of the estimates: with as
#: many, a nominal 95 % interval misses in at most 6 % (Cochran, Sampling Techniques, 3rd edition,
#: section 2.15).
CHECKS_PER_SQUARED_SKEWNESS = 25
#: What the corrected beta is, for captions.
CORRECTED = (
    "corrected: mean estimate over all n, times the ratio of retrained to estimated over all "
    "checked examples; its interval, for the expectation over S, counts draws and checks; there is "
    "none where a few examples make up β, that is with fewer than 25 G² checks in all draws, G the "
    "skewness of the estimates (Cochran)"
)

Array = NDArray[np.float64]


def agreement(group: pd.DataFrame) -> dict[str, float]:
    """Compare the estimates of one cell and inference mode with retraining, where it was done.

    Args:
        group: rows of the cell; ``loss_retrained`` is missing where it was not, and not finite
            where the replica diverged, which does not count as checked.

    Returns:
        The columns of ``AGREEMENT``, and ``checked``, the number of examples.
    """
    estimated, retrained = _changes(group)
    checked = np.isfinite(estimated) & np.isfinite(retrained)
    known, again = pd.Series(estimated[checked]), pd.Series(retrained[checked])
    sizes = known.abs().mean(), again.abs().mean()
    return {
        "checked": int(checked.sum()),
        "pearson": known.corr(again),
        # Pearson's correlation of the ranks is Spearman's; pandas gives NaN where one is constant.
        "spearman": known.rank().corr(again.rank()),
        "beta_estimated": sizes[0],
        "beta_retrained": sizes[1],
        "bias": _ratio(sizes[0], sizes[1]) - 1,
        "beta_corrected": _mean_size(estimated) * _ratio(sizes[1], sizes[0]),
    }


def agreement_over_draws(rows: pd.DataFrame) -> dict[str, Any]:
    """Average over draws what :func:`agreement` says of each, and say what estimates are good for.

    Args:
        rows: of one point of the grid, all draws, as for :func:`agreement`, with ``draw``.

    Returns:
        ``draws``; ``checked`` and ``checked_most``, the fewest and most examples of those draws in
        which any was checked, 0 if none was; means of ``AGREEMENT`` with 95 % Student intervals,
        and ``..._draws``, over how many they are; for ``beta_corrected`` what
        :func:`corrected_beta` returns, without the interval if checks are too few; ``verdict``.
    """
    cells = pd.DataFrame([agreement(group) for _, group in rows.groupby("draw", sort=False)])
    counts = cells.loc[cells["checked"] > 0, "checked"]
    record: dict[str, Any] = {
        "draws": len(cells),
        "checked": int(counts.min()) if len(counts) else 0,
        "checked_most": int(counts.max()) if len(counts) else 0,
    }
    for name in AGREEMENT:
        mean, low, high = mean_interval(cells[name], overlap=overlap_of(rows))
        record |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        record[f"{name}_draws"] = int(np.isfinite(cells[name].to_numpy(np.float64)).sum())
    record |= corrected_beta(rows)
    if record["checks"] < record["checks_needed"]:
        record |= {"beta_corrected_low": float("nan"), "beta_corrected_high": float("nan")}
    return record | {"verdict": _trust(record)}


def corrected_beta(rows: pd.DataFrame) -> dict[str, Any]:
    r"""Beta by the estimates of all examples and the retrained changes of the checked ones.

    A combined ratio estimator: with :math:`\bar e_d` the mean absolute estimate over all examples
    of draw d, :math:`\bar e_{d,k}` and :math:`\bar y_{d,k}` the means of estimated and retrained
    over its checked ones,

    .. math:: \hat\beta=\frac1D\sum_d v_d,\quad v_d=\bar y_{d,k}+R\,(\bar e_d-\bar e_{d,k}),\quad
        R=\sum_d\bar y_{d,k}\Big/\sum_d\bar e_{d,k}.

    It estimates the expectation of :math:`\beta_S` over the draw of S, Definition 4.1. The interval
    is Student's over the :math:`v_d`: to first order in the error of R these differ by the draw of
    S and by the choice of the checked alike. Per-draw ratios would keep their bias however many
    draws there are. Where a few examples make up beta, few checks seldom meet one of them, and no
    interval from these covers.

    Source: Cochran, Sampling Techniques, 3rd edition, sections 6.10 and 6.11 (separate and combined
    ratio estimators) and 2.15 (how many checks an interval needs).

    *Assumes* that the checked are a random choice from S, as the first ones of a draw are.

    Args:
        rows: of one point of the grid, all draws, as for :func:`agreement_over_draws`.

    Returns:
        ``beta_corrected``, its 95 % interval ``..._low`` and ``..._high``, NaN for fewer than two
        draws; ``checks`` and ``checks_needed``, those made and needed in all draws: the latter 25
        times the squared skewness of the absolute estimates. With fewer the interval does not hold.
    """
    means = []
    for _, group in rows.groupby("draw", sort=False):
        estimated, retrained = _changes(group)
        checked = np.isfinite(estimated) & np.isfinite(retrained)
        sizes = (estimated, estimated[checked], retrained[checked])
        means.append([_mean_size(some) for some in sizes])
    whole, known, again = np.array(means).T
    values = again + _ratio(np.nansum(again), np.nansum(known)) * (whole - known)
    mean, low, high = mean_interval(values, overlap=overlap_of(rows))
    estimated, retrained = _changes(rows)
    checks = int((np.isfinite(estimated) & np.isfinite(retrained)).sum())
    needed = _checks_needed(np.abs(estimated[np.isfinite(estimated)]))
    return {
        "beta_corrected": mean, "beta_corrected_low": low, "beta_corrected_high": high,
        "checks": checks, "checks_needed": needed,
    }  # fmt: skip


def _checks_needed(sizes: Array) -> int:
    if not len(sizes) or not sizes.std() > 0:
        return 0
    skewness = float((((sizes - sizes.mean()) / sizes.std()) ** 3).mean())
    return ceil(CHECKS_PER_SQUARED_SKEWNESS * skewness**2)


def _changes(rows: pd.DataFrame) -> tuple[Array, Array]:
    """Changes of the loss, estimated and retrained; not finite where unknown."""
    kept, left_out, retrained = (
        rows[name].to_numpy(np.float64) for name in ("loss_kept", "loss_left_out", "loss_retrained")
    )
    with np.errstate(invalid="ignore"):
        return left_out - kept, retrained - kept


def _mean_size(changes: Array) -> float:
    """Mean absolute change of those that are finite; NaN if none is."""
    finite = changes[np.isfinite(changes)]
    return float(np.abs(finite).mean()) if len(finite) else float("nan")


def _ratio(one: float, other: float) -> float:
    return float(one / other) if other else float("nan")


def _trust(record: dict[str, Any]) -> str:
    """What the estimates may be used for."""
    if record["checked"] < FEWEST_CHECKED:
        return f"not known: fewer than {FEWEST_CHECKED} checked"
    if not record["spearman"] >= TRUSTED_RANKS:
        return "not trustworthy"
    if min(_with_interval(record, "spearman")) < TRUSTED_RANKS:
        return "undecided"
    bias = max(map(abs, _with_interval(record, "bias")), default=float("nan"))
    return "order and size" if bias <= TRUSTED_BIAS else "order alone"


def _with_interval(record: dict[str, Any], name: str) -> list[float]:
    """A mean and the ends of its interval, as far as they are known."""
    values = [record[name], record[f"{name}_low"], record[f"{name}_high"]]
    return [value for value in values if np.isfinite(value)]

"""Which learning rate and stopping time a method gets, by the draws that tune."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtr

from probes.metrics.confidence_intervals import mean_and_error
from probes.metrics.multiple_comparisons import LEVEL

SETTING = ["strength", "lr", "share"]


def tuned_settings(tuning: pd.DataFrame, keys: tuple[str, ...] = ("method",)) -> pd.DataFrame:
    """Choose the learning rate and the stopping time of every strength, and the strength.

    The setting with the least mean loss over the draws is chosen. One that diverged in any draw is
    not, unless all did.

    Args:
        tuning: one row a method, setting and draw: ``keys``, ``strength``, ``lr``, ``share`` and
            ``validation_loss``, which may be infinite.
        keys: columns that tell methods apart.

    Returns:
        One row a method and strength, in order of first appearance: the keys, ``strength``, ``lr``,
        ``share``, ``validation_loss`` (mean) and ``chosen``, true for one strength of each method.

    >>> rows = pd.DataFrame({"method": "a", "strength": 0.0, "lr": [1.0, 2.0], "share": 1.0,
    ...                      "validation_loss": [0.5, 0.25]})
    >>> tuned_settings(rows)["lr"].tolist()
    [2.0]
    """
    by_setting = [*keys, *SETTING]
    known = tuning.assign(validation_loss=tuning["validation_loss"].fillna(np.inf))
    losses = known.groupby(by_setting, sort=False)["validation_loss"].mean().reset_index()
    best = losses.loc[
        losses.groupby([*keys, "strength"], sort=False)["validation_loss"].idxmin()
    ].reset_index(drop=True)
    winners = best.groupby(list(keys), sort=False)["validation_loss"].idxmin()
    return best.assign(chosen=best.index.isin(winners))


def ends_of_the_grid(
    tuning: pd.DataFrame, tuned: pd.DataFrame, keys: tuple[str, ...] = ("method",)
) -> dict[str, pd.DataFrame]:
    """Find the chosen settings beyond which a better one may lie, that was not tried.

    A rate that is small enough is made up for by more steps, and a large one by fewer: a rate is an
    end only where the stopping time is one as well. Below the smallest strength lies plain LoRA.

    Args:
        tuning: as for :func:`tuned_settings`.
        tuned: what that returned.
        keys: columns that tell methods apart.

    Returns:
        For each kind of end, in words, the rows of ``tuned`` that are chosen and lie there.

    >>> rows = pd.DataFrame({"method": "a", "strength": 0.0, "lr": [1.0, 2.0], "share": 1.0,
    ...                      "validation_loss": [0.5, 0.25]})
    >>> [len(there) for there in ends_of_the_grid(rows, tuned_settings(rows)).values()]
    [0, 1, 0]
    """
    chosen = tuned[tuned["chosen"]].set_index(list(keys))
    tried = tuning.groupby(list(keys))[SETTING]
    first, last = (
        chosen[SETTING].eq(end.reindex(chosen.index)) for end in (tried.min(), tried.max())
    )
    ends = {
        "the largest strength": last["strength"] & (chosen["strength"] > 0),
        "the largest learning rate and the last step": last["lr"] & last["share"],
        "the smallest learning rate and the first stop": first["lr"] & first["share"],
    }
    return {end: chosen[there].reset_index() for end, there in ends.items()}


def lucky_draws(
    tuning: ArrayLike, fresh: ArrayLike, *, overlaps: tuple[float, float] = (0.0, 0.0)
) -> bool:
    """Whether a setting does detectably worse on fresh draws than on those that chose it.

    Then these say little of it, and another setting may be much better: all that is compared with
    it is compared with something that was tuned badly.

    Args:
        tuning: losses of the setting, one a draw that tuned; values that are not finite are left
            out. Where these draws and the fresh ones come from different examples, losses less
            those of other methods on the same draw: the examples of one part may be harder.
        fresh: likewise, on fresh draws.
        overlaps: correlation of two draws that tuned, and of two fresh ones, as for
            :func:`probes.metrics.confidence_intervals.mean_interval`.

    Returns:
        Whether the mean over fresh draws is larger: Welch's one-sided test at 5 %. False where it
        cannot be made, as with a single draw.

    >>> lucky_draws([0.1, 0.2, 0.1], [0.8, 1.1, 0.7, 0.9]), lucky_draws([0.1], [0.8, 1.1])
    (True, False)
    """
    before, after = (
        mean_and_error(values, overlap)
        for values, overlap in zip((tuning, fresh), overlaps, strict=True)
    )
    if min(before[2], after[2]) < 2 or not 0 < before[1] + after[1] < np.inf:
        return False
    variances = np.square([before[1], after[1]])
    # Welch's degrees of freedom, by Satterthwaite's rule.
    shares = variances / variances.sum()
    freedom = 1 / float((shares**2 / (np.array([before[2], after[2]]) - 1)).sum())
    larger = (after[0] - before[0]) / float(np.sqrt(variances.sum()))
    return bool(stdtr(freedom, -larger) <= LEVEL)

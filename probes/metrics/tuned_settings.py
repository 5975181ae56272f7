"""Which learning rate and stopping time a method gets, by the draws that tune."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import ttest_ind_from_stats

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


def lucky_draws(tuning: ArrayLike, fresh: ArrayLike) -> bool:
    """Whether a setting does detectably worse on fresh draws than on those that chose it.

    Then these say little of it, and another setting may be much better: all that is compared with
    it is compared with something that was tuned badly.

    Args:
        tuning: losses of the setting, one a draw that tuned; values that are not finite are left
            out.
        fresh: likewise, on fresh draws.

    Returns:
        Whether the mean over fresh draws is larger: Welch's one-sided test at 5 %. False where it
        cannot be made, as with a single draw.

    >>> lucky_draws([0.1, 0.2, 0.1], [0.8, 1.1, 0.7, 0.9]), lucky_draws([0.1], [0.8, 1.1])
    (True, False)
    """
    parts = [np.asarray(values, np.float64) for values in (tuning, fresh)]
    before, after = (part[np.isfinite(part)] for part in parts)
    if min(len(before), len(after)) < 2 or before.std() + after.std() == 0:
        return False
    numbers = [(part.mean(), part.std(ddof=1), len(part)) for part in (after, before)]
    found = ttest_ind_from_stats(*numbers[0], *numbers[1], equal_var=False, alternative="greater")
    return bool(found.pvalue <= LEVEL)

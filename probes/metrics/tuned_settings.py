"""Which learning rate and stopping time a method gets, by the draws that tune."""

import numpy as np
import pandas as pd

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

"""How the leave-one-out changes of the loss are spread: a few examples carry their mean."""

import numpy as np
from numpy.typing import ArrayLike

#: Below this train loss the loss on a training example is next to nothing, so that beta is the
#: leave-one-out loss and says nothing beyond the gap.
SATURATED = 0.05


def change_statistics(change: ArrayLike) -> dict[str, float]:
    """Describe the leave-one-out changes of one draw of S.

    Source: arXiv 2404.09610, Definition 4.1 (beta).

    Args:
        change: signed changes of the left-out examples' losses, at least one, all finite.

    Returns:
        ``beta``, the mean of the absolute changes (Definition 4.1 for this S), ``beta_median``,
        ``beta_q90`` (their upper decile) and ``beta_top_tenth``, the share of their sum that the
        largest tenth has; NaN where nothing changed.

    >>> change_statistics([0.0, -1.0, 1.0, 8.0])["beta_top_tenth"]
    0.8
    """
    size = np.sort(np.abs(np.asarray(change, np.float64)))
    tenth, total = max(1, round(len(size) / 10)), size.sum()
    return {
        "beta": float(size.mean()),
        "beta_median": float(np.median(size)),
        "beta_q90": float(np.quantile(size, 0.9)),
        "beta_top_tenth": float(size[-tenth:].sum() / total) if total > 0 else float("nan"),
    }

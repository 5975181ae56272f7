"""Coverage and size of prediction intervals and sets against the dropout rate."""

import numpy as np
import pandas as pd

from figures.intervals import keep_within, labelled_error_bars
from figures.rate_axis import rate_axis
from figures.style import DASHES, Drawing, style


def draw(summary: pd.DataFrame, caption: str, alpha: float) -> Drawing:
    """Draw the coverage probe.

    Args:
        summary: one row a rate and method: ``p``, ``label`` (the method), ``coverage`` and ``size``
            with their ``_low`` and ``_high``.
        caption: the settings.
        alpha: level of the sets.

    Returns:
        A figure of two panels against p, one curve a method: the coverage, with 1 - alpha (dotted)
        and the guarantee of the jackknife+, 1 - 2 alpha (dashed), and the size.
    """
    with style():
        figure = Drawing(figsize=(9.5, 4.4))
        left, right = figure.subplots(1, 2)
        labelled_error_bars(left, summary, "coverage")
        labelled_error_bars(right, summary, "size")
        left.axhline(1 - alpha, color="0.2", linestyle=DASHES[2], linewidth=1)
        left.axhline(1 - 2 * alpha, color="0.2", linestyle=DASHES[0], linewidth=1)
        left.set(ylabel="coverage  (share of test examples)",
                 title="dotted: 1 - α; dashed: guaranteed, 1 - 2α")  # fmt: skip
        right.set(ylabel="mean width, or classes in a set", title="size")
        keep_within(left, 0, 1)
        keep_within(right, 0, np.inf)
        for axes in (left, right):
            rate_axis(axes, summary["p"])
        figure.keyed(left.get_legend_handles_labels())
        figure.described(caption)
    return figure

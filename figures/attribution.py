"""How well an attribution says what leaving out does, by held-out example."""

import numpy as np
import pandas as pd

from figures.intervals import finite
from figures.style import Drawing, curve_colours, style

#: Edges of the histograms' bins.
EDGES = np.linspace(-1, 1, 41).tolist()


def draw(summary: pd.DataFrame, by_example: pd.DataFrame, caption: str) -> Drawing:
    """Draw the distribution of the scores over the held-out examples.

    Args:
        summary: one row a score: ``score``, ``mean``, ``mean_low``, ``mean_high``.
        by_example: one row a score and held-out example, of every draw of S: ``score``,
            ``held_out``, ``correlation``.
        caption: the settings.

    Returns:
        A figure of one panel a score: a histogram, with the mean and its interval.
    """
    count = len(summary)
    with style():
        figure = Drawing(figsize=(4.5 * count, 3.8))
        panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
        for axes, row, colour in zip(
            panels, summary.to_dict("records"), curve_colours(count), strict=True
        ):
            values = finite(by_example.loc[by_example["score"] == row["score"], "correlation"])
            axes.hist(values[~np.isnan(values)], bins=EDGES, color=colour, edgecolor="white",
                      alpha=0.8)  # fmt: skip
            mean, low, high = finite([row["mean"], row["mean_low"], row["mean_high"]])
            axes.axvline(mean, color="black")
            axes.axvspan(low, high, color="0.5", alpha=0.3)
            axes.set(
                xlabel="rank correlation", xlim=(-1, 1), xticks=(-1, -0.5, 0, 0.5, 1),
                title=f"{row['score']}\n{_in_words(mean, low, high)}",
            )  # fmt: skip
        panels[0].set_ylabel("held-out examples")
        figure.described(caption)
    return figure


def _in_words(mean: float, low: float, high: float) -> str:
    if np.isnan(mean):
        return "not known"
    return f"{mean:.3f}" if np.isnan(low) else f"{mean:.3f} ({low:.3f} to {high:.3f})"

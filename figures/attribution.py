"""How well an attribution says what leaving out does, by held-out example."""

from typing import TYPE_CHECKING

import numpy as np

from figures.style import Drawing, curve_colours, style

if TYPE_CHECKING:
    from probes.attribution import AttributionResult


def draw(result: "AttributionResult") -> Drawing:
    """Draw the distribution of both scores over the held-out examples.

    Returns:
        A figure of one panel a score: a histogram, with the mean and its interval.
    """
    first = result.rows.iloc[0]
    with style():
        figure = Drawing(figsize=(9, 3.8))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (_, row), colour in zip(
            panels, result.summary.iterrows(), curve_colours(2), strict=True
        ):
            found = result.by_example
            values = found.loc[found["score"] == row["score"], "correlation"].dropna()
            axes.hist(values, bins=np.linspace(-1, 1, 41).tolist(), color=colour, alpha=0.8)
            axes.axvline(row["mean"], color="black")
            axes.axvspan(row["mean_low"], row["mean_high"], color="0.5", alpha=0.3)
            axes.set(
                xlabel="rank correlation", xlim=(-1, 1), xticks=(-1, -0.5, 0, 0.5, 1),
                title=f"{row['score']}\n{row['mean']:.3f} "
                f"({row['mean_low']:.3f} to {row['mean_high']:.3f})",
            )  # fmt: skip
        panels[0].set_ylabel("held-out examples")
        figure.suptitle(
            f"{result.setting}, objective dropout, N = 1, p = {first['p']:g}; line and band: mean, "
            "95 % bootstrap interval",
            fontsize="small",
        )
    return figure

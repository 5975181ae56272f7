"""The generalization gap, measured on a test set and estimated without one."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from figures.style import Drawing, curve_colours, style
from probes.metrics.confidence_intervals import mean_interval

#: What is drawn: column, label, marker, place beside p.
CURVES = (
    ("gap", "test loss − train loss", "o", -0.006),
    ("beta_signed", "mean signed leave-one-out difference", "s", 0.006),
)


def draw(table: pd.DataFrame) -> Figure:
    """Draw both sides of the gap identity.

    Args:
        table: ``StabilityResult.table``: one row a cell and inference mode.

    Returns:
        A figure of two panels: both against p with intervals over draws, and draw by draw, for the
        deterministic network.
    """
    cells = table[table["ensemble"] == 0]
    with style():
        figure = Drawing(figsize=(9, 4))
        left, right = figure.subplots(1, 2)
        for (column, label, marker, shift), colour in zip(CURVES, curve_colours(2), strict=True):
            points = cells.groupby("p")[column].apply(mean_interval)
            means = np.array([mean for mean, _, _ in points])
            lows = np.array([low for _, low, _ in points])
            left.errorbar(
                points.index + shift, means, yerr=np.nan_to_num(means - lows), label=label,
                marker=marker, color=colour, capsize=2, linewidth=1.2,
            )  # fmt: skip
        left.set(xlabel="dropout rate p", ylabel="gap  (units of the loss)",
                 title="Means over draws, 95 % intervals")  # fmt: skip
        left.axhline(0, color="0.7", linewidth=0.8)
        left.legend(framealpha=0.9)
        for (p, group), colour in zip(
            cells.groupby("p"), curve_colours(cells["p"].nunique()), strict=True
        ):
            right.plot(
                group["beta_signed"], group["gap"], "o", color=colour, label=f"p = {p:g}", alpha=0.8
            )
        ends = cells[["gap", "beta_signed"]].to_numpy()
        ends = ends[np.isfinite(ends)]
        if len(ends):
            right.plot([ends.min(), ends.max()], [ends.min(), ends.max()], color="0.5", linewidth=1)
        right.set(xlabel="estimate without a test set", ylabel="measured gap",
                  title="Draw by draw; line: equal")  # fmt: skip
        right.legend(framealpha=0.9)
        row = cells.iloc[0]
        figure.suptitle(
            f"{row['task']}, n = {row['n']}, objective {row['objective']}, {row['inference']} "
            "network; the estimate is of the risk at n − 1: larger, in expectation, by what one "
            "example is worth",
            fontsize="small",
        )
    return figure

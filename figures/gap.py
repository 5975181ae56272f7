"""The generalization gap, measured on a test set and estimated without one."""

import pandas as pd
from matplotlib.axes import Axes

from figures.equality_line import equality_line
from figures.intervals import error_bars, finite
from figures.rate_axis import rate_axis
from figures.style import WITHIN, Drawing, curve_colours, looks, style

#: What is drawn: column, label, marker, place beside p.
CURVES = (
    ("gap", "test loss − train loss", "o", -0.006),
    ("gap_estimate", "mean signed leave-one-out difference", "s", 0.006),
)

#: Share of the y axis that a legend above the points takes.
ABOVE = 0.25


def draw(points: pd.DataFrame, cells: pd.DataFrame, caption: str) -> Drawing:
    """Draw both sides of the gap identity.

    Args:
        points: one row a rate: ``p``, and ``gap`` and ``gap_estimate`` with their ``_low``.
        cells: one row a rate and draw: ``p``, ``gap``, ``gap_estimate``.
        caption: the settings.

    Returns:
        A figure of two panels: both against p with intervals over draws, and draw by draw.
    """
    with style():
        figure = Drawing(figsize=(9, 4))
        left, right = figure.subplots(1, 2)
        _means(left, points.sort_values("p"))
        _draws(right, cells)
        if cells["p"].nunique() > WITHIN:
            figure.keyed(right.get_legend_handles_labels())
        else:
            right.legend(framealpha=0.9)
        figure.described(caption)
    return figure


def _means(axes: Axes, points: pd.DataFrame) -> None:
    for (name, label, marker, shift), colour in zip(CURVES, curve_colours(2), strict=True):
        error_bars(axes, points["p"] + shift, points, name, label=label, marker=marker,
                   color=colour, linewidth=1.2)  # fmt: skip
    axes.set(ylabel="gap  (units of the loss)", title="Means over draws")
    rate_axis(axes, points["p"])
    axes.axhline(0, color="0.7", linewidth=0.8)
    if points["p"].nunique() == 1:
        # One rate stands in the middle, where a legend would lie over its intervals.
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + ABOVE * (high - low))
    axes.legend(framealpha=0.9)


def _draws(axes: Axes, cells: pd.DataFrame) -> None:
    rates = list(cells.groupby("p"))
    for (p, group), look in zip(rates, looks(len(rates)), strict=True):
        axes.plot(finite(group["gap_estimate"]), finite(group["gap"]), look.marker,
                  color=look.colour, label=f"p = {p:g}", alpha=0.8)  # fmt: skip
    equality_line(axes, cells[["gap", "gap_estimate"]], "0.5")
    axes.set(xlabel="estimate without a test set", ylabel="measured gap",
             title="Draw by draw; line: equal")  # fmt: skip

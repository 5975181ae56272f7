"""Test risk of the averaged output against the number of members."""

import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import error_bars, finite
from figures.size_axis import size_axis
from figures.style import DASHES, Drawing, looks, style


def draw(summary: pd.DataFrame, caption: str, score_name: str) -> Drawing:
    """Draw the ensemble probe.

    Args:
        summary: one row a rate and size: ``p``, ``ensemble`` (0 for the expected-weight network),
            ``test_loss`` and ``test_score`` with their ``_low``, ``predicted`` (the test loss by
            the 1/N law).
        caption: the settings.
        score_name: what the score is called.

    Returns:
        A figure of two panels against N, one colour a rate: the test loss with its interval, the
        1/N law to second order (dotted) and the expected-weight network (dashed); and the score.
    """
    ensembles = summary[summary["ensemble"] > 0]
    with style():
        figure = Drawing(figsize=(9.5, 4.4))
        left, right = figure.subplots(1, 2)
        _rates(left, summary, "test_loss")
        _rates(right, summary, "test_score")
        rates = list(ensembles.groupby("p"))
        for (_, group), look in zip(rates, looks(len(rates)), strict=True):
            left.plot(group["ensemble"], finite(group["predicted"]), linestyle=DASHES[2],
                      color=look.colour)  # fmt: skip
        left.set(ylabel="test loss", title="dotted: 1/N law; dashed: expected weight")
        right.set(ylabel=f"test {score_name}", title="dashed: expected weight")
        for axes in (left, right):
            size_axis(axes, ensembles["ensemble"], "members N")
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside lower center", ncols=len(rates)
        )
        figure.suptitle(caption, fontsize="small")
    return figure


def _rates(axes: Axes, summary: pd.DataFrame, name: str) -> None:
    """A curve a rate over the sizes, and a level line for the expected-weight network."""
    rates = list(summary.groupby("p"))
    for (p, group), look in zip(rates, looks(len(rates)), strict=True):
        curve = group[group["ensemble"] > 0]
        error_bars(axes, curve["ensemble"], curve, name, color=look.colour, marker=look.marker,
                   label=f"p = {p:g}")  # fmt: skip
        for level in finite(group.loc[group["ensemble"] == 0, name]):
            axes.axhline(level, color=look.colour, linestyle=DASHES[0], linewidth=1)

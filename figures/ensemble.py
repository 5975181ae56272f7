"""Test risk of the averaged output against the number of members, and beside that of rivals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import error_bars, finite, reach
from figures.size_axis import size_axis
from figures.style import DASHES, MARKERS, Drawing, looks, style


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


def draw_rivals(rivals: pd.DataFrame, caption: str) -> Drawing:
    """Draw the mask ensemble beside other ensembles.

    Args:
        rivals: one row a rate and predictor: ``p``, ``predictor``, ``members``; ``change``,
            ``test_loss`` and ``beta`` with their ``_low``; ``bound`` on ``change``, NaN where there
            is none.
        caption: the settings.

    Returns:
        A figure of two panels, a marker a predictor and a colour a rate: the test loss against the
        root mean square change of a predicted probability, with the bound of subbagging as an
        upright line, and against beta.
    """
    with style():
        figure = Drawing(figsize=(9.5, 4.6))
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, name in ((left, "change"), (right, "beta")):
            _cloud(axes, rivals, name)
        bounds = finite(rivals["bound"])
        for bound in set(bounds[np.isfinite(bounds)].tolist()):
            left.axvline(bound, color="0.2", linestyle=DASHES[0], linewidth=1)
        left.set(xlabel="change of a predicted probability, root mean square",
                 ylabel="test loss", title="dashed: bound of subbagging")  # fmt: skip
        right.set(xlabel="β  (units of the loss)", title="left-out example")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        figure.suptitle(caption, fontsize="small")
    return figure


def _cloud(axes: Axes, rivals: pd.DataFrame, name: str) -> None:
    """A point a rate and predictor, with intervals in both directions."""
    rates = list(rivals.groupby("p"))
    colours = looks(len(rates))
    markers = dict(zip(rivals["predictor"].unique(), MARKERS, strict=False))
    for (p, group), look in zip(rates, colours, strict=True):
        for predictor, points in group.groupby("predictor", sort=False):
            axes.errorbar(
                finite(points[name]), finite(points["test_loss"]), reach(points, "test_loss"),
                reach(points, name), color=look.colour, marker=markers[predictor], capsize=2,
                linestyle="", label=f"p = {p:g}, {predictor}",
            )  # fmt: skip


def _rates(axes: Axes, summary: pd.DataFrame, name: str) -> None:
    """A curve a rate over the sizes, and a level line for the expected-weight network."""
    rates = list(summary.groupby("p"))
    for (p, group), look in zip(rates, looks(len(rates)), strict=True):
        curve = group[group["ensemble"] > 0]
        error_bars(axes, curve["ensemble"], curve, name, color=look.colour, marker=look.marker,
                   label=f"p = {p:g}")  # fmt: skip
        for level in finite(group.loc[group["ensemble"] == 0, name]):
            axes.axhline(level, color=look.colour, linestyle=DASHES[0], linewidth=1)

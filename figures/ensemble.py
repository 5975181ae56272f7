"""Test risk of the averaged output against the number of members, and beside that of rivals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import error_bars, finite, keep_within, named_error_bars
from figures.size_axis import size_axis
from figures.style import DASHES, Drawing, looks, style

#: In what rivals are compared, a panel each.
RIVALRY = {
    "change": "change of a probability\n(root mean square)", "test_loss": "test loss",
    "beta": "β  (units of the loss)",
}  # fmt: skip
#: Distance of the rates' points, where predictors are 1 apart.
APART = 0.2


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
        keep_within(right, *((0, 1) if score_name == "accuracy" else (-np.inf, np.inf)))
        figure.keyed(left.get_legend_handles_labels())
        figure.described(caption)
    return figure


def draw_rivals(rivals: pd.DataFrame, caption: str) -> Drawing:
    """Draw the mask ensemble beside other ensembles.

    Args:
        rivals: one row a rate and predictor: ``p``, ``predictor``, ``members``; ``change``,
            ``test_loss`` and ``beta`` with their ``_low``; ``bound`` on ``change``, NaN where there
            is none.
        caption: the settings.

    Returns:
        A figure of a line a predictor, named on the y axis, and three panels: the root mean square
        change of a predicted probability, with the bound of subbagging as an upright line, the test
        loss, and beta; a point a rate with its interval, a marker and a shift a rate.
    """
    rates = list(dict.fromkeys(rivals["p"]))
    with style():
        line = 0.42 * max(1.0, len(rates) / 5)
        figure = Drawing(figsize=(10.5, 1.8 + line * rivals["predictor"].nunique()))
        panels = figure.subplots(1, len(RIVALRY), sharey=True)
        for axes, (name, label) in zip(panels, RIVALRY.items(), strict=True):
            named_error_bars(axes, rivals, name, "predictor", rates, APART)
            axes.set(xlabel=label)
        bounds = finite(rivals["bound"])
        for bound in set(bounds[np.isfinite(bounds)].tolist()):
            panels[0].axvline(bound, color="0.2", linestyle=DASHES[0], linewidth=1)
        panels[0].set(title="dashed: bound of subbagging")
        figure.keyed(panels[0].get_legend_handles_labels())
        figure.described(caption)
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

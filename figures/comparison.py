"""Bounds on the generalization gap side by side, against n, with the gaps that were measured."""

from itertools import cycle
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import finite
from figures.style import DASHES, MARKERS, Drawing, curve_colours, style


def draw(table: pd.DataFrame, caption: str) -> Drawing:
    """Draw the comparison's table.

    Args:
        table: one row a size and bound, in units of the largest possible loss C: ``n``, ``name``,
            ``of`` (whose gap it bounds), ``bound``, ``vacuous``, ``measured`` (that gap),
            ``coverage`` (NaN where the bound is on the mean of the gap) and ``draws`` (0 where n
            was not drawn).
        caption: the settings.

    Returns:
        A figure of one panel: every bound against n, thick where it is not vacuous, with markers
        where it was measured, and the gaps in black, with the marker of the bounds that speak of
        them, filled for a quantile and empty for a mean. Above the line at 1 a bound says nothing;
        below it, it may be vacuous for its train loss.
    """
    table = table.assign(bound=finite(table["bound"]), measured=finite(table["measured"]))
    table = table.sort_values("n", kind="stable")
    names = list(dict.fromkeys(table.sort_index()["name"]))
    markers = dict(zip(dict.fromkeys(table.sort_index()["of"]), cycle(MARKERS), strict=False))
    with style():
        figure = Drawing(figsize=(10, 5))
        axes = figure.subplots()
        for name, colour, dashes in zip(
            names, curve_colours(len(names)), cycle(("-", *DASHES)), strict=False
        ):
            rows = table[table["name"] == name]
            marker = markers[rows["of"].iloc[0]]
            axes.plot(rows["n"], rows["bound"], dashes, color=colour, label=name, linewidth=1)
            telling = rows["bound"].where(~rows["vacuous"].astype(bool))
            axes.plot(rows["n"], telling, dashes, color=colour, linewidth=2.5)
            drawn = rows[rows["draws"] > 0]
            axes.plot(drawn["n"], drawn["bound"], marker, color=colour, markersize=4)
        for of, marker in markers.items():
            own, mean = table["of"] == of, table["coverage"].isna()
            _gaps(axes, table[own & ~mean], f"gap, 1 − δ quantile: {of}", marker, "full")
            _gaps(axes, table[own & mean], f"mean gap: {of}", marker, "none")
        axes.axhline(1, color="0.2", linewidth=1)
        axes.annotate("vacuous above", (1, 1), xycoords=("axes fraction", "data"), ha="right",
                      va="bottom", fontsize="small")  # fmt: skip
        low = min([1e-3, *table.loc[table["measured"] > 0, "measured"]])
        high = min(1e4, 3 * max([1.0, *table["bound"].dropna()]))
        axes.set(xscale="log", yscale="log", xlabel="n", ylabel="gap / C", ylim=(low / 3, high))
        if names:
            figure.legend(loc="outside right center", title="thick: not vacuous")
        figure.suptitle(caption, fontsize="small")
    return figure


def _gaps(
    axes: Axes, rows: pd.DataFrame, label: str, marker: str, fill: Literal["full", "none"]
) -> None:
    """The measured gaps of what some bounds speak of; a logarithmic axis has no place for 0."""
    gaps = rows.loc[rows["measured"] > 0, ["n", "measured"]].drop_duplicates()
    if len(gaps):
        x, y = gaps["n"].to_numpy(np.float64), gaps["measured"].to_numpy()
        axes.plot(x, y, marker, color="black", label=label, markersize=7, fillstyle=fill)

"""Bounds on the generalization gap side by side, against n, with the gaps that were measured."""

from itertools import cycle
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import finite
from figures.style import DASHES, MARKERS, Drawing, curve_colours, style


def draw(table: pd.DataFrame, caption: str, limit: float = 1.0) -> Drawing:
    """Draw the comparison's table.

    Args:
        table: one row a size and bound, in units of the largest possible loss C: ``n``, ``name``,
            ``of`` (whose gap it bounds), ``bound``, ``vacuous``, ``measured`` (that gap),
            ``coverage`` (NaN where the bound is on the mean of the gap) and ``draws`` (0 where n
            was not drawn).
        caption: the settings.
        limit: what a bound and its train loss together must stay below to say anything, in units
            of C: 1, or the error rate of guessing.

    Returns:
        A figure of every bound against n, thick where it is not vacuous, with markers where it was
        measured, and the gaps in black, with the marker of the bounds that speak of them, filled
        for a quantile and empty for a mean. Above the line at the limit a bound says nothing; below
        it, it may be vacuous for its train loss. A second panel, where anything was measured, has
        the sizes that were and what lies below the limit, not in logarithms.
    """
    table = table.assign(bound=finite(table["bound"]), measured=finite(table["measured"]))
    table = table.sort_values("n", kind="stable")
    names = list(dict.fromkeys(table.sort_index()["name"]))
    markers = dict(zip(dict.fromkeys(table.sort_index()["of"]), cycle(MARKERS), strict=False))
    with style():
        drawn = table[table["draws"] > 0]
        figure = Drawing(figsize=(13, 5) if len(drawn) else (10, 5))
        panels = figure.subplots(1, 2 if len(drawn) else 1, squeeze=False)[0]
        for axes, rows in zip(panels, (table, drawn), strict=False):
            _curves(axes, rows, names, markers)
            axes.axhline(limit, color="0.2", linewidth=1)
        axes = panels[0]
        axes.annotate(
            f"vacuous above {limit:.3g}", (1, limit), xycoords=("axes fraction", "data"),
            ha="right", va="bottom", fontsize="small",
        )  # fmt: skip
        low = min([1e-3, *table.loc[table["measured"] > 0, "measured"]])
        high = min(1e4, 3 * max([1.0, *table["bound"].dropna()]))
        axes.set(xscale="log", yscale="log", xlabel="n", ylabel="gap / C", ylim=(low / 3, high))
        if len(drawn):
            _enlarge(panels[1], drawn, limit)
        figure.keyed(axes.get_legend_handles_labels(), title="thick: says something")
        figure.described(caption)
    return figure


def _curves(axes: Axes, table: pd.DataFrame, names: list[str], markers: dict[str, str]) -> None:
    """Every bound and the gaps, over the sizes of a table."""
    for name, colour, dashes in zip(
        names, curve_colours(len(names)), cycle(("-", *DASHES)), strict=False
    ):
        rows = table[table["name"] == name]
        axes.plot(rows["n"], rows["bound"], dashes, color=colour, label=name, linewidth=1)
        telling = rows["bound"].where(~rows["vacuous"].astype(bool))
        axes.plot(rows["n"], telling, dashes, color=colour, linewidth=2.5)
        for of, drawn in rows[rows["draws"] > 0].groupby("of"):
            axes.plot(drawn["n"], drawn["bound"], markers[str(of)], color=colour, markersize=4)
    for of, marker in markers.items():
        own, mean = table["of"] == of, table["coverage"].isna()
        _gaps(axes, table[own & ~mean], f"gap, 1 − δ quantile: {of}", marker, "full")
        _gaps(axes, table[own & mean], f"mean gap: {of}", marker, "none")


def _enlarge(axes: Axes, drawn: pd.DataFrame, limit: float) -> None:
    """Show the sizes that were drawn and what lies below the limit."""
    sizes = sorted(set(drawn["n"]))
    values = np.concatenate([drawn["bound"], drawn["measured"]])
    below = values[values <= limit]
    top = 1.08 * max(below, default=limit)
    axes.set(xscale="log", xlabel="n measured", ylim=(min(0.0, *below, 0.0), top))
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.minorticks_off()


def _gaps(
    axes: Axes, rows: pd.DataFrame, label: str, marker: str, fill: Literal["full", "none"]
) -> None:
    """The measured gaps of what some bounds speak of; a logarithmic axis has no place for 0."""
    gaps = rows.loc[rows["measured"] > 0, ["n", "measured"]].drop_duplicates()
    if len(gaps):
        x, y = gaps["n"].to_numpy(np.float64), gaps["measured"].to_numpy()
        axes.plot(x, y, marker, color="black", label=label, markersize=7, fillstyle=fill)

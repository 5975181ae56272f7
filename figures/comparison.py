"""Bounds on the generalization gap side by side, against n, with the gap that was measured."""

from itertools import cycle

import numpy as np
import pandas as pd

from figures.intervals import finite
from figures.style import DASHES, Drawing, curve_colours, style


def draw(table: pd.DataFrame, caption: str) -> Drawing:
    """Draw the comparison's table.

    Args:
        table: one row a size and bound, in units of the largest possible loss C: ``n``, ``name``,
            ``bound``, ``measured`` (the gap's 1 - delta quantile) and ``draws`` (0 where n was not
            drawn). The measured gap is that of the first bound's rows.
        caption: the settings.

    Returns:
        A figure of one panel: every bound against n, circles where its coverage was measured, the
        measured gap, and the line above which a bound says nothing.
    """
    names = list(dict.fromkeys(table["name"]))
    table = table.sort_values("n")
    with style():
        figure = Drawing(figsize=(9, 5))
        axes = figure.subplots()
        for name, colour, dashes in zip(
            names, curve_colours(len(names)), cycle(("-", *DASHES)), strict=False
        ):
            rows = table[table["name"] == name]
            axes.plot(rows["n"], finite(rows["bound"]), linestyle=dashes, color=colour, label=name)
            drawn = rows[rows["draws"] > 0]
            axes.plot(drawn["n"], finite(drawn["bound"]), "o", color=colour, markersize=4)
        gap = table[(table["name"] == names[0]) & (table["measured"] > 0)]
        axes.plot(gap["n"], finite(gap["measured"]), "kX", label="measured gap, 1 − δ quantile")
        axes.axhline(1, color="0.2", linewidth=1)
        axes.annotate("vacuous above", (1, 1), xycoords=("axes fraction", "data"), ha="right",
                      va="bottom", fontsize="small")  # fmt: skip
        low = np.nanmin([gap["measured"].min(), 1e-3])
        axes.set(xscale="log", yscale="log", xlabel="n", ylabel="gap / C", ylim=(low / 3, 1e4))
        axes.legend(framealpha=0.9, loc="upper right")
        figure.suptitle(caption, fontsize="small")
    return figure

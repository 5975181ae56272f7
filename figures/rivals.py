"""Methods against one another after tuning: what a train loss costs in test loss and stability."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import finite, known, reach
from figures.line_breaks import wrapped
from figures.style import Drawing, Look, looks, style

#: The family whose curve stands in every panel, for comparison.
PLAIN = "plain"
PLAIN_METHOD = "LoRA"
#: Highest value of a panel, in units of that of the worst tuned method.
HIGHEST = 1.3
#: Up to this train loss the axis is linear.
LINEAR = 0.01
ROWS = {"test_loss": "test loss", "beta": "β  (units of the loss)"}


def draw(frontier: pd.DataFrame, tuned: pd.DataFrame, margin: float, caption: str) -> Drawing:
    """Draw the frontiers.

    Args:
        frontier: one row a method and strength, means over draws: ``method``, ``family``,
            ``strength``, ``share`` (of the steps), ``train_loss``, ``test_loss``, ``beta``.
        tuned: one row a method: the same, with ``test_loss_low`` and ``beta_low``, and the paired
            ``difference`` of the test loss to LoRA with ``difference_low`` and ``verdict``.
        margin: of equivalence, in units of the loss.
        caption: the settings.

    Returns:
        A figure with a column a family and a row each for test loss and, where there is one, beta,
        against train loss:
        a curve a method over its strengths, and a large mark with an interval where it is tuned.
        LoRA stands in every panel, in black, over its stopping times. Below them the differences.
    """
    # LoRA stands in every panel; where it was measured alone, in one of its own.
    others = tuned[tuned["method"] != PLAIN_METHOD]
    families = [one for one in others["family"].unique() if one != PLAIN] or [PLAIN]
    sizes = [others.loc[others["family"] == family, "method"].nunique() for family in families]
    shown = {name: label for name, label in ROWS.items() if name in tuned}
    # In inches: the panels, the legends below them, and the differences.
    heights = 2.6 * len(shown), 0.5 + 0.19 * (1 + max(sizes)), 1.1 + 0.21 * (len(tuned) - 1)
    with style():
        figure = Drawing(figsize=(10, sum(heights) + 0.8))
        parts: Any = figure.subfigures(2, 1, height_ratios=(heights[0] + heights[1], heights[2]))
        top, bottom = parts
        panels = top.subplots(
            len(shown) + 1, len(families), squeeze=False, sharex="row", sharey="row",
            height_ratios=[2.6] * len(shown) + [heights[1]],
        )  # fmt: skip
        for column, family in enumerate(families):
            names = list(dict.fromkeys(others.loc[others["family"] == family, "method"]))
            for axes, name in zip(panels[:-1, column], shown, strict=True):
                _curve(axes, frontier, tuned, PLAIN_METHOD, name, Look((0.0, 0.0, 0.0), "*", "-"))
                for method, look in zip(names, looks(len(names)), strict=True):
                    _curve(axes, frontier, tuned, method, name, look)
            panels[0, column].set_title("\n".join(wrapped(family, 30)))
            panels[-2, column].set_xlabel("train loss")
            keys = panels[-2, column].get_legend_handles_labels()
            panels[-1, column].legend(*keys, loc="upper center", framealpha=0.9)
            panels[-1, column].set_axis_off()
        for axes, (name, label) in zip(panels[:-1, 0], shown.items(), strict=True):
            axes.set_ylabel(label)
            axes.set_ylim(0, HIGHEST * _largest(tuned[name]) or None)
            most = HIGHEST * _largest(tuned["train_loss"])
            # Train losses go to 0, where a logarithm would not. Within its linear part it has no
            # numbers but its ends.
            if most > LINEAR:
                axes.set_xscale("symlog", linthresh=LINEAR)
            axes.set_xlim(0, most or None)
        _differences(bottom.subplots(), tuned, margin)
        figure.described(caption)
    return figure


def _largest(values: "pd.Series[float]") -> float:
    """The largest finite value; 0 where there is none."""
    return float(np.nanmax([*finite(values), 0.0]))


def _differences(axes: Axes, tuned: pd.DataFrame, margin: float) -> None:
    """Draw the paired difference of every tuned method to tuned LoRA, the least at the top."""
    rows = tuned[tuned["method"] != PLAIN_METHOD].sort_values("difference", ascending=False)
    heights = np.arange(len(rows))
    marks = {"better": "o", "worse": "X", "equal": "s"}
    for verdict, marker in (*marks.items(), ("undecided", "D")):
        own = (rows["verdict"] == verdict).to_numpy()
        if own.any():
            axes.errorbar(
                finite(rows["difference"][own]), heights[own],
                xerr=reach(rows[own], "difference"), color="black", marker=marker, linestyle="",
                capsize=3, markerfacecolor="white" if verdict == "undecided" else "black",
                label=verdict,
            )  # fmt: skip
    axes.axvline(0, color="0.2", linewidth=1)
    if np.isfinite(margin):
        axes.axvspan(-margin, margin, color="0.85", zorder=0, label="margin of equivalence")
    axes.set_yticks(heights, rows["method"])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set(xlabel="test loss less that of tuned LoRA", title="Tuned, paired over draws")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), framealpha=0.9)


def _curve(
    axes: Axes, frontier: pd.DataFrame, tuned: pd.DataFrame, method: str, name: str, look: Look
) -> None:
    """Draw a method's curve, and where it is tuned."""
    curve = known(frontier[frontier["method"] == method], ["train_loss", name])
    curve = curve.sort_values(["strength", "share"])
    axes.plot(curve["train_loss"], curve[name], look.dash, color=look.colour, marker=look.marker,
              markersize=3, linewidth=1)  # fmt: skip
    point = tuned[tuned["method"] == method]
    axes.errorbar(
        finite(point["train_loss"]), finite(point[name]), yerr=reach(point, name),
        color=look.colour, marker=look.marker, markersize=9, markeredgecolor="white",
        linestyle=look.dash, capsize=3, label=method,
    )  # fmt: skip

"""Stability against train loss: LoRA Dropout and the controls without it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import finite, keep_within, known, labelled_error_bars
from figures.rate_axis import rate_axis
from figures.style import Drawing, looks, style

#: The variant whose value is p, and the control that ends at no training at all.
DROPOUT, UNTRAINED = "dropout", "early stopping"
#: How far right of a point and above it its rate begins, and the size of such a name, in points.
BESIDE, NAME = 6.0, (44.0, 12.0)
#: Distance in p of the controls' points, so that their intervals stay apart.
APART = 0.01


def draw(points: pd.DataFrame, decision: pd.DataFrame, caption: str) -> Drawing:
    """Draw the comparison at matched train loss.

    Args:
        points: one row a variant and value, means over draws: ``variant`` ("dropout" or a
            control), ``value`` (p, or how far the control goes), ``train_loss``, ``beta``.
        decision: one row a rate and control: ``p``, ``variant``, ``difference``,
            ``difference_low``.
        caption: the settings.

    Returns:
        A figure of two panels: left, beta against train loss, a curve a control and a marker a
        rate; right, the paired difference of each control to dropout with its interval: above 0,
        dropout is the more stable at equal train loss.
    """
    with style():
        figure = Drawing(figsize=(10, 4.6))
        left, right = figure.subplots(1, 2)
        _controls(left, points)
        _dropout(left, points[points["variant"] == DROPOUT])
        left.set(xlabel="train loss", ylabel="β  (units of the loss)",
                 title="Stability against train loss, means over draws")  # fmt: skip
        keep_within(left, 0, np.inf)
        _name_rates(left, points[points["variant"] == DROPOUT])
        _differences(right, decision)
        curves, marks = left.get_legend_handles_labels(), right.get_legend_handles_labels()
        figure.keyed((curves[0] + marks[0], curves[1] + marks[1]))
        figure.described(caption)
    return figure


def _controls(axes: Axes, points: pd.DataFrame) -> None:
    controls = list(points[points["variant"] != DROPOUT].groupby("variant", sort=False))
    names = [name for name, _ in controls]
    # Too strong a weight decay diverges: what is worse than no training at all is not shown.
    limits = (DROPOUT, UNTRAINED if UNTRAINED in names else names[0])
    largest = known(points[points["variant"].isin(limits)], ["train_loss"])["train_loss"].max()
    for (name, group), look in zip(controls, looks(len(controls)), strict=True):
        curve = group[group["train_loss"] <= largest].sort_values("train_loss")
        axes.plot(
            curve["train_loss"], finite(curve["beta"]), linestyle=look.dash, color=look.colour,
            label=f"p = 0, {name}",
        )  # fmt: skip


def _dropout(axes: Axes, points: pd.DataFrame) -> None:
    points = known(points, ["train_loss", "beta"])
    axes.plot(
        points["train_loss"], points["beta"], "X", color="black", markersize=8, label="dropout",
        linestyle="",
    )  # fmt: skip


def _name_rates(axes: Axes, points: pd.DataFrame) -> None:
    """Write every point's rate beside it, above the names of near points that have their place."""
    points = known(points, ["train_loss", "beta"]).sort_values("beta", kind="stable")
    places = axes.transData.transform(points[["train_loss", "beta"]])
    places *= 72 / axes.figure.dpi
    taken: list[tuple[float, float]] = []
    for point, (x, y) in zip(points.to_dict("records"), places, strict=True):
        height = y + BESIDE
        for other, above in sorted(taken, key=lambda name: name[1]):
            if abs(x - other) < NAME[0] and abs(height - above) < NAME[1]:
                height = above + NAME[1]
        taken.append((x, height))
        moved = height > y + BESIDE
        axes.annotate(
            f"p = {point['value']:g}", (point["train_loss"], point["beta"]),
            xytext=(BESIDE, height - y), textcoords="offset points", fontsize="small",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.7} if moved else None,
        )  # fmt: skip


def _differences(axes: Axes, decision: pd.DataFrame) -> None:
    labelled_error_bars(axes, decision, "difference", "variant", APART, linestyle="")
    axes.axhline(0, color="0.2", linewidth=1)
    axes.set(ylabel="β of the control − β with dropout",
             title="At the same train loss; above 0 dropout is stabler")  # fmt: skip
    rate_axis(axes, decision["p"])

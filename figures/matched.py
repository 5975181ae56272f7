"""Stability against train loss: LoRA Dropout and the controls without it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.style import DASHES, MARKERS, Drawing, curve_colours, style
from probes.cells.matched_controls import CONTROLS


def draw(rows: pd.DataFrame, decision: pd.DataFrame) -> Drawing:
    """Draw the comparison at matched train loss.

    Args:
        rows: ``MatchedResult.rows``: one row a trained, stopped or shrunk network.
        decision: ``MatchedResult.decision("beta")``.

    Returns:
        A figure of two panels, for the smallest n: left, means over draws of beta against train
        loss, a curve a control and a marker a rate; right, the paired difference of each control
        to dropout with its interval: above 0, dropout is the more stable at equal train loss.
    """
    size = rows["n"].min()
    rows, decision = rows[rows["n"] == size], decision[decision["n"] == size]
    with style():
        figure = Drawing(figsize=(10, 4.6))
        left, right = figure.subplots(1, 2)
        _curves(left, rows)
        _differences(right, decision)
        first = rows.iloc[0]
        figure.suptitle(
            f"{first['task']}, n = {first['n']}, {rows['draw'].nunique()} draws of S, objective "
            f"dropout, expected-weight network, {first['steps']} steps; 95 % intervals over draws",
            fontsize="small",
        )
    return figure


def _curves(axes: Axes, rows: pd.DataFrame) -> None:
    points = {
        str(variant): group.groupby("value")[["train_loss", "beta"]].mean()
        for variant, group in rows.groupby("variant")
    }
    dropped = points["dropout"]
    # Too strong a weight decay diverges: what is worse than no training at all is not shown.
    largest = max(points[CONTROLS[0]]["train_loss"].max(), dropped["train_loss"].max())
    for variant, colour, dashes in zip(
        CONTROLS, curve_colours(len(CONTROLS)), ("-", *DASHES), strict=True
    ):
        curve = points[variant].sort_values("train_loss")
        curve = curve[curve["train_loss"] <= largest]
        axes.plot(
            curve["train_loss"], curve["beta"], linestyle=dashes, color=colour,
            label=f"p = 0, {variant}",
        )  # fmt: skip
    axes.plot(
        dropped["train_loss"], dropped["beta"], "X", color="black", markersize=8, label="dropout"
    )
    for p, point in dropped.iterrows():
        axes.annotate(
            f"p = {p:g}", (point["train_loss"], point["beta"]), xytext=(-8, -16),
            textcoords="offset points", fontsize="small",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    axes.set(xlabel="train loss", ylabel="β  (units of the loss)", ylim=(0, None),
             title="Stability against train loss, means over draws")  # fmt: skip
    axes.legend(framealpha=0.9)


def _differences(axes: Axes, decision: pd.DataFrame) -> None:
    variants = list(dict.fromkeys(decision["variant"]))
    for number, (variant, colour, marker) in enumerate(
        zip(variants, curve_colours(len(variants)), MARKERS, strict=False)
    ):
        group = decision[decision["variant"] == variant]
        shift = 0.01 * (number - (len(variants) - 1) / 2)
        half = np.nan_to_num(group["difference"] - group["difference_low"])
        axes.errorbar(
            group["p"] + shift, group["difference"], yerr=half, linestyle="", marker=marker,
            color=colour, capsize=2, label=variant,
        )  # fmt: skip
    axes.axhline(0, color="0.2", linewidth=1)
    axes.set(xlabel="dropout rate p", ylabel="β of the control − β with dropout",
             title="At the same train loss; above 0 dropout is stabler")  # fmt: skip
    axes.legend(framealpha=0.9)

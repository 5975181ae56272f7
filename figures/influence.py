"""Estimated effects of leaving an example out, against retraining without it."""

import pandas as pd
from matplotlib.figure import Figure

from figures.style import MARKERS, Drawing, curve_colours, style


def draw(rows: pd.DataFrame) -> Figure:
    """Draw every checked example of every draw, a panel a task.

    Args:
        rows: of results whose effects are estimated and checked, of one task or several: ``task``,
            ``p``, ``ensemble``, ``loss_kept``, ``loss_left_out``, ``loss_retrained`` and settings.

    Returns:
        A figure of one panel a task: the change of the example's loss by one Newton step against
        that by retraining, on axes that are linear near 0 and logarithmic beyond.
    """
    shown = rows[(rows["ensemble"] == 0) & rows["loss_retrained"].notna()]
    tasks = list(shown["task"].unique())
    with style():
        figure = Drawing(figsize=(0.5 + 4.5 * len(tasks), 4.6))
        for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            group = shown[shown["task"] == task]
            retrained = group["loss_retrained"] - group["loss_kept"]
            estimated = group["loss_left_out"] - group["loss_kept"]
            rates = sorted(group["p"].unique())
            for p, colour, marker in zip(
                rates, curve_colours(len(rates)), MARKERS * len(rates), strict=False
            ):
                own = group["p"] == p
                rank = estimated[own].rank().corr(retrained[own].rank())
                axes.plot(
                    retrained[own], estimated[own], marker, color=colour, alpha=0.5, markersize=4,
                    label=f"p = {p:g}: rank correlation {rank:.2f}",
                )  # fmt: skip
            ends = [min(retrained.min(), estimated.min()), max(retrained.max(), estimated.max())]
            axes.plot(ends, ends, color="0.3", linewidth=1)
            near = max(float(retrained.abs().median()), 1e-6)
            axes.set_xscale("symlog", linthresh=near)
            axes.set_yscale("symlog", linthresh=near)
            first = group.iloc[0]
            axes.set(
                xlabel="change of the loss by retraining", ylabel="estimate, one Newton step",
                title=(
                    f"{task}, n = {first['n']}, {group['draw'].nunique()} draws of S\n"
                    f"objective {first['objective']}, N = {first['samples']}, "
                    f"{first['steps']} steps, damping {first['damping']:g}"
                ),
            )  # fmt: skip
            axes.legend(loc="upper left", framealpha=0.9)
        figure.suptitle(
            "change of an example's loss when it is left out; line: equal", fontsize="small"
        )
    return figure

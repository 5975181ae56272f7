"""What LoRA Dropout's parts do: test loss and stability of every variant."""

import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import distance, dodge, finite, reach
from figures.style import Drawing, looks, style

#: What is drawn, a column of panels each.
LABELS = {"test_loss": "test loss", "beta": "β  (units of the loss)"}
#: Distance of the rates' points, where the variants are 1 apart.
APART = 0.16
#: Height of a variant in inches, at one rate.
HEIGHT = 0.24


def draw(summary: pd.DataFrame, caption: str) -> Drawing:
    """Draw the ablation.

    Args:
        summary: one row a part, variant and rate: ``part``, ``variant``, ``p``, and ``test_loss``
            and ``beta`` with their ``_low``.
        caption: the settings.

    Returns:
        A figure of a column for the test loss and one for beta, a row a part, so that all parts
        have one scale: a point a variant with its interval, a marker a rate.
    """
    parts = list(summary.groupby("part", sort=False))
    rates = list(dict.fromkeys(summary["p"]))
    sizes = [group["variant"].nunique() for _, group in parts]
    with style():
        apart = HEIGHT * (1 + 0.25 * (len(rates) - 1))
        figure = Drawing(figsize=(9, 1.6 + sum(apart * size + 0.45 for size in sizes)))
        panels = figure.subplots(
            len(parts), len(LABELS), sharex="col", sharey="row", squeeze=False,
            height_ratios=sizes,
        )  # fmt: skip
        for (part, group), row in zip(parts, panels, strict=True):
            for axes, name in zip(row, LABELS, strict=True):
                _variants(axes, group, name, rates)
            row[0].set_title(str(part), loc="left", fontweight="bold")
        for axes, label in zip(panels[-1], LABELS.values(), strict=True):
            axes.set_xlabel(label)
        if len(rates) > 1:
            figure.keyed(panels[0][0].get_legend_handles_labels())
        figure.described(caption)
    return figure


def _variants(axes: Axes, part: pd.DataFrame, name: str, rates: list[float]) -> None:
    """A line of the y axis a variant, the first on top."""
    variants = list(dict.fromkeys(part["variant"]))
    shifts = dodge(len(rates), distance(len(rates), APART))
    for p, look, shift in zip(rates, looks(len(rates)), shifts, strict=True):
        group = part[part["p"] == p]
        places = [variants.index(variant) + shift for variant in group["variant"]]
        axes.errorbar(
            finite(group[name]), places, xerr=reach(group, name), linestyle="", marker=look.marker,
            color=look.colour, capsize=2, label=f"p = {p:g}",
        )  # fmt: skip
    axes.set_yticks(range(len(variants)), variants)
    axes.set_ylim(len(variants) - 0.5, -0.5)

"""What LoRA Dropout's parts do: test loss and stability of every variant."""

import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import dodge, finite, reach
from figures.style import Drawing, looks, style

#: What is drawn, a row of panels each.
LABELS = {"test_loss": "test loss", "beta": "β  (units of the loss)"}
#: Distance of the rates' points, where the variants are 1 apart.
APART = 0.16


def draw(summary: pd.DataFrame, caption: str) -> Drawing:
    """Draw the ablation.

    Args:
        summary: one row a part, variant and rate: ``part``, ``variant``, ``p``, and ``test_loss``
            and ``beta`` with their ``_low``.
        caption: the settings.

    Returns:
        A figure of a row for the test loss and one for beta, a column a part: a point a variant
        with its interval, a marker a rate.
    """
    parts = list(summary.groupby("part", sort=False))
    rates = list(dict.fromkeys(summary["p"]))
    with style():
        figure = Drawing(figsize=(4 * max(3, len(parts)), 6))
        panels = figure.subplots(2, len(parts), sharey="col", squeeze=False)
        for row, (name, label) in zip(panels, LABELS.items(), strict=True):
            for (_, group), axes in zip(parts, row, strict=True):
                _variants(axes, group, name, rates)
                axes.set(xlabel=label)
        for (part, _), axes in zip(parts, panels[0], strict=True):
            axes.set_title(str(part))
        if len(rates) > 1:
            panels[0][0].legend(framealpha=0.9)
        figure.suptitle(caption, fontsize="small")
    return figure


def _variants(axes: Axes, part: pd.DataFrame, name: str, rates: list[float]) -> None:
    """A line of the y axis a variant, the first on top."""
    variants = list(dict.fromkeys(part["variant"]))
    shifts = dodge(len(rates), APART)
    for p, look, shift in zip(rates, looks(len(rates)), shifts, strict=True):
        group = part[part["p"] == p]
        places = [variants.index(variant) + shift for variant in group["variant"]]
        axes.errorbar(
            finite(group[name]), places, xerr=reach(group, name), linestyle="", marker=look.marker,
            color=look.colour, capsize=2, label=f"p = {p:g}",
        )  # fmt: skip
    axes.set_yticks(range(len(variants)), variants)
    axes.set_ylim(len(variants) - 0.5, -0.5)

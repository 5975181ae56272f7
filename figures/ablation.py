"""What LoRA Dropout's parts do: test loss and stability of every variant."""

import pandas as pd

from figures.intervals import named_error_bars
from figures.style import Drawing, style

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
                named_error_bars(axes, group, name, "variant", rates, APART)
            row[0].set_title(str(part), loc="left", fontweight="bold")
        for axes, label in zip(panels[-1], LABELS.values(), strict=True):
            axes.set_xlabel(label)
        if len(rates) > 1:
            figure.keyed(panels[0][0].get_legend_handles_labels())
        figure.described(caption)
    return figure

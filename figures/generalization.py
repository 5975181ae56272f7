"""The generalization gap against n, one curve a rate, with the bound of Theorem 4.4."""

import pandas as pd

from figures.intervals import dodge, error_bars, finite
from figures.legible_axes import scale_logarithmically
from figures.size_axis import size_axis
from figures.style import DASHES, Drawing, looks, style

#: Distance of the curves' points, relative to n.
APART = 0.02


def draw(points: pd.DataFrame, caption: str, strength: float, delta: float) -> Drawing:
    """Draw the gap against the number of training examples.

    Args:
        points: one row a size and rate: ``n``, ``p``, ``gap`` with ``gap_low``, ``gap_estimate``
            (without a test set), ``bound`` (Theorem 4.4; NaN where its assumption fails).
        caption: the settings.
        strength: lambda of the bound.
        delta: failure probability of the bound.

    Returns:
        A figure of two panels: the gap, measured and, dotted, without a test set; and the same on
        a logarithmic scale with the bound, dashed.
    """
    rates = list(points.sort_values("n").groupby("p"))
    shifts = 1 + dodge(len(rates), APART)
    with style():
        figure = Drawing(figsize=(9.5, 4.4))
        left, right = figure.subplots(1, 2)
        for (p, curve), look, shift in zip(rates, looks(len(rates)), shifts, strict=True):
            for axes in (left, right):
                error_bars(axes, curve["n"] * shift, curve, "gap", color=look.colour,
                           marker=look.marker, label=f"p = {p:g}")  # fmt: skip
            # Marks beside the lines: of a single n there is no line.
            hollow = {"color": look.colour, "marker": look.marker, "markerfacecolor": "none"}
            left.plot(curve["n"] * shift, finite(curve["gap_estimate"]), DASHES[2], **hollow)
            right.plot(curve["n"], finite(curve["bound"]), DASHES[0], **hollow)
        left.set(
            title="measured; dotted, hollow: without a test set", ylabel="gap  (units of the loss)"
        )
        title = f"dashed, hollow: Theorem 4.4, λ = {strength:g}, δ = {delta:g}"
        right.set(title=title, ylabel="gap")
        scale_logarithmically(right)
        for axes in (left, right):
            size_axis(axes, points["n"], "n")
        figure.keyed(left.get_legend_handles_labels())
        figure.described(caption)
    return figure

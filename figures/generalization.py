"""The generalization gap against n, one curve a rate, with the bound of Theorem 4.4."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from figures.style import DASHES, MARKERS, Drawing, curve_colours, style
from probes.metrics.confidence_intervals import mean_interval
from probes.results.bounds_table import bounds


def draw(table: pd.DataFrame, strengths: Sequence[float], delta: float) -> Drawing:
    """Draw the generalization probe's table.

    Args:
        table: ``StabilityResult.table`` over several n: one row a cell and inference mode.
        strengths: values of lambda for which the bound is drawn; the largest is.
        delta: failure probability of Theorem 4.4.

    Returns:
        A figure of two panels: the gap of the deterministic network, measured and, dashed, without
        a test set; and the same on a logarithmic scale with the bound at the largest lambda.
    """
    cells = table[table["ensemble"] == 0]
    stated = bounds(cells, strengths, delta)
    theorem = stated[
        (stated["statement"] == "Theorem 4.4") & (stated["strength"] == max(strengths))
    ]
    rates = sorted(cells["p"].unique())
    with style():
        figure = Drawing(figsize=(9.5, 4.4))
        left, right = figure.subplots(1, 2)
        for number, (p, colour, marker) in enumerate(
            zip(rates, curve_colours(len(rates)), MARKERS * len(rates), strict=False)
        ):
            group = cells[cells["p"] == p]
            shift = 1 + 0.02 * (number - (len(rates) - 1) / 2)
            for axes in (left, right):
                points = group.groupby("n")["gap"].apply(mean_interval)
                means = np.array([mean for mean, _, _ in points])
                half = np.nan_to_num(means - np.array([low for _, low, _ in points]))
                axes.errorbar(points.index * shift, means, yerr=half, color=colour, marker=marker,
                              capsize=2, label=f"p = {p:g}")  # fmt: skip
            estimate = group.groupby("n")["beta_signed"].mean()
            left.plot(estimate.index * shift, estimate, linestyle=DASHES[2], color=colour)
            bound = theorem[theorem["p"] == p].groupby("n")["bound"].mean()
            right.plot(bound.index, bound, linestyle=DASHES[0], color=colour)
        left.set(title="measured; dotted: without a test set", ylabel="gap  (units of the loss)")
        right.set(title=f"dashed: Theorem 4.4, λ = {max(strengths):g}, δ = {delta:g}",
                  yscale="log", ylabel="gap")  # fmt: skip
        for axes in (left, right):
            axes.set(xscale="log", xlabel="n")
            axes.set_xticks(sorted(cells["n"].unique()), sorted(cells["n"].unique()), minor=False)
            axes.minorticks_off()
        left.legend(framealpha=0.9)
        first = cells.iloc[0]
        figure.suptitle(
            f"{first['task']}, {cells['draw'].nunique()} draws of S, objective "
            f"{first['objective']}, {first['inference']} network, {first['steps']} steps; 95 % "
            "intervals over draws",
            fontsize="small",
        )
    return figure

"""Measured stability and gap against p, with the bounds as lines. Drawn from the table alone."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from figures.style import DASHES, MARKERS, curve_colours, style
from theory import sparsity, sparsity_gap_bound, stability_bound

#: Rates at which the bounds are drawn.
GRID = 181


def draw(table: pd.DataFrame, strengths: Sequence[float], delta: float) -> Figure:
    """Draw the stability probe's table.

    Args:
        table: ``StabilityResult.table``: one row a cell and inference mode.
        strengths: values of lambda for which the bounds are drawn.
        delta: failure probability of Theorem 4.4.

    Returns:
        A figure of two panels: β with Proposition 4.2, the gap with Theorem 4.4.
    """
    with style():
        figure = Figure(figsize=(9, 4.6))
        left, right = figure.subplots(1, 2)
        _measured(left, table, "beta")
        _measured(right, table, "gap")
        _bounds(left, right, table, strengths, delta)
        left.set(ylabel="pointwise hypothesis stability β  (loss)", title="Stability, Prop. 4.2")
        right.set(ylabel="test loss − train loss", title=f"Generalization gap, Thm. 4.4, δ = {delta:g}")
        for axes in (left, right):
            axes.set(xlabel="dropout rate p", xlim=(-0.03, 1.0))
            axes.set_yscale("symlog" if _has_negative(axes) else "log")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        figure.suptitle(_caption(table), fontsize="small")
    return figure


def mean_and_half_width(values: pd.Series, level: float = 0.95) -> tuple[float, float]:
    """Mean over draws and half the width of Student's interval; NaN for a single draw."""
    finite = values[np.isfinite(values)].to_numpy()
    if len(finite) < 2:
        return float(finite.mean()) if len(finite) else float("nan"), float("nan")
    return float(finite.mean()), float(
        stats.t.ppf((1 + level) / 2, len(finite) - 1) * stats.sem(finite)
    )


def _measured(axes: Axes, table: pd.DataFrame, quantity: str) -> None:
    modes = list(table.groupby(["ensemble", "inference"]))
    for ((ensemble, inference), group), colour, marker in zip(
        modes, curve_colours(len(modes)), MARKERS, strict=False
    ):
        points = group.groupby("p")[quantity].apply(mean_and_half_width)
        means = [mean for mean, _ in points]
        # A single draw has no interval; a bar of no length says so.
        halves = [0.0 if np.isnan(half) else half for _, half in points]
        label = f"ensemble, N = {ensemble}" if ensemble else f"{inference} network"
        axes.errorbar(
            points.index, means, yerr=halves, label=label, color=colour, marker=marker, capsize=3
        )


def _bounds(
    left: Axes, right: Axes, table: pd.DataFrame, strengths: Sequence[float], delta: float
) -> None:
    """Draw the bounds with the quantities of the deterministic network, between its rates."""
    cells = table[table["ensemble"] == 0].groupby("p")
    known = cells[["lipschitz", "curvature", "loss_bound_used"]].mean().sort_index()
    n = int(table["n"].iloc[0])
    rates = np.linspace(0, 1, GRID)
    lipschitz, curvature, ceiling = (
        np.interp(rates, known.index, known[name]) for name in known.columns
    )
    for strength, dashes in zip(strengths, DASHES * len(strengths), strict=False):
        convex = curvature + 2 * strength * sparsity(rates) > 0
        if not convex.any():
            continue
        arguments = {
            "lipschitz": lipschitz[convex],
            "curvature": curvature[convex],
            "strength": strength,
            "p": rates[convex],
            "n": n,
        }
        label = f"bound, λ = {strength:g}"
        line = {"color": "0.35", "linestyle": dashes, "label": label}
        left.plot(rates[convex], stability_bound(**arguments), **line)
        theorem = sparsity_gap_bound(**arguments, loss_bound=ceiling[convex], delta=delta)
        right.plot(rates[convex], theorem, **line)
    right.plot(rates, ceiling, color="0.6", linewidth=1, label="C: vacuous above")
    right.annotate("C: vacuous above", (0.98, ceiling[-1]), ha="right", va="bottom", fontsize="small")


def _has_negative(axes: Axes) -> bool:
    return any((np.asarray(line.get_ydata()) <= 0).any() for line in axes.lines)


def _caption(table: pd.DataFrame) -> str:
    row = table.iloc[0]
    draws = table["draw"].nunique()
    rescale = "rescaled" if row["rescale"] else "not rescaled"
    return (
        f"{row['task']}, n = {row['n']}, {draws} draws of S, objective {row['objective']}, masks "
        f"{rescale}, rank {row['rank']}, {row['steps']} steps; points: mean over draws, 95 % intervals\n"
        "bounds: η, Λ_min and C as measured at each p, interpolated between"
    )

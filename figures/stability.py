"""Measured stability and gap against p, and the bounds far above. Drawn from the table alone."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import DASHES, MARKERS, Colour, Drawing, curve_colours, style
from probes.metrics.confidence_intervals import mean_interval
from probes.metrics.labels import inference_label
from theory import sparsity, sparsity_gap_bound, stability_bound

#: How far apart in p the curves of one quantity are set, so that their intervals stay apart.
DODGE = 0.008
#: Rates at which the bounds are drawn where a single rate was measured.
RATES = np.linspace(0, 1, 101)


def draw(table: pd.DataFrame, strengths: Sequence[float], delta: float) -> Figure:
    """Draw the stability probe's table.

    Args:
        table: ``StabilityResult.table``: one row a cell and inference mode.
        strengths: values of lambda for which the bounds are drawn.
        delta: failure probability of Theorem 4.4.

    Returns:
        A figure of four panels: β and the gap as measured, one curve an inference mode, on a linear
        scale; below, on a logarithmic one, those of the deterministic network with the bounds.
    """
    deterministic = table[table["ensemble"] == 0]
    with style():
        figure = Drawing(figsize=(9, 7.2))
        (top_left, top_right), (left, right) = figure.subplots(2, 2)
        colours = curve_colours(table["ensemble"].nunique())
        _measured(top_left, table, "beta", colours)
        _measured(top_right, table, "gap", colours)
        _measured(left, deterministic, "beta", colours)
        _measured(right, deterministic, "gap", colours)
        _bounds(left, right, deterministic, strengths, delta)
        top_left.set(
            ylabel="β  (units of the loss)", title="Pointwise hypothesis stability, measured"
        )
        top_right.set(ylabel="test loss − train loss", title="Generalization gap, measured")
        left.set(ylabel="β", title="with the bound of Proposition 4.2", yscale="log")
        right.set(ylabel="gap", title=f"with the bound of Theorem 4.4, δ = {delta:g}", yscale="log")
        for axes in (top_left, top_right, left, right):
            axes.set(xlabel="dropout rate p", xlim=(-0.03, 1.0))
        for axes in (top_left, top_right):
            axes.axhline(0, color="0.7", linewidth=0.8)
        for axes in (left, right):
            # Room for the legend above the curves.
            axes.set_ylim(top=100 * axes.get_ylim()[1])
        for axes in (top_left, left, right):
            axes.legend(loc="upper right", framealpha=0.9)
        figure.suptitle(_caption(table), fontsize="small")
    return figure


def _measured(axes: Axes, table: pd.DataFrame, quantity: str, colours: list[Colour]) -> None:
    modes = list(table.groupby(["ensemble", "inference"]))
    for number, (((ensemble, inference), group), colour, marker) in enumerate(
        zip(modes, colours, MARKERS * len(modes), strict=False)
    ):
        points = group.groupby("p")[quantity].apply(mean_interval)
        means = [mean for mean, _, _ in points]
        # A single draw has no interval; a bar of no length says so.
        halves = [0.0 if np.isnan(low) else mean - low for mean, low, _ in points]
        label = inference_label(ensemble, f"{inference} network")  # type: ignore[arg-type]
        shift = DODGE * (number - (len(modes) - 1) / 2)
        axes.errorbar(
            points.index + shift, means, yerr=halves, label=label, color=colour, marker=marker,
            capsize=2, linewidth=1.2,
        )  # fmt: skip


def _bounds(
    left: Axes, right: Axes, table: pd.DataFrame, strengths: Sequence[float], delta: float
) -> None:
    """Draw the bounds at the rates that were measured, where their assumption holds."""
    columns = ["lipschitz", "curvature", "loss_bound_used"]
    known = table.groupby("p")[columns].mean().sort_index()
    if len(known) == 1:
        # One rate gives no line: continue its quantities over all rates, as the caption says.
        known = pd.DataFrame([known.iloc[0]] * len(RATES), index=RATES)
    n = int(table["n"].iloc[0])
    for strength, dashes, marker in zip(strengths, cycle(DASHES), cycle("x+1"), strict=False):
        convex = known["curvature"] + 2 * strength * sparsity(known.index) > 0
        usable = known[convex]
        arguments: dict[str, Any] = {
            "lipschitz": usable["lipschitz"],
            "curvature": usable["curvature"],
            "strength": strength,
            "p": usable.index,
            "n": n,
        }
        label = f"bound, λ = {strength:g}" + (": no point is convex" if len(usable) == 0 else "")
        line: dict[str, Any] = {"color": "0.35", "linestyle": dashes, "label": label}
        if len(known) < len(RATES):
            line["marker"] = marker
        left.plot(usable.index, stability_bound(**arguments), **line)
        ceiling = usable["loss_bound_used"]
        theorem = sparsity_gap_bound(**arguments, loss_bound=ceiling, delta=delta)
        right.plot(usable.index, theorem, **line)
    ceiling = known["loss_bound_used"]
    right.plot(ceiling.index, ceiling, color="0.65", linewidth=1, label="C: vacuous above")


def _caption(table: pd.DataFrame) -> str:
    row = table.iloc[0]
    draws = table["draw"].nunique()
    rescale = "rescaled" if row["rescale"] else "not rescaled"
    where = (
        "at the means of η, Λ_min and C measured at each p"
        if table["p"].nunique() > 1
        else f"with η, Λ_min and C as measured at p = {row['p']:g}, whatever p"
    )
    return (
        f"{row['task']}, n = {row['n']}, {draws} draws of S, objective {row['objective']}, masks "
        f"{rescale}, rank {row['rank']}, {row['steps']} steps; points: means over draws, "
        f"95 % intervals\nbounds: {where}; missing where the regularized Hessian is not positive"
    )

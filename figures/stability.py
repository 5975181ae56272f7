"""Measured stability and gap against p, and the bounds far above. Drawn from tables alone."""

from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import dodge, error_bars, finite, known
from figures.legible_axes import scale_logarithmically
from figures.rate_axis import rate_axis
from figures.style import DASHES, Drawing, Look, looks, style

#: How far apart in p the curves of one quantity are set, so that their intervals stay apart.
DODGE = 0.008


def draw(
    points: pd.DataFrame, bounds: pd.DataFrame, ceiling: pd.DataFrame, caption: str, delta: float
) -> Drawing:
    """Draw measured stability and gap, and the bounds.

    Args:
        points: one row an inference mode and rate: ``label`` (of the mode), ``deterministic``
            (whether it is the network that the bounds are drawn for), ``p``, and ``beta`` and
            ``gap`` with their ``_low``.
        bounds: one row a lambda and rate where the bounds' assumption holds: ``strength``
            (lambda), ``p``, ``stability_bound``, ``gap_bound``, ``continued`` (whether one measured
            rate was continued over all p). A lambda without any such rate has one row of NaN, and
            no curve.
        ceiling: one row a rate: ``p``, ``loss_bound`` (C).
        caption: the settings.
        delta: failure probability of Theorem 4.4.

    Returns:
        A figure of four panels: β and the gap as measured, one curve an inference mode, on a linear
        scale; below, on a logarithmic one, those of the deterministic network with the bounds.
    """
    labels = list(dict.fromkeys(points["label"]))
    modes = dict(zip(labels, looks(len(labels)), strict=True))
    deterministic = points[points["deterministic"]]
    with style():
        figure = Drawing(figsize=(10.5, 7.2))
        (top_left, top_right), (left, right) = figure.subplots(2, 2)
        for measured, beside, name in ((top_left, left, "beta"), (top_right, right, "gap")):
            _measured(measured, points, name, modes)
            measured.axhline(0, color="0.7", linewidth=0.8)
            _measured(beside, deterministic, name, modes)
        _bounds(left, bounds, "stability_bound")
        _bounds(right, bounds, "gap_bound")
        right.plot(ceiling["p"], finite(ceiling["loss_bound"]), color="0.65", linewidth=1,
                   label="C: vacuous above")  # fmt: skip
        top_left.set(
            ylabel="β  (units of the loss)", title="Pointwise hypothesis stability, measured"
        )
        top_right.set(ylabel="test loss − train loss", title="Generalization gap, measured")
        left.set(ylabel="β", title="with the bound of Proposition 4.2")
        right.set(ylabel="gap", title=f"with the bound of Theorem 4.4, δ = {delta:g}")
        for axes in (top_left, top_right, left, right):
            rate_axis(axes, points["p"])
        for axes in (left, right):
            scale_logarithmically(axes)
            if bounds["continued"].eq(True).any():
                rate_axis(axes, (0, 0.2, 0.4, 0.6, 0.8, 1.0))
            # They cannot be seen in this style, and take as long as all else.
            axes.minorticks_off()
        handles = dict(zip(*reversed(right.get_legend_handles_labels()), strict=True))
        handles |= dict(zip(*reversed(top_left.get_legend_handles_labels()), strict=True))
        figure.keyed((list(handles.values()), list(handles)))
        figure.described(caption)
    return figure


def _measured(axes: Axes, points: pd.DataFrame, name: str, modes: dict[str, Look]) -> None:
    curves = list(points.sort_values("p").groupby("label"))
    curves.sort(key=lambda curve: list(modes).index(str(curve[0])))
    for (label, curve), shift in zip(curves, dodge(len(curves), DODGE), strict=True):
        look = modes[str(label)]
        error_bars(axes, curve["p"] + shift, curve, name, label=label, color=look.colour,
                   marker=look.marker, linewidth=1.2)  # fmt: skip


def _bounds(axes: Axes, bounds: pd.DataFrame, name: str) -> None:
    """A line a lambda, at the rates where the bounds' assumption holds."""
    for (strength, group), dashes, marker in zip(
        bounds.groupby("strength", sort=False), cycle(DASHES), cycle("x+1"), strict=False
    ):
        curve = known(group, [name]).sort_values("p")
        if not len(curve):
            continue
        marks = "" if group["continued"].any() else marker
        axes.plot(curve["p"], curve[name], color="0.35", linestyle=dashes, marker=marks,
                  label=f"bound, λ = {strength:g}")  # fmt: skip

"""Estimated effects of leaving an example out, against retraining without it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import SymmetricalLogLocator

from figures.equality_line import equality_line
from figures.intervals import known
from figures.style import Drawing, looks, style

#: Numbers of the x axis, of which twice as many would write over each other.
SIDE_BY_SIDE = 6


def draw(rows: pd.DataFrame, caption: str) -> Drawing:
    """Draw every checked example of every draw, a panel a task.

    Args:
        rows: one row a checked example, of one task or several: ``task``, ``n``, ``p``, ``draw``,
            ``objective``, ``samples``, ``steps``, ``lr``, ``damping``, and its loss under the
            network trained on S (``loss_kept``), without it by the estimate (``loss_left_out``) and
            by retraining (``loss_retrained``).
        caption: what the figure shows.

    Returns:
        A figure of one panel a task: the change of the example's loss by one Newton step against
        that by retraining, on axes that are linear near 0 and logarithmic beyond, or linear where
        the changes pass no power of ten; rank correlations are means over draws.
    """
    changes = rows.assign(
        retrained=rows["loss_retrained"] - rows["loss_kept"],
        estimated=rows["loss_left_out"] - rows["loss_kept"],
    )
    tasks = list(changes.groupby("task", sort=False))
    with style():
        figure = Drawing(figsize=(max(7.0, 0.5 + 4.5 * len(tasks)), 5.0))
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axes, (task, group) in zip(panels, tasks, strict=True):
            _examples(axes, group)
            if len(tasks) > 1:
                axes.legend(loc="upper left", framealpha=0.9)
            axes.set(xlabel="change of the loss by retraining", ylabel="estimate, one Newton step",
                     title=str(task) if len(tasks) > 1 else "")  # fmt: skip
        if len(tasks) == 1:
            figure.keyed(panels[0].get_legend_handles_labels())
        settings = [f"{task}, {_settings(group)}" for task, group in tasks]
        figure.described("\n".join([*settings, caption]))
    return figure


def _examples(axes: Axes, changes: pd.DataFrame) -> None:
    # A replica that diverged was not checked: it is no point, and has no rank.
    found = known(changes, ["retrained", "estimated"])
    rates = list(changes.groupby("p"))
    for (p, _), look in zip(rates, looks(len(rates)), strict=True):
        shown = found[found["p"] == p]
        ranks = [
            draw["estimated"].rank().corr(draw["retrained"].rank())
            for _, draw in shown.groupby("draw")
        ]
        rank = pd.Series(ranks, dtype=float).mean()
        said = "unknown" if pd.isna(rank) else f"{rank:.2f}"
        axes.plot(shown["retrained"], shown["estimated"], look.marker, color=look.colour,
                  markerfacecolor="none", markersize=4,
                  label=f"p = {p:g}: rank correlation {said}")  # fmt: skip
    equality_line(axes, found[["retrained", "estimated"]], "0.3")
    _scale(axes, found)


def _scale(axes: Axes, found: pd.DataFrame) -> None:
    """Let both axes be linear near 0 and logarithmic beyond, where this leaves them two numbers."""
    sizes = found["retrained"].abs()
    largest = np.fmax(sizes.max(), found["estimated"].abs().max())
    # Four decades at most, as ticks on both sides of a narrow linear part write over each other.
    near = float(np.fmax(np.fmax(sizes.median(), 1e-4 * largest), 1e-6)) if largest > 0 else 1.0
    # A power of ten: there is then no tick within the linear part beside 0.
    near = 10.0 ** np.ceil(np.log10(near))
    if not largest > near:
        return
    axes.set_xscale("symlog", linthresh=near)
    locator = axes.xaxis.get_major_locator()
    assert isinstance(locator, SymmetricalLogLocator)
    locator.set_params(numticks=SIDE_BY_SIDE)
    axes.set_yscale("symlog", linthresh=near)
    if min(_in_view(axis) for axis in (axes.xaxis, axes.yaxis)) < 2:
        axes.set(xscale="linear", yscale="linear")


def _in_view(axis: Axis) -> int:
    """How many numbers an axis shows."""
    low, high = sorted(axis.get_view_interval())
    return sum(low <= place <= high for place in axis.get_majorticklocs())


def _settings(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    draws = rows["draw"].nunique()
    return (
        f"n = {first['n']}, {draws} draw{'' if draws == 1 else 's'} of S, objective "
        f"{first['objective']}, N = {first['samples']}, {first['steps']} steps, learning rate "
        f"{first['lr']:g}, damping {first['damping']:g}"
    )

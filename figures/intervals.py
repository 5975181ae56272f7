"""Means and their intervals, as error bars and as bands: columns x, x_low and perhaps x_high."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from figures.style import Look, looks

Reals = NDArray[np.float64]


def finite(values: ArrayLike) -> Reals:
    """The values, NaN for what is not finite: a run that diverged has no place on an axis.

    >>> finite([1.0, float("inf")]).tolist()
    [1.0, nan]
    """
    reals = np.asarray(values, np.float64)
    return np.where(np.isfinite(reals), reals, np.nan)


def known(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The rows whose numbers in the named columns are all finite.

    Args:
        table: of numbers.
        names: of its columns.

    Returns:
        Those rows, with all columns.

    >>> known(pd.DataFrame({"gap": [1.0, float("nan")], "p": [0.1, 0.2]}), ["gap"])["p"].tolist()
    [0.1]
    """
    return table.loc[np.isfinite(table[names].to_numpy(np.float64)).all(axis=1)]


def reach(table: pd.DataFrame, name: str) -> Reals:
    """How far an interval reaches below and above its mean, (2, rows).

    Without ``_high`` it is symmetric. A single draw has no interval; a length of 0 says so.

    Args:
        table: with ``name``, ``name_low`` and, unless the interval is symmetric, ``name_high``.
        name: of the quantity.

    Returns:
        Lengths below and above the mean, in units of the quantity, (2, rows).

    >>> reach(pd.DataFrame({"gap": [1.0, 2.0], "gap_low": [0.5, float("nan")]}), "gap").tolist()
    [[0.5, 0.0], [0.5, 0.0]]
    """
    means = finite(table[name])
    below = means - finite(table[f"{name}_low"])
    above = finite(table[f"{name}_high"]) - means if f"{name}_high" in table else below
    return np.nan_to_num([below, above])


def error_bars(axes: Axes, places: ArrayLike, table: pd.DataFrame, name: str, **look: Any) -> None:
    """Draw a column at the places on the x axis, with its intervals upright.

    Args:
        axes: where.
        places: one a row.
        table: with the column ``name``, and where it has intervals ``name_low`` and perhaps
            ``name_high``.
        name: column that is drawn.
        **look: of ``Axes.errorbar``.
    """
    lengths = reach(table, name) if f"{name}_low" in table else None
    axes.errorbar(
        np.asarray(places), finite(table[name]), yerr=lengths, **({"capsize": 2} | look)
    )  # fmt: skip


def keep_within(axes: Axes, least: float, most: float) -> None:
    """Cut the y axis where the quantity ends: Student's intervals reach beyond.

    Where all that is drawn lies beyond, nothing is cut.

    Args:
        axes: whose y axis.
        least: smallest value that the quantity can have; minus infinity if there is none.
        most: largest, likewise.
    """
    low, high = axes.get_ylim()
    if high <= least or low >= most:
        return
    # Room for half a marker at the ends.
    room = 0.02 * (min(high, most) - max(low, least))
    axes.set_ylim(max(low, least - room), min(high, most + room))


#: Share of the way to the next line that the points of one line take, where lines are 1 apart.
WIDEST = 0.8


def distance(count: int, apart: float) -> float:
    """How far points of one line stand from each other, so that other lines' stay apart.

    Args:
        count: number of points of a line; the next line is at 1.
        apart: distance of neighbours where there is room for it.

    Returns:
        The distance.

    >>> distance(2, 0.16), distance(8, 0.16)
    (0.16, 0.1)
    """
    return min(apart, WIDEST / max(1, count))


def dodge(count: int, apart: float) -> Reals:
    """Shifts that set the points of several curves beside one another, around 0.

    Args:
        count: number of curves.
        apart: distance of neighbours, in units of the axis.

    Returns:
        One shift a curve, (count,).

    >>> dodge(3, 0.1).tolist()
    [-0.1, 0.0, 0.1]
    """
    return np.asarray(apart * (np.arange(count) - (count - 1) / 2), np.float64)


def labelled_error_bars(
    axes: Axes, table: pd.DataFrame, name: str, by: str = "label", apart: float = 0.006, **look: Any
) -> None:
    """Draw a column against the dropout rate p, a curve a label in order of appearance.

    Args:
        axes: where.
        table: columns ``by``, ``p``, ``name``, ``name_low`` and perhaps ``name_high``.
        name: column that is drawn.
        by: column of the labels.
        apart: distance in p of the curves, so that their intervals stay apart.
        **look: of ``Axes.errorbar``, in the place of the curve's own.
    """
    curves = list(table.groupby(by, sort=False))
    for (label, curve), own, shift in zip(
        curves, looks(len(curves)), dodge(len(curves), apart), strict=True
    ):
        said = {"color": own.colour, "marker": own.marker, "linestyle": own.dash, "label": label}
        error_bars(axes, curve["p"] + shift, curve, name, **(said | look))


def named_error_bars(
    axes: Axes, table: pd.DataFrame, name: str, by: str, rates: Sequence[float], apart: float
) -> None:
    """Draw a column across, a line of the y axis a name, the first on top, and a marker a rate.

    Args:
        axes: where.
        table: columns ``by``, ``p``, ``name``, ``name_low`` and perhaps ``name_high``.
        name: column that is drawn.
        by: column of the names.
        rates: all that the figure has, in order: a rate looks alike in all its panels.
        apart: distance of the rates' points, where lines are 1 apart and there is room for it.
    """
    lines = list(dict.fromkeys(table[by]))
    shifts = dodge(len(rates), distance(len(rates), apart))
    for p, look, shift in zip(rates, looks(len(rates)), shifts, strict=True):
        group = table[table["p"] == p]
        places = [lines.index(line) + shift for line in group[by]]
        axes.errorbar(
            finite(group[name]), places, xerr=reach(group, name), linestyle="", marker=look.marker,
            color=look.colour, capsize=2, label=f"p = {p:g}",
        )  # fmt: skip
    axes.set_yticks(range(len(lines)), lines)
    axes.set_ylim(len(lines) - 0.5, -0.5)


def band(axes: Axes, curve: pd.DataFrame, name: str, label: str, look: Look, every: int) -> None:
    """Draw a column against the step, with its interval as a band.

    Args:
        axes: where.
        curve: columns ``step``, ``name``, ``name_low`` and ``name_high``.
        name: column that is drawn.
        label: legend text.
        look: of the curve.
        every: steps from a marker to the next.
    """
    axes.plot(curve["step"], finite(curve[name]), look.dash, color=look.colour, marker=look.marker,
              markevery=every, label=label)  # fmt: skip
    ends = finite(curve[f"{name}_low"]), finite(curve[f"{name}_high"])
    # Its edges have the curve's dash: where bands lie over each other, one sees whose is whose.
    axes.fill_between(curve["step"], *ends, facecolor=(*look.colour, 0.08), linewidth=0.6,
                      edgecolor=(*look.colour, 0.7), linestyle=look.dash)  # fmt: skip

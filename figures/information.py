"""The generalization gap and every bound on it, over n and over p, each curve named at its end."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from figures.intervals import dodge, error_bars, finite
from figures.rate_axis import rate_axis
from figures.size_axis import size_axis
from figures.style import DASHES, MARKERS, Drawing, curve_colours, style

#: Least distance of two names, as a share of a panel's height.
NAME_HEIGHT = 0.062
#: Distance of the curves' points, relative to n and to the range of p.
APART = 0.012
#: The row that the measured gap is taken from: all bounds from selections have the same.
MEASURED = "e-CMI"


def draw(table: pd.DataFrame, caption: str) -> Drawing:
    """Draw the gap and the bounds in units of the largest possible loss C.

    Args:
        table: one row a size, rate and bound: ``n``, ``p``, ``name``, ``bound`` and ``gap`` with
            ``_low`` and ``_high``, and ``loss_bound`` (C), in units of the loss; NaN where there is
            none.
        caption: the settings.

    Returns:
        A figure of two columns, over n at the smallest p above 0 and over p at the middle n, of
        which one that would have a single place is left out. Below,
        from 0 to C, is what says something; above, on a logarithmic scale, what does not. A bound
        that has a value at fewer than two places of a column is left out there, unless the column
        has but one place.
    """
    scaled = _in_units_of_c(table)
    sizes, rates = sorted(table["n"].unique()), sorted(table["p"].unique())
    rate = next((p for p in rates if p > 0), rates[0])
    size = sizes[len(sizes) // 2]
    names = _by_size(scaled)
    columns = [
        ("n", sizes, scaled[scaled["p"] == rate], f"p = {rate:g}"),
        ("p", rates, scaled[scaled["n"] == size], f"n = {size}"),
    ]
    # Over a single place there is nothing to see that the other column has not.
    columns = [column for column in columns if len(column[1]) > 1] or columns[:1]
    with style():
        figure = Drawing(figsize=(2.2 + 3.3 * len(columns), 5.3))
        panels = figure.subplots(
            2, len(columns), sharex="col", height_ratios=(1, 2.4), squeeze=False
        )
        layout = figure.get_layout_engine()
        assert isinstance(layout, ConstrainedLayoutEngine)
        layout.set(hspace=0.0, h_pad=0.03)
        for column, (key, places, rows, title) in zip(panels.T, columns, strict=True):
            _axes(column, key, places, scaled)
            _column(column, key, rows.sort_values(key), names, places)
            column[0].set_title(title)
        panels[1, 0].set_ylabel("gap / C")
        figure.described(caption)
    return figure


def _in_units_of_c(table: pd.DataFrame) -> pd.DataFrame:
    columns = [f"{name}{end}" for name in ("bound", "gap") for end in ("", "_low", "_high")]
    scaled = table.copy()
    scaled[columns] = scaled[columns].div(scaled["loss_bound"], axis=0)
    return scaled


def _by_size(table: pd.DataFrame) -> list[str]:
    """The bounds' names, from the smallest bound to the largest; those without any value last."""
    middle = table.assign(bound=finite(table["bound"])).groupby("name", sort=False)["bound"]
    return list(middle.median().sort_values(kind="stable").index)


def _column(
    panels: Sequence[Axes], key: str, rows: pd.DataFrame, names: Sequence[str],
    places: Sequence[float],
) -> None:  # fmt: skip
    """Draw one column; its two panels show the same curves, of which each holds a part."""
    gap = rows[rows["name"] == MEASURED]
    ends: dict[str, tuple[float, float]] = {}
    # Beside one another, the gap in the middle: a wide interval would hide all others.
    shifts = list(dodge(len(names) + 1, APART))
    middle = shifts.pop(len(names) // 2)

    def moved(at: pd.Series, shift: float) -> pd.Series:
        return at * (1 + shift) if key == "n" else at + shift * (places[-1] - places[0] or 1)

    marks = dict(zip(names, zip(curve_colours(len(names)), MARKERS * 2, strict=False), strict=True))
    for number, name in enumerate(names):
        curve = rows[(rows["name"] == name) & np.isfinite(finite(rows["bound"]))]
        if len(curve) < min(2, len(places)):
            continue
        (colour, marker), dash = marks[name], ("-", *DASHES)[number % 4]
        for axes in panels:
            error_bars(axes, moved(curve[key], shifts[number]), curve, "bound", color=colour,
                       marker=marker, linestyle=dash, label=name, linewidth=1.4)  # fmt: skip
        ends[name] = (curve[key].iloc[-1], curve["bound"].iloc[-1])
    for axes in panels:
        error_bars(axes, moved(gap[key], middle), gap, "gap", color="black", marker="X",
                   markersize=8, linewidth=2.2, label="measured gap", zorder=5)  # fmt: skip
    known = gap[np.isfinite(finite(gap["gap"]))]
    if len(known):
        ends["measured gap"] = (known[key].iloc[-1], known["gap"].iloc[-1])
    colours = {name: colour for name, (colour, _) in marks.items()} | {"measured gap": "black"}
    upper, lower = panels
    _name(lower, {name: end for name, end in ends.items() if end[1] < 1}, colours, (0, 1))
    top = upper.get_ylim()[1]
    high = {name: (x, float(np.log(y))) for name, (x, y) in ends.items() if y >= 1}
    _name(upper, high, colours, (0, float(np.log(top))), 2.4 * NAME_HEIGHT)


def _axes(panels: Sequence[Axes], key: str, places: Sequence[float], rows: pd.DataFrame) -> None:
    upper, lower = panels
    lower.set(ylim=(0, 1), xlabel=key)
    # Room for the words above the highest curve.
    top = 8 * float(np.nanmax([*finite(rows["bound"]), 10.0]))
    upper.set(yscale="log", ylim=(1, top))
    upper.yaxis.set_major_formatter("{x:g}")
    upper.set_facecolor("0.94")
    upper.annotate("vacuous: more than any loss", (0.02, 0.93), xycoords="axes fraction", va="top",
                   fontsize="small", style="italic", color="0.3")  # fmt: skip
    if key == "n":
        size_axis(lower, [int(n) for n in places], key)
    else:
        rate_axis(lower, places, key)


def _name(
    axes: Axes, ends: dict[str, tuple[float, float]], colours: dict, limits: tuple[float, float],
    apart: float = NAME_HEIGHT,
) -> None:  # fmt: skip
    """Write every curve's name beside the axes, at the height of its end where there is room."""
    low, high = limits
    named = sorted(ends, key=lambda name: ends[name][1])
    heights = [(ends[name][1] - low) / (high - low) for name in named]
    # Not below the axis, where its numbers stand.
    places = [max(place, apart * row) for row, place in enumerate(spread(heights, apart))]
    for name, height, place in zip(named, heights, places, strict=True):
        axes.annotate(
            name, (1, height), xycoords="axes fraction", xytext=(1.06, place),
            textcoords="axes fraction", va="center", fontsize=9, color=_darker(colours[name]),
            # To where the name begins: to its middle the line would run through other names.
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.7, "shrinkA": 0,
                        "shrinkB": 0, "relpos": (0.0, 0.5)},
        )  # fmt: skip


def _darker(colour: object) -> object:
    """Text needs more contrast than a line does."""
    if isinstance(colour, tuple):
        return tuple(0.75 * part for part in colour)
    return colour


def spread(heights: Iterable[float], apart: float) -> list[float]:
    """Move heights as little as it takes to be apart, in their order.

    Where some are too close, they are set evenly around their mean (pooling adjacent violators).

    Args:
        heights: rising.
        apart: least distance.

    Returns:
        The new heights.

    >>> [round(height, 3) for height in spread([0.1, 0.5, 0.5, 0.9], 0.1)]
    [0.1, 0.45, 0.55, 0.9]
    """
    # In steps of ``apart`` below, the task is to find the closest values that do not fall.
    groups: list[tuple[float, int]] = []
    for number, height in enumerate(heights):
        groups.append((height - number * apart, 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (first, some), (second, more) = groups[-2:]
            total = some + more
            groups[-2:] = [((first * some + second * more) / total, total)]
    flat = [value for value, count in groups for _ in range(count)]
    return [value + number * apart for number, value in enumerate(flat)]

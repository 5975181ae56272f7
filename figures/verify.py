"""How tight Proposition 4.2 is in its readings, and where printed statements fail."""

from itertools import cycle

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.markers import MarkerStyle

from figures.intervals import finite, known
from figures.style import MARKERS, Drawing, curve_colours, style

#: The kinds of statements about a known failure, and their markers.
KINDS = {"as printed": "X", "corrected": "o"}


def draw(readings: pd.DataFrame, failures: pd.DataFrame, caption: str) -> Drawing:
    """Draw the verifier's cases.

    Args:
        readings: of Proposition 4.2 on real data, one row a case, in the order in which the
            readings are to be drawn: ``name`` (of the reading), ``data`` (the data set), ``ratio``
            (bound over measured stability).
        failures: known ones, one row a case: ``setting``, ``group`` (which premises it meets),
            ``kind`` ("as printed" or "corrected"), ``ratio``.
        caption: what the figure shows.

    Returns:
        A figure of two panels: bound over measured stability for the readings of Proposition 4.2 on
        real data, and for the known failures, as printed and corrected, a block of rows a group.
        Below 1 a statement fails.
    """
    with style():
        figure = Drawing(figsize=(12, 6))
        left, right = figure.subplots(1, 2)
        _readings(left, readings)
        left.set_title("Proposition 4.2 on real data, by reading")
        _failures(right, failures)
        right.set_title("Where printed statements fail")
        for axes in (left, right):
            axes.set(xscale="log", xlabel="bound / measured")
            axes.axvline(1, color="0.2", linewidth=1)
        figure.described(caption)
    return figure


def _readings(axes: Axes, readings: pd.DataFrame) -> None:
    cases = known(readings, ["ratio"])
    if len(cases) == 0:
        return
    sns.stripplot(
        cases, x="ratio", y="name", hue="data", order=list(readings["name"].unique()), dodge=True,
        size=3, palette=curve_colours(cases["data"].nunique()), jitter=False, ax=axes,
    )  # fmt: skip
    axes.set_ylabel("")
    # Beside colour, each data set has a marker of its own.
    for number, marked in enumerate(axes.collections):
        marker = MARKERS[number % cases["data"].nunique() % len(MARKERS)]
        path = MarkerStyle(marker).get_path().transformed(MarkerStyle(marker).get_transform())
        marked.set_paths([path])
    handles, names = axes.get_legend_handles_labels()
    for handle, marker in zip(handles, cycle(MARKERS), strict=False):
        handle.set(marker=marker)
    axes.legend(handles, names, title="", framealpha=0.9)


def _failures(axes: Axes, cases: pd.DataFrame) -> None:
    if len(cases) == 0:
        return
    # A group's name has a row of its own, above those of its settings.
    labels: list[str] = []
    rows: dict[str, int] = {}
    for group, members in cases.groupby("group", sort=False):
        axes.axhspan(len(labels) - 0.5, len(labels) + 0.5, color="0.9", linewidth=0)
        labels.append(f"{group}:")
        for setting in dict.fromkeys(members["setting"]):
            rows[setting] = len(labels)
            labels.append(setting)
    for (kind, marker), colour in zip(KINDS.items(), curve_colours(len(KINDS)), strict=True):
        one = cases[cases["kind"] == kind]
        axes.plot(finite(one["ratio"]), [rows[setting] for setting in one["setting"]],
                  marker, label=kind, color=colour, linestyle="")  # fmt: skip
    axes.set_yticks(range(len(labels)), labels, fontsize="small")
    axes.set_ylim(len(labels) - 0.5, -0.5)
    # Beside the name of the first group, where no case is.
    axes.legend(loc="upper right", framealpha=0.9, ncols=2)

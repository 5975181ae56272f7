"""How tight Proposition 4.2 is in its readings, and where it and Lemma 4.3 fail as printed."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import Drawing, curve_colours, style
from probes.statements.counterexample_cases import COMMAND
from theory.readings import Reading

#: The readings that are drawn, from the printed one to the loosest.
DRAWN = {
    str(Reading()): "as printed",
    str(Reading(curvature="segment")): "curvature: segment",
    str(Reading(curvature="penalty")): "curvature: 2s",
    str(Reading(curvature="penalty", region="ball")): "2s, η: ball",
    str(Reading(form="sum", curvature="segment")): "S^i: sum / n",
    str(Reading(loss="regularized", curvature="segment")): "regularized loss",
}


def draw(cases: pd.DataFrame) -> Figure:
    """Draw the verifier's cases.

    Args:
        cases: ``VerifyResult.cases``: one row a case.

    Returns:
        A figure of two panels: bound over measured stability for the readings of Proposition 4.2 on
        real data, and for the counterexamples, as printed and corrected. Below 1 a statement fails.
    """
    with style():
        figure = Drawing(figsize=(10.5, 4.6))
        left, right = figure.subplots(1, 2)
        _readings(left, cases)
        _counterexamples(right, cases)
        for axes in (left, right):
            axes.set(xscale="log", xlabel="bound / measured")
            axes.axvline(1, color="0.2", linewidth=1)
        figure.suptitle(
            "exact minimisers of the penalized objective; left of the line a statement fails",
            fontsize="small",
        )
    return figure


def _readings(axes: Axes, cases: pd.DataFrame) -> None:
    drawn = cases[cases["reading"].isin(DRAWN) & np.isfinite(cases["ratio"])]
    axes.set_title("Proposition 4.2 on real data, by reading")
    if len(drawn) == 0:
        axes.text(0.5, 0.5, "not among the cases", transform=axes.transAxes, ha="center")
        return
    named = drawn.assign(
        data=drawn["setting"].str.split(",").str[0], name=drawn["reading"].map(DRAWN)
    )
    tasks = list(named["data"].unique())
    sns.stripplot(
        named, x="ratio", y="name", hue="data", order=list(DRAWN.values()), dodge=True, size=3,
        palette=curve_colours(len(tasks)), jitter=0.2, ax=axes,
    )  # fmt: skip
    axes.set_ylabel("")
    axes.legend(title="", framealpha=0.9)


def _counterexamples(axes: Axes, cases: pd.DataFrame) -> None:
    known = cases[cases["command"] == COMMAND]
    axes.set_title("Known counterexamples")
    if len(known) == 0:
        axes.text(0.5, 0.5, "not among the cases", transform=axes.transAxes, ha="center")
        return
    settings = list(dict.fromkeys(known["setting"]))
    for provable, marker, label in ((False, "X", "as printed"), (True, "o", "corrected")):
        group = known[(known["provable"] == provable) & ~known["reading"].str.startswith("β")]
        axes.plot(
            group["ratio"], [settings.index(setting) for setting in group["setting"]], marker,
            label=label, color=curve_colours(2)[int(provable)], linestyle="",
        )  # fmt: skip
    axes.set_yticks(range(len(settings)), settings)
    axes.invert_yaxis()
    axes.legend(framealpha=0.9)

"""Train and test loss along training, LoRA beside AdaLoRA."""

from typing import TYPE_CHECKING

import numpy as np

from figures.style import DASHES, MARKERS, Drawing, curve_colours, style
from probes.results.study_result import means

if TYPE_CHECKING:
    from probes.curves import CurvesResult


def draw(result: "CurvesResult") -> Drawing:
    """Draw the losses against the step.

    Returns:
        A figure of three panels: train loss and test loss of every method and rate (a shade a rate,
        a dash a method) with the interval as a band, and the test score; for text tasks the score
        of logistic regression on frozen embeddings stands there as a line.
    """
    quantities = ("train_loss", "test_loss", "test_score")
    points = means(result.rows, ["method", "p", "step"], quantities)
    methods, rates = (list(dict.fromkeys(points[name])) for name in ("method", "p"))
    score = result.rows["score_name"].iloc[0]
    with style():
        figure = Drawing(figsize=(12, 4.2))
        panels = figure.subplots(1, 3)
        for name, axes, label in zip(
            quantities, panels, ("train loss", "test loss", f"test {score}"), strict=True
        ):
            for p, colour, marker in zip(rates, curve_colours(len(rates)), MARKERS, strict=False):
                for method, dash in zip(methods, ("-", *DASHES), strict=False):
                    curve = points[(points["p"] == p) & (points["method"] == method)]
                    curve = curve[curve["step"] > 0]
                    axes.plot(curve["step"], curve[name], dash, color=colour, marker=marker,
                              markevery=8, label=f"{method}, p = {p:g}")  # fmt: skip
                    axes.fill_between(curve["step"], curve[f"{name}_low"], curve[f"{name}_high"],
                                      color=colour, alpha=0.12, linewidth=0)  # fmt: skip
            axes.set(xscale="log", xlabel="optimizer step", ylabel=label)
        baseline = result.rows["baseline"].mean()
        if np.isfinite(baseline):
            panels[2].axhline(baseline, color="0.2", linestyle=":", linewidth=1)
            panels[2].annotate(
                "logistic regression on frozen embeddings", (0.98, baseline), va="bottom",
                ha="right", xycoords=("axes fraction", "data"), fontsize="small",
            )  # fmt: skip
        panels[0].legend(framealpha=0.9)
        figure.suptitle(
            f"{result.setting}, objective dropout, N = 1, expected-weight network; bands: 95 % "
            "over draws",
            fontsize="small",
        )
    return figure

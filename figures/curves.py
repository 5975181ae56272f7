"""Train and test loss along training, LoRA beside AdaLoRA."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import band, keep_within
from figures.style import DASHES, Drawing, looks, style


def draw(
    points: pd.DataFrame, caption: str, score_name: str, baseline: float | None = None
) -> Drawing:
    """Draw the losses against the step.

    Args:
        points: one row a method, rate and step: ``method``, ``p``, ``step``, and ``train_loss``,
            ``test_loss`` and, where the task has a score, ``test_score``, with their ``_low`` and
            ``_high``.
        caption: the settings.
        score_name: what the score is called.
        baseline: score of logistic regression on frozen embeddings; None or NaN for none.

    Returns:
        A figure of three panels: train loss and test loss of every method and rate (a shade a rate,
        a dash a method) with the interval as a band, and the test score, if there is one; for text
        tasks the score of logistic regression on frozen embeddings stands there as a line.
    """
    # The axis is logarithmic.
    points = points[points["step"] > 0]
    labels = {
        "train_loss": "train loss", "test_loss": "test loss", "test_score": f"test {score_name}"
    }  # fmt: skip
    labels = {name: label for name, label in labels.items() if name in points}
    with style():
        figure = Drawing(figsize=(4 * len(labels), 4.2))
        panels = figure.subplots(1, len(labels))
        for axes, (name, label) in zip(panels, labels.items(), strict=True):
            _curves(axes, points, name)
            axes.set(xscale="log", xlabel="optimizer step", ylabel=label)
        if baseline is not None and np.isfinite(baseline):
            _baseline(panels[-1], baseline)
        for axes in panels[:2]:
            keep_within(axes, 0, np.inf)
        if score_name == "accuracy":
            keep_within(panels[-1], 0, 1)
        figure.keyed(panels[0].get_legend_handles_labels())
        figure.described(caption)
    return figure


def _curves(axes: Axes, points: pd.DataFrame, name: str) -> None:
    dashes = ("-", *DASHES)
    methods = {method: number for number, method in enumerate(points["method"].unique())}
    rates = list(points.groupby("p", sort=False))
    for (p, group), look in zip(rates, looks(len(rates)), strict=True):
        for method, curve in group.groupby("method", sort=False):
            dash = dashes[methods[method] % len(dashes)]
            band(axes, curve, name, f"{method}, p = {p:g}", look._replace(dash=dash), every=8)


def _baseline(axes: Axes, score: float) -> None:
    axes.axhline(score, color="0.2", linestyle=":", linewidth=1)
    axes.annotate(
        "logistic regression on frozen embeddings", (0.98, score), va="bottom", ha="right",
        xycoords=("axes fraction", "data"), fontsize="small",
    )  # fmt: skip

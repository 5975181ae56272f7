"""Why a method was recommended: loss, stability and calibration of every tuned method."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures.intervals import finite, reach
from figures.style import Drawing, style


def draw(summary: pd.DataFrame, caption: str, score_name: str) -> Drawing:
    """Draw the tuned methods.

    Args:
        summary: one row a method: ``method``, ``strength`` (NaN for the constant prediction),
            ``chosen``, and ``risk`` (loss on new data), ``beta`` (which may be missing), ``ece``
            (all NaN for a regression) and ``score`` (all NaN if there is none) with their ``_low``.
        caption: the settings.
        score_name: what the score is called.

    Returns:
        A figure of panels side by side, a line a method, the least loss at the top: loss on new
        data, beta where it was measured, and calibration error (without one, the score), with
        intervals. A dotted line is the constant prediction; a ring marks the recommended method.
    """
    labels = {"risk": "loss on new data"}
    if "beta" in summary and np.isfinite(finite(summary["beta"])).any():
        labels["beta"] = "β  (units of the loss)"
    if np.isfinite(finite(summary["ece"])).any():
        labels["ece"] = "expected calibration error"
    elif np.isfinite(finite(summary["score"])).any():
        labels["score"] = score_name
    constant = summary[summary["strength"].isna()]
    methods = summary[summary["strength"].notna()].sort_values("risk", ascending=False)
    with style():
        figure = Drawing(figsize=(3.6 + 2.8 * len(labels), 2.0 + 0.34 * max(4, len(methods))))
        panels = figure.subplots(1, len(labels), sharey=True, squeeze=False)[0]
        for axes, (name, label) in zip(panels, labels.items(), strict=True):
            _methods(axes, methods, constant, name)
            axes.set_xlabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        panels[0].set_yticks(np.arange(len(methods)), methods["method"])
        panels[0].set_ylim(-0.6, len(methods) - 0.4)
        figure.keyed(panels[0].get_legend_handles_labels())
        figure.described(caption)
    return figure


def _methods(axes: Axes, methods: pd.DataFrame, constant: pd.DataFrame, name: str) -> None:
    heights = np.arange(len(methods))
    axes.errorbar(finite(methods[name]), heights, xerr=reach(methods, name), color="black",
                  marker="o", linestyle="", capsize=3, label="tuned method")  # fmt: skip
    chosen = methods["chosen"].to_numpy(bool)
    axes.plot(finite(methods[name][chosen]), heights[chosen], "o", color="black", markersize=14,
              fillstyle="none", label="recommended", linestyle="")  # fmt: skip
    for level in finite(constant[name]):
        if np.isfinite(level):
            axes.axvline(level, color="black", linestyle=":", linewidth=1,
                         label="best constant prediction")  # fmt: skip

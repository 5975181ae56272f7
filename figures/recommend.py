"""Why p and N were chosen: loss, stability and calibration of every candidate."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import error_bars, finite, labelled_error_bars
from figures.style import Drawing, style


def draw(summary: pd.DataFrame, caption: str, score_name: str) -> Drawing:
    """Draw the candidates.

    Args:
        summary: one row a candidate: ``label`` (of its number of mask pairs and its inference),
            ``p`` (NaN for the constant prediction), ``chosen``, and ``risk`` (loss on new data),
            ``beta``, ``ece`` (all NaN for a regression) and ``score`` with their ``_low``.
        caption: the settings.
        score_name: what the score is called.

    Returns:
        A figure of three panels against p: loss on new data, beta, and calibration error (the
        score for a regression), a curve a label, with intervals; a star for p = 0, a line for the
        constant prediction, and a ring that marks the recommended candidate. There is no ring if
        the constant prediction is recommended.
    """
    labels = {"risk": "loss on new data", "beta": "β"}
    if np.isfinite(summary["ece"]).any():
        labels["ece"] = "expected calibration error"
    else:
        labels["score"] = score_name
    with style():
        figure = Drawing(figsize=(12, 4.2))
        panels = figure.subplots(1, 3)
        for axes, (name, label) in zip(panels, labels.items(), strict=True):
            _candidates(axes, summary, name)
            axes.set(xlabel="dropout rate p", ylabel=label)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        figure.suptitle(caption, fontsize="small")
    return figure


def _candidates(axes: Axes, summary: pd.DataFrame, name: str) -> None:
    labelled_error_bars(axes, summary[summary["p"] > 0], name)
    plain = summary[summary["p"] == 0]
    if len(plain):
        error_bars(axes, plain["p"], plain, name, color="black", marker="*", linestyle="",
                   label="p = 0")  # fmt: skip
    constant = summary[summary["p"].isna()]
    for level, label in zip(finite(constant[name]), constant["label"], strict=True):
        if np.isfinite(level):
            axes.axhline(level, color="black", linestyle=":", linewidth=1, label=label)
    chosen = summary[summary["chosen"] & summary["p"].notna()]
    axes.plot(chosen["p"], finite(chosen[name]), "o", color="black", markersize=14,
              fillstyle="none", label="recommended")  # fmt: skip

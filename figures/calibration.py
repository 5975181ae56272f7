"""Calibration error along training, and the reliability diagram at the best checkpoint."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from figures.style import DASHES, MARKERS, Drawing, curve_colours, style
from probes.results.study_result import means

if TYPE_CHECKING:
    from probes.calibration import CalibrationResult

#: Width of the bins that diagrams of several draws are averaged in.
BIN = 0.1


def draw(result: "CalibrationResult") -> Drawing:
    """Draw the calibration probe.

    Returns:
        A figure of three panels: the expected calibration error along training, with bands; the
        same at the best checkpoint and at the end, with intervals; and accuracy against confidence
        at the best checkpoint, on the diagonal where probabilities are right.
    """
    variants = list(result.rows[["p", "inference"]].drop_duplicates().itertuples(index=False))
    looks = list(
        zip(
            variants,
            curve_colours(len(variants)),
            MARKERS,
            ("-", *DASHES) * len(variants),
            strict=False,
        )
    )
    points = means(result.rows, ["p", "inference", "step"], ["ece"])
    diagram = result.more[".diagram"]
    size = result.rows["ensemble"].iloc[0]
    with style():
        figure = Drawing(figsize=(12, 4.4))
        left, middle, right = figure.subplots(1, 3)
        for number, ((p, inference), colour, marker, dash) in enumerate(looks):
            name = f"p = {p:g}, {inference}" + (f" N = {size}" if inference == "ensemble" else "")
            curve = points[_same(points, p, inference)]
            left.plot(curve["step"], curve["ece"], dash, color=colour, marker=marker, markevery=5,
                      label=name)  # fmt: skip
            left.fill_between(curve["step"], curve["ece_low"], curve["ece_high"], color=colour,
                              alpha=0.12, linewidth=0)  # fmt: skip
            group = result.summary[_same(result.summary, p, inference)]
            half = np.nan_to_num(group["ece"] - group["ece_low"])
            places = np.arange(len(group)) + 0.12 * (number - (len(looks) - 1) / 2)
            middle.errorbar(places, group["ece"], yerr=half, linestyle="", marker=marker,
                            color=colour, capsize=3, label=name)  # fmt: skip
            bins = _by_bin(diagram[_same(diagram, p, inference)])
            right.plot(bins["confidence"], bins["accuracy"], dash, color=colour, marker=marker,
                       label=name)  # fmt: skip
        right.plot([0, 1], [0, 1], color="0.5", linewidth=1)
        left.set(xscale="log", xlabel="optimizer step", ylabel="expected calibration error",
                 ylim=(0, None))  # fmt: skip
        middle.set_xticks([0, 1], ["best checkpoint", "end of training"])
        middle.set(ylabel="expected calibration error", xlim=(-0.5, 1.5), ylim=(0, None))
        right.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02),
                  title="reliability at the best checkpoint")  # fmt: skip
        right.legend(framealpha=0.9)
        figure.suptitle(
            f"{result.setting}, objective dropout; bands and bars: 95 % intervals over draws",
            fontsize="small",
        )
    return figure


def _same(table: pd.DataFrame, p: float, inference: str) -> pd.Series:
    return (table["p"] == p) & (table["inference"] == inference)


def _by_bin(diagram: pd.DataFrame) -> pd.DataFrame:
    """Average over draws the bins of equal confidence."""
    number = (diagram["confidence"] / BIN).astype(int)
    return diagram.groupby(number)[["confidence", "accuracy"]].mean()

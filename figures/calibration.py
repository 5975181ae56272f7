"""Calibration error along training, and the reliability diagram at the best checkpoint."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import band, distance, dodge, error_bars, finite, known
from figures.style import DASHES, Drawing, Look, looks, style

#: Number of the bins that diagrams of several draws are averaged in.
BINS = 10
#: Where the moments stand on the middle panel's axis, and what they are called there.
PLACES = {"best": 0, "end": 1}
MOMENTS = ("best checkpoint", "end of training")
#: Distance there of the curves' points.
APART = 0.12
#: What marks mean on the left and in the middle, by column.
FLOOR = {"ece_floor": "thin, dotted: noise floor"}
FLOOR_AND_DEBIASED = {"ece_floor": "level: noise floor", "ece_debiased": "hollow: debiased (l2)"}
#: How far right of a curve's calibration error its debiased one stands, as a share of ``APART``.
BESIDE = 1 / 3


def draw(
    points: pd.DataFrame, moments: pd.DataFrame, diagram: pd.DataFrame, caption: str
) -> Drawing:
    """Draw the calibration probe, a curve a label, in order of first appearance in the points.

    Args:
        points: one row a label and step: ``label``, ``step``, ``ece``, ``ece_low``, ``ece_high``,
            and where it is known ``ece_floor``, the noise floor.
        moments: one row a label and moment: ``label``, ``moment`` ("best" or "end"), ``ece``,
            ``ece_low``, and where they are known ``ece_floor`` and ``ece_debiased`` with its
            ``_low`` and ``_high``.
        diagram: bins of the reliability diagrams of one draw or several: ``label``,
            ``confidence``, ``accuracy``.
        caption: the settings.

    Returns:
        A figure of three panels: the expected calibration error along training, with bands, and
        its noise floor (dotted); the same at the best checkpoint and at the end, with intervals,
        the floor as a level, and the debiased error as a hollow mark; and accuracy against
        confidence at the best checkpoint, on the diagonal where probabilities are right.
    """
    labels = list(dict.fromkeys(points["label"]))
    # So that those of one moment stay apart from those of the other.
    apart = distance(len(labels), APART)
    shifts = dodge(len(labels), apart)
    with style():
        figure = Drawing(figsize=(12, 4.4))
        left, middle, right = figure.subplots(1, 3)
        for label, look, shift in zip(labels, looks(len(labels)), shifts, strict=True):
            _along(left, points[points["label"] == label], label, look)
            _moments(middle, moments[moments["label"] == label], shift, apart, label, look)
            _reliability(right, diagram[diagram["label"] == label], label, look)
        right.plot([0, 1], [0, 1], color="0.5", linewidth=1)
        left.set(xscale="log", xlim=(0.8, 1.25 * points["step"].max()))
        left.set(xlabel="optimizer step", ylabel="expected calibration error",
                 ylim=(0, None), title=_legend_of(points, FLOOR))  # fmt: skip
        middle.axhline(0, color="0.5", linewidth=1)
        middle.set_xticks(list(PLACES.values()), MOMENTS)
        middle.set(ylabel="expected calibration error", xlim=(-0.5, 1.5),
                   title=_legend_of(moments, FLOOR_AND_DEBIASED))  # fmt: skip
        right.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02),
                  title="reliability at the best checkpoint")  # fmt: skip
        figure.keyed(right.get_legend_handles_labels())
        figure.described(caption)
    return figure


def _legend_of(table: pd.DataFrame, marks: dict[str, str]) -> str:
    """What the marks of those columns mean that are there."""
    return "; ".join(text for column, text in marks.items() if column in table)


def _along(axes: Axes, curve: pd.DataFrame, label: str, look: Look) -> None:
    band(axes, curve, "ece", label, look, every=5)
    if "ece_floor" in curve:
        axes.plot(curve["step"], finite(curve["ece_floor"]), DASHES[2], color=look.colour,
                  linewidth=1, label=f"{label}, floor")  # fmt: skip


def _moments(
    axes: Axes, group: pd.DataFrame, shift: float, apart: float, label: str, look: Look
) -> None:
    marks: dict[str, Any] = {"linestyle": "", "color": look.colour}
    places = group["moment"].map(PLACES) + shift
    error_bars(axes, places, group, "ece", marker=look.marker, capsize=3, label=label, **marks)
    if "ece_floor" in group:
        axes.plot(places, finite(group["ece_floor"]), marker="_", markersize=12,
                  label=f"{label}, floor", **marks)  # fmt: skip
    if "ece_debiased" in group:
        error_bars(axes, places + BESIDE * apart, group, "ece_debiased", marker=look.marker,
                   capsize=3, markerfacecolor="white", label=f"{label}, debiased",
                   **marks)  # fmt: skip


def _reliability(axes: Axes, diagram: pd.DataFrame, label: str, look: Look) -> None:
    bins = _by_bin(known(diagram, ["confidence", "accuracy"]))
    axes.plot(bins["confidence"], bins["accuracy"], look.dash, color=look.colour,
              marker=look.marker, label=label)  # fmt: skip


def _by_bin(diagram: pd.DataFrame) -> pd.DataFrame:
    """Average over draws the bins of equal confidence, each closed above."""
    number = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], diagram["confidence"])
    return diagram.groupby(number)[["confidence", "accuracy"]].mean()

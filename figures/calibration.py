"""Calibration error along training, and the reliability diagram at the best checkpoint."""

import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import band, dodge, error_bars, known
from figures.style import Drawing, Look, looks, style

#: Width of the bins that diagrams of several draws are averaged in.
BIN = 0.1
#: Where the moments stand on the middle panel's axis, and what they are called there.
PLACES = {"best": 0, "end": 1}
MOMENTS = ("best checkpoint", "end of training")
#: Distance there of the curves' points.
APART = 0.12


def draw(
    points: pd.DataFrame, moments: pd.DataFrame, diagram: pd.DataFrame, caption: str
) -> Drawing:
    """Draw the calibration probe, a curve a label, in order of first appearance in the points.

    Args:
        points: one row a label and step: ``label``, ``step``, ``ece``, ``ece_low``, ``ece_high``.
        moments: one row a label and moment: ``label``, ``moment`` ("best" or "end"), ``ece``,
            ``ece_low``.
        diagram: bins of the reliability diagrams of one draw or several: ``label``,
            ``confidence``, ``accuracy``.
        caption: the settings.

    Returns:
        A figure of three panels: the expected calibration error along training, with bands; the
        same at the best checkpoint and at the end, with intervals; and accuracy against confidence
        at the best checkpoint, on the diagonal where probabilities are right.
    """
    labels = list(dict.fromkeys(points["label"]))
    shifts = dodge(len(labels), APART)
    with style():
        figure = Drawing(figsize=(12, 4.4))
        left, middle, right = figure.subplots(1, 3)
        for label, look, shift in zip(labels, looks(len(labels)), shifts, strict=True):
            band(left, points[points["label"] == label], "ece", label, look, every=5)
            group = moments[moments["label"] == label]
            error_bars(middle, group["moment"].map(PLACES) + shift, group, "ece", linestyle="",
                       marker=look.marker, color=look.colour, capsize=3, label=label)  # fmt: skip
            _reliability(right, diagram[diagram["label"] == label], label, look)
        right.plot([0, 1], [0, 1], color="0.5", linewidth=1)
        left.set(xscale="log", xlabel="optimizer step", ylabel="expected calibration error",
                 ylim=(0, None))  # fmt: skip
        middle.set_xticks(list(PLACES.values()), MOMENTS)
        middle.set(ylabel="expected calibration error", xlim=(-0.5, 1.5), ylim=(0, None))
        right.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02),
                  title="reliability at the best checkpoint")  # fmt: skip
        right.legend(framealpha=0.9)
        figure.suptitle(caption, fontsize="small")
    return figure


def _reliability(axes: Axes, diagram: pd.DataFrame, label: str, look: Look) -> None:
    bins = _by_bin(known(diagram, ["confidence", "accuracy"]))
    axes.plot(bins["confidence"], bins["accuracy"], look.dash, color=look.colour,
              marker=look.marker, label=label)  # fmt: skip


def _by_bin(diagram: pd.DataFrame) -> pd.DataFrame:
    """Average over draws the bins of equal confidence."""
    number = (diagram["confidence"] / BIN).astype(int)
    return diagram.groupby(number)[["confidence", "accuracy"]].mean()

"""Fine-tuning at full scale: losses, score, gap and calibration along training."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures.intervals import band, keep_within
from figures.style import WITHIN, Drawing, looks, style

LABELS = {
    "train_loss": "train loss", "test_loss": "test loss", "gap": "gap", "test_score": "score",
    "ece": "expected calibration error",
}  # fmt: skip
#: What a quantity can be, where an interval may reach beyond.
RANGES = {
    "train loss": (0, np.inf), "test loss": (0, np.inf), "expected calibration error": (0, 1),
    "test accuracy": (0, 1),
}  # fmt: skip
#: Panels in a row.
WIDE = 3


def draw(points: pd.DataFrame, caption: str, score_name: str) -> Drawing:
    """Draw what was measured against the step.

    Args:
        points: one row a label and step: ``label``, ``step``, and of ``train_loss``, ``test_loss``,
            ``gap``, ``test_score`` and ``ece`` those that the task has, with their ``_low`` and
            ``_high``.
        caption: the settings.
        score_name: what the score is called.

    Returns:
        A figure of a panel a quantity that the task has: a curve a label, with the interval over
        seeds as a band.
    """
    labels = LABELS | {"test_score": f"test {score_name}"}
    shown = [name for name in labels if name in points and points[name].notna().any()]
    with style():
        rows = -(-len(shown) // WIDE)
        figure = Drawing(figsize=(4 * WIDE, 0.7 + 3.4 * rows))
        panels = figure.subplots(rows, WIDE, squeeze=False).flatten()
        for spare in panels[len(shown) :]:
            spare.set_axis_off()
        for name, axes in zip(shown, panels, strict=False):
            _quantity(axes, points, name, labels[name])
        handles, names = panels[0].get_legend_handles_labels()
        if len(shown) < len(panels) and len(names) <= WITHIN:
            panels[len(shown)].legend(handles, names, loc="center")
        else:
            figure.keyed((handles, names))
        figure.described(caption)
    return figure


def _quantity(axes: Axes, points: pd.DataFrame, name: str, ylabel: str) -> None:
    curves = list(points.groupby("label", sort=False))
    for (label, curve), look in zip(curves, looks(len(curves)), strict=True):
        band(axes, curve, name, str(label), look, every=2)
    axes.set(xlabel="optimizer step", ylabel=ylabel)
    keep_within(axes, *RANGES.get(ylabel, (-np.inf, np.inf)))

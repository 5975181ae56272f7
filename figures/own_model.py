"""Test loss, gap and stability of a model of one's own against p."""

import pandas as pd

from figures.intervals import labelled_error_bars
from figures.rate_axis import rate_axis
from figures.style import Drawing, style

LABELS = {"test_loss": "test loss", "gap": "gap", "beta": "β"}


def draw(summary: pd.DataFrame, caption: str) -> Drawing:
    """Draw the measurements.

    Args:
        summary: one row an inference and rate: ``label`` (of the inference), ``p``, and
            ``test_loss``, ``gap`` and ``beta`` with their ``_low``.
        caption: the settings.

    Returns:
        A figure of three panels against p, with intervals: test loss, gap and beta; a curve an
        inference.
    """
    with style():
        figure = Drawing(figsize=(12, 3.8))
        for axes, (name, label) in zip(figure.subplots(1, 3), LABELS.items(), strict=True):
            labelled_error_bars(axes, summary, name)
            axes.set(ylabel=label)
            rate_axis(axes, summary["p"])
        figure.keyed(figure.axes[0].get_legend_handles_labels())
        figure.described(caption)
    return figure

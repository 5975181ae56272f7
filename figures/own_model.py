"""Test loss, gap and stability of a model of one's own against p."""

from typing import TYPE_CHECKING

import numpy as np

from figures.style import DASHES, MARKERS, Drawing, curve_colours, style
from probes.metrics.labels import inference_label

if TYPE_CHECKING:
    from probes.own_model import OwnModelResult


def draw(result: "OwnModelResult") -> Drawing:
    """Draw the measurements.

    Returns:
        A figure of three panels against p, with intervals: test loss, gap and beta; a curve an
        inference.
    """
    summary = result.summary
    sizes = list(dict.fromkeys(summary["ensemble"]))
    labels = {"test_loss": "test loss", "gap": "gap", "beta": "β"}
    with style():
        figure = Drawing(figsize=(12, 3.8))
        for axes, (name, label) in zip(figure.subplots(1, 3), labels.items(), strict=True):
            for number, (size, colour) in enumerate(
                zip(sizes, curve_colours(len(sizes)), strict=True)
            ):
                curve = summary[summary["ensemble"] == size]
                name_of = inference_label(size)
                shift = 0.006 * (number - (len(sizes) - 1) / 2)
                half = np.nan_to_num(curve[name] - curve[f"{name}_low"])
                axes.errorbar(curve["p"] + shift, curve[name], yerr=half, color=colour, capsize=2,
                              linestyle=("-", *DASHES)[number % 4],
                              marker=MARKERS[number % len(MARKERS)],
                              label=name_of)  # fmt: skip
            axes.set(xlabel="dropout rate p", ylabel=label)
        figure.axes[0].legend(framealpha=0.9)
        figure.suptitle(f"{result.setting}; 95 % intervals over draws", fontsize="small")
    return figure

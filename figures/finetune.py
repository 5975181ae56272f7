"""Fine-tuning at full scale: losses, score, gap and calibration along training."""

from typing import TYPE_CHECKING

import numpy as np

from figures.style import DASHES, MARKERS, Drawing, curve_colours, style
from probes.results.study_result import means

if TYPE_CHECKING:
    from probes.finetune import FinetuneResult

LABELS = {
    "train_loss": "train loss", "test_loss": "test loss", "gap": "gap", "test_score": "score",
    "ece": "expected calibration error",
}  # fmt: skip
#: What a quantity can be, where an interval may reach beyond.
RANGES = {"train_loss": (0, np.inf), "test_loss": (0, np.inf), "ece": (0, 1)}
#: Panels in a row.
WIDE = 3


def draw(result: "FinetuneResult") -> Drawing:
    """Draw what was measured against the step.

    Returns:
        A figure of a panel a quantity that the task has: a curve a method, rate and inference, with
        the interval over seeds as a band.
    """
    rows = result.rows
    shown = [name for name in LABELS if name in rows and rows[name].notna().any()]
    variants = list(rows[["method", "p", "inference"]].drop_duplicates().itertuples(index=False))
    points = means(rows, ["method", "p", "inference", "step"], shown)
    size, score = rows["ensemble"].iloc[0], rows["score_name"].iloc[0]
    with style():
        rows_of_panels = -(-len(shown) // WIDE)
        figure = Drawing(figsize=(4 * WIDE, 0.7 + 3.4 * rows_of_panels))
        panels = figure.subplots(rows_of_panels, WIDE, squeeze=False).flatten()
        for spare in panels[len(shown) :]:
            spare.set_axis_off()
        for name, axes in zip(shown, panels, strict=False):
            for number, ((method, p, inference), colour) in enumerate(
                zip(variants, curve_colours(len(variants)), strict=True)
            ):
                curve = points[
                    (points["method"] == method) & (points["p"] == p)
                    & (points["inference"] == inference)
                ]  # fmt: skip
                label = f"{method}, p = {p:g}, {inference}"
                label += f" of {size}" if inference == "ensemble" else ""
                axes.plot(curve["step"], curve[name], ("-", *DASHES)[number % 4], color=colour,
                          marker=MARKERS[number % len(MARKERS)], markevery=2,
                          label=label)  # fmt: skip
                axes.fill_between(curve["step"], curve[f"{name}_low"], curve[f"{name}_high"],
                                  color=colour, alpha=0.12, linewidth=0)  # fmt: skip
            ylabel = f"test {score}" if name == "test_score" else LABELS[name]
            low, top = axes.get_ylim()
            least, most = (0, 1) if ylabel == "test accuracy" else RANGES.get(name, (low, top))
            axes.set(xlabel="optimizer step", ylabel=ylabel,
                     ylim=(max(low, least), min(top, most)))  # fmt: skip
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        figure.suptitle(
            f"{result.setting}, objective dropout; bands: 95 % over seeds", fontsize="small"
        )
    return figure

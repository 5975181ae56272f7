"""What LoRA Dropout's parts do: test loss and stability of every variant."""

from typing import TYPE_CHECKING

import numpy as np

from figures.style import MARKERS, Drawing, curve_colours, style

if TYPE_CHECKING:
    from probes.ablation import AblationResult


def draw(result: "AblationResult") -> Drawing:
    """Draw the ablation.

    Returns:
        A figure of a row for the test loss and one for beta, a column a part: a point a variant
        with its interval, a marker a rate.
    """
    summary = result.summary
    parts, rates = (list(dict.fromkeys(summary[name])) for name in ("part", "p"))
    with style():
        figure = Drawing(figsize=(12, 6))
        panels = figure.subplots(2, len(parts), sharey="col")
        for row, (name, label) in enumerate((("test_loss", "test loss"), ("beta", "β"))):
            for part, axes in zip(parts, panels[row], strict=True):
                variants = list(dict.fromkeys(summary.loc[summary["part"] == part, "variant"]))
                for number, (p, colour, marker) in enumerate(
                    zip(rates, curve_colours(len(rates)), MARKERS, strict=False)
                ):
                    group = summary[(summary["part"] == part) & (summary["p"] == p)]
                    places = np.array([variants.index(variant) for variant in group["variant"]])
                    places = places + 0.16 * (number - (len(rates) - 1) / 2)
                    half = np.nan_to_num(group[name] - group[f"{name}_low"])
                    axes.errorbar(group[name], places, xerr=half, linestyle="", marker=marker,
                                  color=colour, capsize=2, label=f"p = {p:g}")  # fmt: skip
                axes.set_yticks(range(len(variants)), variants)
                axes.set_ylim(len(variants) - 0.5, -0.5)
                axes.set(xlabel=f"{label}  (units of the loss)" if name == "beta" else label)
                if row == 0:
                    axes.set_title(part)
        if len(rates) > 1:
            panels[0][0].legend(framealpha=0.9)
        rate = f", p = {rates[0]:g}" if len(rates) == 1 else ""
        size = result.rows["ensemble"].iloc[0]
        figure.suptitle(
            f"{result.setting}{rate}, objective dropout; ensembles of N = {size}; 95 % intervals "
            "over draws",
            fontsize="small",
        )
    return figure

"""Why p and N were chosen: loss, stability and calibration of every candidate."""

from typing import TYPE_CHECKING

import numpy as np

from figures.style import DASHES, MARKERS, Drawing, curve_colours, style

if TYPE_CHECKING:
    from probes.recommend import RecommendResult


def draw(result: "RecommendResult") -> Drawing:
    """Draw the candidates.

    Returns:
        A figure of three panels against p: loss on new data, beta, and calibration error (the
        score for a regression), a curve a number of mask pairs and an inference, with intervals;
        a ring marks the recommended candidate.
    """
    summary, size = result.summary, result.rows["ensemble"].iloc[0]
    third = "ece" if summary["ece"].notna().any() else "score"
    labels = {
        "risk": "loss on new data", "beta": "β", "ece": "expected calibration error",
        "score": result.rows["score_name"].iloc[0],
    }  # fmt: skip
    plain = summary[summary["p"] == 0]
    variants = list(
        summary.loc[summary["p"] > 0, ["samples", "inference"]].drop_duplicates().values
    )
    with style():
        figure = Drawing(figsize=(12, 4.2))
        panels = figure.subplots(1, 3)
        for axes, name in zip(panels, ("risk", "beta", third), strict=True):
            for number, ((samples, inference), colour) in enumerate(
                zip(variants, curve_colours(len(variants)), strict=True)
            ):
                curve = summary[
                    (summary["samples"] == samples) & (summary["inference"] == inference)
                    & (summary["p"] > 0)
                ]  # fmt: skip
                shift = 0.006 * (number - (len(variants) - 1) / 2)
                label = f"N = {samples} in training, " + (
                    f"ensemble of {size}" if inference == "ensemble" else inference
                )
                half = np.nan_to_num(curve[name] - curve[f"{name}_low"])
                axes.errorbar(curve["p"] + shift, curve[name], yerr=half, color=colour,
                              linestyle=("-", *DASHES)[number % 4], capsize=2,
                              marker=MARKERS[number % len(MARKERS)], label=label)  # fmt: skip
            half = np.nan_to_num(plain[name] - plain[f"{name}_low"])
            axes.errorbar(plain["p"], plain[name], yerr=half, color="black", marker="*",
                          linestyle="", capsize=2, label="p = 0")  # fmt: skip
            chosen = summary[summary["chosen"]]
            axes.plot(chosen["p"], chosen[name], "o", color="black", markersize=14,
                      fillstyle="none", label="recommended")  # fmt: skip
            axes.set(xlabel="dropout rate p", ylabel=labels[name])
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3)
        how = "held-out examples" if result.rows["held_out"].iloc[0] else "leave-one-out replicas"
        figure.suptitle(
            f"{result.setting}, objective dropout; loss and calibration by {how}; 95 % intervals "
            "over draws",
            fontsize="small",
        )
    return figure

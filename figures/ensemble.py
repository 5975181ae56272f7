"""Test risk of the averaged output against the number of members."""

from typing import TYPE_CHECKING

import numpy as np

from figures.style import DASHES, MARKERS, Drawing, curve_colours, style

if TYPE_CHECKING:
    from probes.ensemble import EnsembleResult


def draw(result: "EnsembleResult") -> Drawing:
    """Draw the ensemble probe.

    Returns:
        A figure of two panels against N, one colour a rate: the test loss with its interval, the
        1/N law to second order (dotted) and the expected-weight network (dashed); and the score.
    """
    summary, rows = result.summary, result.rows
    rates = sorted(summary["p"].unique())
    with style():
        figure = Drawing(figsize=(9.5, 4.4))
        left, right = figure.subplots(1, 2)
        for p, colour, marker in zip(
            rates, curve_colours(len(rates)), MARKERS * len(rates), strict=False
        ):
            group = summary[(summary["p"] == p) & (summary["ensemble"] > 0)]
            single = summary[(summary["p"] == p) & (summary["ensemble"] == 0)].iloc[0]
            for axes, name in ((left, "test_loss"), (right, "test_score")):
                half = np.nan_to_num(group[name] - group[f"{name}_low"])
                axes.errorbar(group["ensemble"], group[name], yerr=half, color=colour,
                              marker=marker, capsize=2, label=f"p = {p:g}")  # fmt: skip
                axes.axhline(single[name], color=colour, linestyle=DASHES[0], linewidth=1)
            left.plot(group["ensemble"], group["predicted"], linestyle=DASHES[2], color=colour)
        first = rows.iloc[0]
        left.set(ylabel="test loss", title="dotted: 1/N law; dashed: expected weight")
        right.set(ylabel=f"test {first['score_name']}", title="dashed: expected weight")
        sizes = sorted(summary.loc[summary["ensemble"] > 0, "ensemble"].unique())
        for axes in (left, right):
            axes.set(xscale="log", xlabel="members N")
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside lower center", ncols=len(rates)
        )
        figure.suptitle(
            f"{result.setting}, objective dropout; outputs averaged before the softmax; 95 % "
            "intervals over draws",
            fontsize="small",
        )
    return figure

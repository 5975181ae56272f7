"""Heat maps of accuracy, gap and stability over p and N."""

from typing import TYPE_CHECKING

import pandas as pd
import seaborn as sns

from figures.style import Drawing, style

if TYPE_CHECKING:
    from probes.sensitivity import SensitivityResult


def draw(result: "SensitivityResult") -> Drawing:
    """Draw the grid.

    Returns:
        A figure of heat maps: a column each for the test score, the gap and beta, a row an
        inference; every field has its mean and, below, the half width of its 95 % interval. One
        scale a column; light is large.
    """
    summary = result.summary
    score = result.rows["score_name"].iloc[0]
    quantities = {"test_score": f"test {score}", "gap": "gap", "beta": "β"}
    inferences = list(dict.fromkeys(summary["inference"]))
    with style():
        figure = Drawing(figsize=(12, 3.6 * len(inferences)))
        panels = figure.subplots(len(inferences), len(quantities), squeeze=False)
        for row, inference in zip(panels, inferences, strict=True):
            group = summary[summary["inference"] == inference]
            for axes, (name, label) in zip(row, quantities.items(), strict=True):
                sns.heatmap(
                    _grid(group, name), annot=_words(group, name), fmt="", cmap="viridis", ax=axes,
                    vmin=summary[name].min(), vmax=summary[name].max(), linewidths=0.5,
                    annot_kws={"fontsize": "small"},
                )  # fmt: skip
                axes.set(title=f"{label}, {inference}", xlabel="N", ylabel="dropout rate p")
                axes.tick_params(axis="y", rotation=0)
        figure.suptitle(
            f"{result.setting}, objective dropout; N mask pairs a step and N members; means ± half "
            "of the 95 % interval over draws",
            fontsize="small",
        )
    return figure


def _grid(group: pd.DataFrame, name: str) -> pd.DataFrame:
    return group.pivot_table(index="p", columns="samples", values=name)


def _words(group: pd.DataFrame, name: str) -> pd.DataFrame:
    means, lows = _grid(group, name), _grid(group, f"{name}_low")
    return means.map("{:.3f}".format) + (means - lows).map(
        lambda half: "" if pd.isna(half) else f"\n± {half:.3f}"
    )

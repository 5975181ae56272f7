"""Heat maps of accuracy, gap and stability over p and N."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from figures.intervals import finite
from figures.style import Drawing, style

#: Scores of which less is better.
ERRORS = ("mean squared error",)
#: Colours by whether large values are good: light is good everywhere.
MAPS = {True: "viridis", False: "viridis_r"}


def draw(summary: pd.DataFrame, caption: str, score_name: str) -> Drawing:
    """Draw the grid.

    Args:
        summary: one row an inference, rate and number of mask pairs: ``inference``, ``p``,
            ``samples``, and ``test_score``, ``gap`` and ``beta`` with their ``_low``.
        caption: the settings.
        score_name: what the score is called.

    Returns:
        A figure of heat maps: a column each for the test score, the gap and beta, a row an
        inference; every field has its mean and, below, the half width of its 95 % interval. One
        scale a column; light is good: a large score, a small gap, a small beta.
    """
    quantities = {"test_score": f"test {score_name}", "gap": "gap", "beta": "β"}
    known = summary.assign(**{name: finite(summary[name]) for name in quantities})
    inferences = list(known.groupby("inference", sort=False))
    with style():
        # A field holds two lines of small letters, of so many characters.
        width = max(12, 3 * (1.2 + 0.55 * known["samples"].nunique()))
        height = max(3.6, 1.0 + 0.36 * known["p"].nunique())
        figure = Drawing(figsize=(width, height * len(inferences)))
        panels = figure.subplots(len(inferences), len(quantities), squeeze=False)
        for row, (inference, group) in zip(panels, inferences, strict=True):
            for axes, (name, label) in zip(row, quantities.items(), strict=True):
                large_is_good = name == "test_score" and score_name not in ERRORS
                scale = (known[name].min(), known[name].max())
                _heat_map(axes, group, name, scale, MAPS[large_is_good])
                axes.set(title=f"{label}, {inference}", xlabel="N", ylabel="dropout rate p")
        figure.described(caption)
    return figure


def _heat_map(
    axes: Axes, group: pd.DataFrame, name: str, scale: tuple[float, float], colours: str
) -> None:
    sns.heatmap(
        _grid(group, name), annot=_words(group, name), fmt="", cmap=colours, ax=axes,
        vmin=scale[0], vmax=scale[1], linewidths=0.5, annot_kws={"fontsize": "small"},
    )  # fmt: skip
    axes.tick_params(axis="y", rotation=0)


def _grid(group: pd.DataFrame, name: str) -> pd.DataFrame:
    return group.pivot(index="p", columns="samples", values=name)


def _words(group: pd.DataFrame, name: str) -> pd.DataFrame:
    means, lows = _grid(group, name), _grid(group, f"{name}_low")
    return means.map("{:.3g}".format) + (means - lows).map(
        lambda half: "" if pd.isna(half) else f"\n± {half:.2g}"
    )

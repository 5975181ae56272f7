"""The histograms hold the correlations, the line and the band the summary."""

import numpy as np
import pandas as pd
import pytest

from figures.attribution import draw
from tests.figures import artists

SUMMARY = pd.DataFrame(
    {"score": ["by loss", "by output"], "mean": [0.4, 0.2], "mean_low": [0.3, -0.1],
     "mean_high": [0.45, 0.3]}
)  # fmt: skip
BY_EXAMPLE = pd.DataFrame(
    {"score": ["by loss"] * 4 + ["by output"] * 2, "held_out": [0, 1, 2, 3, 0, 1],
     "correlation": [-0.98, 0.42, 0.42, 0.98, 0.01, 0.02]}
)  # fmt: skip


def heights(axes):
    return [patch.get_height() for patch in axes.patches if patch.get_width() < 0.1]


def band(axes):
    return max(axes.patches, key=lambda patch: patch.get_height() == 1 and patch.get_width())


def test_bins_hold_the_correlations():
    first, second = draw(SUMMARY, BY_EXAMPLE, "settings").axes
    bins = dict(zip(np.linspace(-1, 0.95, 40).round(2), heights(first), strict=True))
    assert (bins[-1.0], bins[0.4], bins[0.95]) == (1, 2, 1)
    assert (sum(heights(first)), sum(heights(second))) == (4, 2)


def test_line_and_band_are_mean_and_interval():
    for axes, row in zip(draw(SUMMARY, BY_EXAMPLE, "").axes, SUMMARY.itertuples(), strict=True):
        (line,) = axes.lines
        assert set(line.get_xdata()) == {row.mean}
        ends = band(axes).get_x() + np.array([0, band(axes).get_width()])
        assert np.allclose(ends, [row.mean_low, row.mean_high])


def test_scores_are_named():
    figure = draw(SUMMARY, BY_EXAMPLE, "settings")
    assert [axes.get_title() for axes in figure.axes] == [
        "by loss\n0.400 (0.300 to 0.450)", "by output\n0.200 (-0.100 to 0.300)"
    ]  # fmt: skip
    assert artists.labels(figure) == [
        ("rank correlation", "held-out examples"), ("rank correlation", "")
    ]  # fmt: skip
    assert figure.get_supxlabel() == "settings"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_score_leaves_the_other_alone(value):
    summary, by_example = SUMMARY.copy(), BY_EXAMPLE.copy()
    summary.iloc[1, 1:] = value
    by_example.loc[4, "correlation"] = value
    figure = draw(summary, by_example, "")
    figure.draw_without_rendering()
    first, second = figure.axes
    assert heights(first) == heights(draw(SUMMARY, BY_EXAMPLE, "").axes[0])
    assert sum(heights(second)) == 1
    assert first.lines[0].get_xdata()[0] == 0.4
    assert artists.limits(figure)[0][:2] == (-1, 1)
    assert second.get_title() == "by output\nnot known"


def test_a_score_without_an_interval_is_said_alone():
    summary = SUMMARY.assign(mean_low=np.nan, mean_high=np.nan)
    assert draw(summary, BY_EXAMPLE, "").axes[0].get_title() == "by loss\n0.400"

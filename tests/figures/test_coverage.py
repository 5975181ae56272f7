"""Coverage and size are curves over p, the two levels are lines."""

import numpy as np

from figures.coverage import draw
from tests.figures import artists
from tests.figures.tables import grid

SUMMARY = grid(["coverage", "size"], label=["jackknife+", "jackknife"], p=[0.0, 0.3, 0.5])


def drawing(summary=SUMMARY):
    return draw(summary, "settings", 0.1)


def test_curves_are_the_tables_columns():
    for panel, name in enumerate(("coverage", "size")):
        points, ends = artists.error_bars(drawing().axes[panel])["jackknife"]
        own = SUMMARY[SUMMARY["label"] == "jackknife"]
        assert np.allclose(points[:, 1], own[name])
        assert np.allclose(ends, own[[f"{name}_low", f"{name}_high"]])


def test_the_levels_are_lines():
    lines = drawing().axes[0].lines
    levels = {line.get_linestyle(): line.get_ydata()[0] for line in lines if len(
        set(np.ravel(line.get_ydata()))) == 1 and line.get_linestyle() in (":", "--")}  # fmt: skip
    assert levels[":"] == 0.9
    assert levels["--"] == 0.8


def test_panels_and_curves_are_named():
    figure = drawing()
    assert artists.legend(figure) == ["jackknife+", "jackknife"]
    assert artists.labels(figure) == [
        ("dropout rate p", "coverage  (share of test examples)"),
        ("dropout rate p", "mean width, or classes in a set"),
    ]
    assert figure.get_supxlabel() == "settings"

"""Points are the differences, one panel a statement and matching."""

import numpy as np
import pandas as pd

from figures.matched_information import draw
from tests.figures import artists
from tests.figures.tables import grid

TABLE = grid(
    ["difference"],
    at=["train loss", "train error"],
    statement=["gap", "fast rate"],
    n=[64, 32],
    p=[0.3, 0.1],
    variant=["early stopping", "shrunk update"],
)


def test_points_are_the_differences_at_the_smallest_n():
    panels = iter(draw(TABLE, "").axes)
    for at in ("train loss", "train error"):
        for statement in ("gap", "fast rate"):
            chosen = {"at": at, "statement": statement, "n": 32, "variant": "shrunk update"}
            own = TABLE[(TABLE[list(chosen)] == pd.Series(chosen)).all(axis=1)].sort_values("p")
            points, ends = artists.error_bars(next(panels))["shrunk update"]
            assert len(own) == 2
            assert np.allclose(points[:, 1], own["difference"])
            assert np.allclose(ends, own[["difference_low", "difference_high"]])


def test_panels_and_curves_are_named():
    figure = draw(TABLE, "settings")
    assert [axes.get_title() for axes in figure.axes] == ["gap", "fast rate", "", ""]
    assert artists.legend(figure) == ["early stopping", "shrunk update"]
    assert figure.axes[2].get_ylabel() == "at equal train error\ncontrol − dropout"
    assert figure.axes[3].get_xlabel() == "p"
    assert figure.get_supxlabel() == "settings"


def test_what_was_not_reached_is_left_out():
    broken = TABLE.assign(difference=np.nan, difference_low=np.nan, difference_high=np.nan)
    figure = draw(broken, "")
    figure.draw_without_rendering()
    bars = [points for axes in figure.axes for points, _ in artists.error_bars(axes).values()]
    assert np.isnan([points[:, 1] for points in bars]).all()

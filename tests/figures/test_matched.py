"""Controls are curves over train loss, dropout's rates are markers, differences have intervals."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from figures.matched import APART, draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

POINTS = pd.DataFrame(
    [
        ("weight decay", 1.0, 0.3, 0.11),
        ("weight decay", 9.0, 0.8, 0.12),
        ("weight decay", 99.0, 7.0, 0.9),
        ("early stopping", 50, 0.2, 0.13),
        ("early stopping", 5, 1.0, 0.10),
        ("early stopping", 20, 0.6, 0.15),
        ("dropout", 0.1, 0.25, 0.08),
        ("dropout", 0.5, 0.9, 0.07),
    ],
    columns=["variant", "value", "train_loss", "beta"],
)
DECISION = without_high(
    grid(["difference"], variant=["weight decay", "early stopping"], p=[0.1, 0.5])
)


def drawing(points=POINTS, decision=DECISION):
    return draw(points, decision, "settings")


def test_controls_are_ordered_by_train_loss_up_to_no_training():
    lines = artists.lines(drawing().axes[0])
    stopped = [[0.2, 0.13], [0.6, 0.15], [1.0, 0.10]]
    assert lines["p = 0, early stopping"].tolist() == stopped
    assert lines["p = 0, weight decay"].tolist() == [[0.3, 0.11], [0.8, 0.12]]


def test_without_early_stopping_the_first_control_is_the_limit():
    rest = POINTS[POINTS["variant"] != "early stopping"]
    lines = artists.lines(drawing(rest).axes[0])
    assert lines["p = 0, weight decay"][-1].tolist() == [7.0, 0.9]


def test_dropout_s_rates_are_markers_with_names():
    left = drawing().axes[0]
    assert artists.lines(left)["dropout"].tolist() == [[0.25, 0.08], [0.9, 0.07]]
    found = {text.get_text(): text.xy for text in left.texts}
    assert found == {"p = 0.1": (0.25, 0.08), "p = 0.5": (0.9, 0.07)}


@pytest.mark.parametrize(("name", "shift"), [("weight decay", -1), ("early stopping", 1)])
def test_differences_have_their_intervals(name, shift):
    points, ends = artists.error_bars(drawing().axes[1])[name]
    own = DECISION[DECISION["variant"] == name]
    assert np.allclose(points[:, 0], own["p"] + shift * APART / 2)
    assert np.allclose(points[:, 1], own["difference"])
    assert np.allclose(ends[:, 0], own["difference_low"])


def test_panels_and_curves_are_named():
    figure = drawing()
    left, right = figure.axes
    curves = ["p = 0, weight decay", "p = 0, early stopping", "dropout"]
    assert artists.legend(figure) == [*curves, "weight decay", "early stopping"]
    assert artists.labels(figure) == [
        ("train loss", "β  (units of the loss)"),
        ("dropout rate p", "β of the control − β with dropout"),
    ]
    assert left.get_title() == "Stability against train loss, means over draws"
    assert right.get_title() == "At the same train loss; above 0 dropout is stabler"
    assert figure.get_supxlabel() == "settings"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("row", "label"), [(2, None), (5, "p = 0, early stopping"), (6, "dropout")]
)
def test_a_diverged_network_is_left_out(row, label, value):
    broken = POINTS.astype({"value": float})
    broken.loc[row, ["train_loss", "beta"]] = value
    figure = drawing(broken)
    figure.draw_without_rendering()
    found, sound = artists.lines(figure.axes[0]), artists.lines(drawing().axes[0])
    for name in sound:
        assert len(found[name]) == len(sound[name]) - (name == label)
        assert np.isin(found[name], sound[name]).all()


def test_a_difference_that_was_not_reached_is_left_out():
    artists.assert_unmoved(
        lambda table: drawing(decision=table), DECISION, [0], ["difference", "difference_low"],
        ["weight decay"],
    )  # fmt: skip


@pytest.mark.parametrize("step", [(0, 0), (1e-3, 1e-3), (0.02, -0.002)])
def test_names_of_near_points_do_not_write_over_each_other(step):
    rates = (0.05, 0.1, 0.2, 0.3, 0.5)
    near = [("dropout", p, 0.5 + k * step[0], 0.1 + k * step[1]) for k, p in enumerate(rates)]
    points = pd.concat([POINTS[:6], pd.DataFrame(near, columns=list(POINTS))])
    figure = drawing(points)
    figure.draw_without_rendering()
    names = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len(names) == len(rates)
    assert not any(one.overlaps(other) for one, other in combinations(names, 2))

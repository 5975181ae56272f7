"""What the figure's artists hold is what the tables say."""

import numpy as np
import pandas as pd
import pytest

from figures.stability import DODGE, draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

LABELS = ["deterministic network", "ensemble, N = 1", "ensemble, N = 4"]
#: Rates fall, so that the drawing has to order them.
POINTS = without_high(grid(["beta", "gap"], label=LABELS, p=[0.5, 0.1]))
POINTS["deterministic"] = POINTS["label"] == LABELS[0]
BOUNDS = pd.DataFrame(
    {"strength": [0.1, 0.1, 1.0, 10.0], "p": [0.1, 0.5, 0.5, np.nan],
     "stability_bound": [8.0, 7.0, 4.0, np.nan], "gap_bound": [80.0, 70.0, 40.0, np.nan],
     "continued": False}
)  # fmt: skip
CEILING = pd.DataFrame({"p": [0.1, 0.5], "loss_bound": [20.0, 21.0]})
#: A lambda without a rate at which its bound has a value.
EMPTY = "bound, λ = 10"


def drawing(points=POINTS, bounds=BOUNDS, ceiling=CEILING):
    return draw(points, bounds, ceiling, "settings", delta=0.05)


@pytest.mark.parametrize(("panel", "name"), [(0, "beta"), (1, "gap")])
def test_measured_curves_pass_through_the_means(panel, name):
    curves = artists.error_bars(drawing().axes[panel])
    assert list(curves) == LABELS
    points, ends = curves[LABELS[2]]
    own = POINTS[POINTS["label"] == LABELS[2]].sort_values("p")
    assert np.allclose(points[:, 0], own["p"] + DODGE)
    assert np.allclose(points[:, 1], own[name])
    assert np.allclose(ends[:, 0], own[f"{name}_low"])
    assert np.allclose(ends[:, 1], 2 * own[name] - own[f"{name}_low"])


@pytest.mark.parametrize(("panel", "name"), [(2, "beta"), (3, "gap")])
def test_the_deterministic_network_alone_is_below(panel, name):
    above, below = (drawing().axes[number] for number in (panel - 2, panel))
    curves = artists.error_bars(below)
    assert list(curves) == [LABELS[0]]
    own = POINTS[POINTS["deterministic"]].sort_values("p")
    assert np.allclose(curves[LABELS[0]][0], own[["p", name]])
    colours = [container[0].get_color() for container in above.containers]
    assert len(set(colours)) == len(LABELS)
    assert below.containers[0][0].get_color() == colours[0]


@pytest.mark.parametrize(("panel", "scale"), [(2, 1), (3, 10)])
def test_bounds_are_lines_at_the_rates_that_they_have(panel, scale):
    lines = artists.lines(drawing().axes[panel])
    assert lines["bound, λ = 0.1"].tolist() == [[0.1, 8 * scale], [0.5, 7 * scale]]
    assert lines["bound, λ = 1"].tolist() == [[0.5, 4 * scale]]
    assert EMPTY not in lines


def test_the_ceiling_is_beside_the_bound_of_the_gap():
    lines = artists.lines(drawing().axes[3])
    assert lines["C: vacuous above"].tolist() == [[0.1, 20], [0.5, 21]]


@pytest.mark.parametrize("continued", [False, True])
def test_measured_rates_of_a_bound_have_markers(continued):
    left = drawing(bounds=BOUNDS.assign(continued=continued)).axes[2]
    marker = next(line.get_marker() for line in left.lines if line.get_label() == "bound, λ = 0.1")
    assert (marker in ("", "None")) == continued


def test_panels_and_curves_are_named():
    figure = drawing()
    bounds = ["bound, λ = 0.1", "bound, λ = 1"]
    drawn = [*LABELS, *bounds, "C: vacuous above"]
    # One legend, beside the panels: every curve once, and none that is not drawn.
    assert sorted(artists.legend(figure)) == sorted(drawn)
    assert not any(axes.get_legend() for axes in figure.axes)
    assert [axes.get_title() for axes in figure.axes] == [
        "Pointwise hypothesis stability, measured", "Generalization gap, measured",
        "with the bound of Proposition 4.2", "with the bound of Theorem 4.4, δ = 0.05",
    ]  # fmt: skip
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear", "log", "log"]
    assert figure.get_supxlabel() == "settings"


def test_what_diverged_is_left_out():
    names = ["beta", "beta_low", "gap", "gap_low"]
    artists.assert_unmoved(drawing, POINTS, [0], names, [LABELS[0]])
    artists.assert_unmoved(
        lambda table: drawing(bounds=table), BOUNDS[:3], [0], ["stability_bound", "gap_bound"],
        ["bound, λ = 0.1"],
    )  # fmt: skip
    artists.assert_unmoved(
        lambda table: drawing(ceiling=table), CEILING, [0], ["loss_bound"], ["C: vacuous above"]
    )

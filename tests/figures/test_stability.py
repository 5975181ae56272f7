"""What the figure's artists hold is what the table says."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import theory
from figures.stability import DODGE
from probes.stability import measure


@pytest.fixture(scope="module")
def result():
    return measure(p=[0.1, 0.5], ensemble=[1, 4], task="breast_cancer", n=8, draws=3, steps=10)


@pytest.mark.parametrize(("panel", "quantity"), [(0, "beta"), (1, "gap")])
def test_measured_curves_pass_through_the_means(result, panel, quantity):
    axes = result.plot().axes[panel]
    curves = {container.get_label(): container for container in axes.containers}
    assert set(curves) == {
        "expected weight network", "ensemble, N = 1", "ensemble, N = 4"
    }  # fmt: skip
    expected = result.summary.query("ensemble == 4")
    line, _, (bars,) = curves["ensemble, N = 4"]
    assert np.allclose(np.asarray(line.get_ydata(), float), expected[quantity])
    assert np.allclose(np.asarray(line.get_xdata(), float), expected["p"], atol=2 * DODGE)
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert np.allclose(ends, expected[[f"{quantity}_low", f"{quantity}_high"]])


def test_bound_lines_are_the_theory_at_the_table_s_numbers(result):
    _, _, left, right = result.plot().axes
    known = result.table.query("ensemble == 0").groupby("p")[
        ["lipschitz", "curvature", "loss_bound_used"]
    ].mean()  # fmt: skip
    arguments = {
        "lipschitz": known["lipschitz"], "curvature": known["curvature"], "strength": 0.1,
        "p": known.index, "n": 8,
    }  # fmt: skip
    (line,) = [line for line in left.lines if line.get_label() == "bound, λ = 0.1"]
    assert np.allclose(line.get_ydata(), theory.stability_bound(**arguments))
    (line,) = [line for line in right.lines if line.get_label() == "bound, λ = 0.1"]
    bound = theory.sparsity_gap_bound(**arguments, loss_bound=known["loss_bound_used"], delta=0.05)
    assert np.allclose(line.get_ydata(), bound)


def test_caption_states_the_settings(result):
    figure = result.plot()
    assert isinstance(figure, Figure)
    caption = figure.get_suptitle()
    for words in ("breast_cancer", "n = 8", "3 draws", "objective dropout", "not rescaled"):
        assert words in caption


def test_one_rate_and_one_draw_are_drawn_too():
    figure = measure(p=0.3, task="ridge", n=6, draws=1, steps=5).plot()
    (line,) = [line for line in figure.axes[2].lines if line.get_label() == "bound, λ = 1"]
    assert len(line.get_xdata()) > 50
    figure.canvas.draw()

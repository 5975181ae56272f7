"""The gap figure shows both sides of the identity, as the table has them."""

import numpy as np
import pytest

from probes.stability import measure


@pytest.fixture(scope="module")
def result():
    return measure(p=[0.1, 0.5], ensemble=[2], task="breast_cancer", n=8, draws=3, steps=10)


def test_curves_pass_through_the_means_of_the_deterministic_network(result):
    left, _ = result.plot_gap().axes
    summary = result.summary.query("ensemble == 0")
    for container, column in zip(left.containers, ("gap", "gap_estimate"), strict=True):
        line, _, (bars,) = container
        assert np.allclose(line.get_ydata(), summary[column])
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        assert np.allclose(ends, summary[[f"{column}_low", f"{column}_high"]])


def test_every_draw_is_a_point(result):
    _, right = result.plot_gap().axes
    points = [line for line in right.lines if line.get_label().startswith("p = ")]
    assert sum(len(line.get_xdata()) for line in points) == 2 * 3


def test_a_single_draw_is_drawn_too():
    figure = measure(p=0.3, task="ridge", n=6, draws=1, steps=5).plot_gap()
    figure.canvas.draw()

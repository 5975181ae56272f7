"""The drawn terms are the theory's."""

import numpy as np
import pytest

import theory
from figures.dropout_loss import RATES, draw
from tests.figures import artists
from theory.exact import effective_strength

WHITE = {"white": [[1.0, 1.0], [1.0, -1.0]]}
UPDATE = [[2.0, 0.0]]
PENALTY = "(2p − p²)‖Δ‖², λ = 1"


def test_white_features_add_the_papers_penalty_at_the_effective_strength():
    left, right = draw(WHITE, UPDATE).axes
    rates, added = artists.lines(left)["white"].T
    _, penalty = artists.lines(left)[PENALTY].T
    _, strength = right.lines[0].get_data()
    assert np.allclose(added, strength * penalty)
    assert 0 < rates[0] < rates[-1] < 1


def test_lines_are_the_theory():
    left, right = draw(WHITE, UPDATE).axes
    assert np.allclose(artists.lines(left)[PENALTY][:, 1], theory.expected_penalty(UPDATE, RATES))
    assert np.allclose(right.lines[0].get_ydata(), effective_strength(1.0, RATES))


def test_axes_and_curves_are_named():
    figure = draw(WHITE | {"correlated": [[1.0, 1.0]]}, UPDATE)
    left, right = figure.axes
    assert artists.legend(left) == ["white", "correlated", PENALTY]
    assert left.get_title() == "Rows and columns dropped, rescaled masks"
    assert right.get_title() == "The λ that dropout amounts to"
    assert artists.labels(figure)[0] == ("dropout rate p", "added to the loss")
    assert "update 1 x 2" in figure.get_supxlabel()
    # 1 / (1 - p)^2 at both ends.
    assert "is 1.05 at p = 0.025 and 400 at p = 0.95" in figure.get_suptitle().replace("\n", " ")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_of_a_diverged_model_leave_the_others_alone(value):
    figure = draw({"diverged": [[value, 1.0]]} | WHITE, UPDATE)
    figure.draw_without_rendering()
    own = artists.lines(figure.axes[0])
    assert not np.isfinite(own["diverged"][:, 1]).any()
    assert np.allclose(own["white"], artists.lines(draw(WHITE, UPDATE).axes[0])["white"])
    assert np.allclose(artists.limits(figure), artists.limits(draw(WHITE, UPDATE)))

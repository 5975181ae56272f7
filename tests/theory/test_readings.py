"""The readings of Proposition 4.2: their constants, and their relation to the printed bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import sparsity, stability_bound
from theory.readings import CORRECTED, PRINTED, READINGS, Reading, displacement_bound

positive = st.floats(1e-3, 1e3)


@given(positive, positive, st.floats(0, 10), st.floats(0.01, 1), st.integers(2, 10**6))
def test_the_printed_reading_is_the_papers_bound(lipschitz, strength, curvature, p, n):
    mu = curvature + 2 * strength * sparsity(p)
    bound = PRINTED.bound(lipschitz=lipschitz, lipschitz_regularized=0.0, mu=mu, n=n)
    paper = stability_bound(lipschitz=lipschitz, curvature=curvature, strength=strength, p=p, n=n)
    assert bound == pytest.approx(paper, rel=1e-12)


def test_every_combination_is_a_reading_of_its_own():
    assert len(set(READINGS)) == len(set(map(str, READINGS))) == 2 * 2 * 3 * 3
    assert PRINTED in READINGS
    assert CORRECTED in READINGS


def test_the_point_curvature_is_provable_for_quadratics_only():
    assert PRINTED.is_provable(quadratic=True)
    assert not PRINTED.is_provable(quadratic=False)
    assert CORRECTED.is_provable(quadratic=False)


@pytest.mark.parametrize(
    ("form", "loss", "expected"),
    [("mean", "raw", 8), ("mean", "regularized", 9), ("sum", "raw", 4), ("sum", "regularized", 6)],
)
def test_constants_and_gradients_are_those_of_the_table(form, loss, expected):
    bound = Reading(form=form, loss=loss).bound(
        lipschitz=2.0, lipschitz_regularized=3.0, mu=0.5, n=2
    )
    assert bound == expected


def test_a_loss_that_does_not_move_has_the_bound_0_whatever_the_penalty_does():
    reading = Reading(form="sum", loss="regularized", region="global")
    assert reading.bound(lipschitz=0, lipschitz_regularized=float("inf"), mu=1, n=5) == 0


def test_without_curvature_the_bounds_are_infinite():
    assert CORRECTED.bound(lipschitz=1, lipschitz_regularized=1, mu=0, n=5) == float("inf")
    assert displacement_bound(gradient=1, mu=0, n=5) == float("inf")
    assert displacement_bound(gradient=0, mu=0, n=5) == 0

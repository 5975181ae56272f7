"""The readings of Proposition 4.2: their constants, and their relation to the printed bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import sparsity, stability_bound
from theory.closeness import CLOSE_CONSTANT
from theory.readings import (
    AT_POINT,
    CORRECTED,
    NOT_CLOSE,
    READINGS,
    WHERE_CLOSE,
    Reading,
    displacement_bound,
)

positive = st.floats(1e-3, 1e3)


@given(positive, positive, st.floats(0, 10), st.floats(0.01, 1), st.integers(2, 10**6))
def test_at_a_point_the_raw_loss_has_the_papers_formula(lipschitz, strength, curvature, p, n):
    mu = curvature + 2 * strength * sparsity(p)
    bound = AT_POINT.bound(lipschitz=lipschitz, lipschitz_regularized=0.0, mu=mu, n=n)
    paper = stability_bound(lipschitz=lipschitz, curvature=curvature, strength=strength, p=p, n=n)
    assert bound == pytest.approx(paper, rel=1e-12)


def test_every_combination_is_a_reading_of_its_own():
    assert len(set(READINGS)) == len(set(map(str, READINGS))) == 2 * 2 * 4 * 3
    assert {AT_POINT, CORRECTED, WHERE_CLOSE} <= set(READINGS)


@pytest.mark.parametrize(
    ("reading", "quadratic", "close", "missing"),
    [
        (AT_POINT, True, False, ""),
        (AT_POINT, False, True, "Hessian not constant"),
        (WHERE_CLOSE, False, True, ""),
        (WHERE_CLOSE, True, False, NOT_CLOSE),
        (CORRECTED, False, False, ""),
    ],
)
def test_a_reading_says_which_premise_is_missing(reading, quadratic, close, missing):
    assert reading.missing_premise(quadratic, close) == missing


@pytest.mark.parametrize("form", ["mean", "sum"])
@pytest.mark.parametrize("loss", ["raw", "regularized"])
def test_closeness_costs_a_factor_and_less_than_the_printed_one(form, loss):
    exact, close = (Reading(form, loss, curvature).constant for curvature in ("point", "expansion"))
    assert close == CLOSE_CONSTANT * exact
    assert WHERE_CLOSE.constant < 2


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

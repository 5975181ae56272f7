"""Loss differences, fast rate, and perfect fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from tests.theory.pair_laws import gap, law
from theory.wang2023 import (
    fast_rate_gap_bound,
    interpolating_gap_bound,
    loss_difference_gap_bound,
)

shares, informations = st.floats(0, 1), st.lists(st.floats(0, 1.4), min_size=1, max_size=3)


def test_differences_know_less_than_losses():
    """Both right for one choice, both wrong for the other: losses tell U, their difference not."""
    one = law([[0, 0], [1, 1]], [[1, 0], [0, 1]])
    assert one.of_losses == pytest.approx(np.log(2))
    assert loss_difference_gap_bound(information=[one.of_differences], loss_bound=1.0) == gap([one])


def test_it_fails_for_one_selection():
    """In expectation over U alone: here the information is 0, the gap is 1 for one U, -1 else."""
    one = law([[0, 1]], [[1], [1]])
    assert loss_difference_gap_bound(information=[one.of_differences], loss_bound=1.0) == 0
    assert gap([one]) == 0
    assert one.losses[0, 1] - one.losses[0, 0] == 1


def test_it_fails_where_the_loss_exceeds_its_bound():
    one = law([[0, 2], [2, 0]], [[1, 0], [0, 1]])
    known = {"information": [one.of_differences]}
    assert gap([one]) > loss_difference_gap_bound(**known, loss_bound=1.0)


@pytest.mark.parametrize("train_loss", [1e-6, 0.01, 0.2, 0.7])
@pytest.mark.parametrize("information", [1e-4, 0.05, 0.6])
def test_the_fast_rate_is_the_best_of_the_authors_constants(train_loss, information):
    """They minimise C1 train + I / C2 with e^(2 C2) + e^(-2 C2 (C1 + 1)) <= 2, I one loss's."""

    def objective(c2):
        c1 = -np.log(2 - np.exp(2 * c2)) / (2 * c2) - 1
        return c1 * train_loss + information / 2 / c2

    best = minimize_scalar(objective, bounds=(1e-6, np.log(2) / 2 - 1e-15), method="bounded",
                           options={"xatol": 1e-12})  # fmt: skip
    found = fast_rate_gap_bound(information=[information], train_loss=train_loss, loss_bound=1.0)
    assert found <= best.fun * (1 + 1e-12)
    assert found == pytest.approx(best.fun, rel=1e-6)


@pytest.mark.parametrize("train_loss", [1e-12, 1e-3, 0.5])
@pytest.mark.parametrize("information", [1e-300, 1e-12, 0.3])
def test_the_fast_rate_solves_its_equation(train_loss, information):
    import mpmath

    gap = fast_rate_gap_bound(information=[information], train_loss=train_loss, loss_bound=1.0)
    with mpmath.workdps(700):
        p = mpmath.mpf(train_loss)
        test = p + mpmath.mpf(gap)
        m = (p + test) / 2
        cost = p * mpmath.log(p / m) + test * mpmath.log(test / m)
        assert float(cost / mpmath.mpf(information)) == pytest.approx(1, rel=1e-14)


@given(informations, shares, st.floats(0.01, 100))
def test_the_fast_rate_scales_with_the_unit_and_rises_with_the_loss_bound(information, share, unit):
    bound = fast_rate_gap_bound(information=information, train_loss=share, loss_bound=1.0)
    scaled = fast_rate_gap_bound(information=information, train_loss=share * unit, loss_bound=unit)
    assert scaled == pytest.approx(unit * bound, rel=1e-9, abs=1e-12)
    more = fast_rate_gap_bound(information=information, train_loss=share, loss_bound=1.5)
    assert more >= bound * (1 - 1e-12)


def test_the_fast_rate_is_found_where_the_caller_forbids_numbers_that_are_too_small():
    known = {"information": [1e-300], "train_loss": 0.5, "loss_bound": 1.0}
    with np.errstate(all="raise"):
        found = fast_rate_gap_bound(**known)
    assert found == fast_rate_gap_bound(**known) > 0


def test_the_fast_rate_fails_where_the_loss_exceeds_its_bound():
    one = law([[0, 5], [5, 0]], [[1, 0], [0, 1]])
    assert gap([one]) > fast_rate_gap_bound(
        information=[one.of_single_losses], train_loss=one.train_loss, loss_bound=1.0
    )


@pytest.mark.parametrize("error", [0.01, 0.3, 1.0])
def test_perfect_fit_is_an_equality_for_the_0_1_loss_and_equal_errors(error):
    one = law([[0, 0], [0, 1], [1, 0]], [[1 - error, error, 0], [1 - error, 0, error]])
    bound = interpolating_gap_bound(
        information=[one.of_differences], train_loss=one.train_loss, loss_bound=1.0
    )
    assert bound == pytest.approx(gap([one]), rel=1e-13)
    assert gap([one]) == pytest.approx(error)


def test_where_not_fitted_its_formula_fails_and_it_says_nothing():
    one = law([[0, 1], [1, 0]], [[3, 2], [2, 3]])
    known = {"information": [one.of_differences], "loss_bound": 1.0}
    assert gap([one]) > interpolating_gap_bound(**known, train_loss=0.0)
    assert interpolating_gap_bound(**known, train_loss=one.train_loss) == np.inf
    assert interpolating_gap_bound(**known, train_loss=[0.0, 0.1])[1] == np.inf

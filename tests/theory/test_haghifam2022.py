"""Leave-one-out CMI of an algorithm that fits its examples."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings

from tests.theory.leave_one_out_tables import leave_one_out_gap, tables
from theory.haghifam2022 import leave_one_out_gap_bound
from theory.information import leave_one_out_information


def bound(losses):
    return leave_one_out_gap_bound(
        information=leave_one_out_information(losses), train_loss=0.0, loss_bound=1.0,
        n=len(losses) - 1,
    )  # fmt: skip


@given(tables(fitted=True))
def test_no_table_has_a_gap_above_the_bound(losses):
    assert leave_one_out_gap(losses) <= bound(losses) + 1e-12


@pytest.mark.parametrize("size", [2, 5, 100])
def test_it_is_an_equality_where_every_left_out_example_is_wrong_or_none(size):
    assert bound(np.eye(size)) == pytest.approx(1)
    assert bound(np.zeros((size, size))) == 0


def test_a_logarithm_too_large_by_one_example_is_found():
    def flawed(losses):
        return bound(losses) * np.log(len(losses)) / np.log(len(losses) + 1)

    find(tables(fitted=True), lambda losses: leave_one_out_gap(losses) > flawed(losses) + 1e-9,
         settings=settings(max_examples=100, database=None, phases=[Phase.generate]))  # fmt: skip


def test_where_not_fitted_its_formula_fails_and_it_says_nothing():
    """One prediction for all indices but the first: little information, and the gap of two."""
    losses = np.zeros((8, 8))
    losses[:4, :4] = 1
    losses[4:, 4:] = 1
    known = {"information": leave_one_out_information(losses), "loss_bound": 1.0, "n": 7}
    assert leave_one_out_information(losses) == pytest.approx(np.log(2))
    assert leave_one_out_gap(losses) == pytest.approx(1 - 3 / 7)
    assert leave_one_out_gap(losses) > leave_one_out_gap_bound(train_loss=0.0, **known)
    assert leave_one_out_gap_bound(train_loss=3 / 7, **known) == np.inf


def test_it_fails_where_the_loss_exceeds_its_bound():
    assert leave_one_out_gap(2 * np.eye(4)) == 2 > bound(2 * np.eye(4))


def test_a_share_of_the_loss_that_is_no_double_has_a_bound_that_is_one():
    bound = leave_one_out_gap_bound
    known = {"information": 5e-324, "train_loss": 0.0, "n": 16}
    assert bound(**known, loss_bound=1e300) == pytest.approx(5e-324 * 1e300 / np.log(17))
    known = {"information": 1.5e308, "train_loss": 0.0, "n": 1}
    assert bound(**known, loss_bound=1e-300) == pytest.approx(1.5e8 / np.log(2))

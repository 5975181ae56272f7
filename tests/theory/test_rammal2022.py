"""Leave-one-out CMI without perfect fit."""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings

from tests.theory.leave_one_out_tables import leave_one_out_gap, tables
from theory.information import information_gap_bound, leave_one_out_information
from theory.rammal2022 import leave_one_out_gap_bound


def bound(losses):
    return leave_one_out_gap_bound(
        information=leave_one_out_information(losses), loss_bound=1.0, n=len(losses) - 1
    )


@given(tables())
def test_no_table_has_a_gap_above_the_bound(losses):
    assert abs(leave_one_out_gap(losses)) <= bound(losses) + 1e-12


def test_of_two_examples_it_is_the_bound_of_a_pair():
    for information in (0.01, 0.5):
        assert leave_one_out_gap_bound(
            information=information, loss_bound=3.0, n=1
        ) == pytest.approx(information_gap_bound(information=[information], loss_bound=3.0))


def test_it_is_tight_to_first_order():
    """A random algorithm, that errs at either half; at the half with U a little more often.

    The information is that of a coin of chance (1 + lean) / 2, lean^2 / 2, and the gap is
    (1 + 1/n) lean / 2.
    """
    lean, n = 0.01, 7
    chances = np.array([1 + lean, 1 - lean]) / 2
    information = float(chances @ np.log(2 * chances))
    gap = (1 + 1 / n) * (chances[0] - 0.5)
    found = leave_one_out_gap_bound(information=information, loss_bound=1.0, n=n)
    assert gap <= found <= gap * (1 + lean)


def test_half_the_constant_is_found():
    find(tables(), lambda losses: abs(leave_one_out_gap(losses)) > bound(losses) / 2 + 1e-9,
         settings=settings(max_examples=100, database=None, phases=[Phase.generate]))  # fmt: skip


def test_it_fails_where_the_index_is_not_uniform():
    """The first example is always left out: ordinary information 0, the gap that of one model."""
    assert leave_one_out_gap_bound(information=0.0, loss_bound=1.0, n=3) == 0
    losses = np.zeros((4, 4))
    losses[0, 0] = 1
    assert losses[0, 0] - losses[0, 1:].mean() == 1


def test_it_fails_where_the_loss_exceeds_its_bound():
    losses = 3 * np.eye(4)
    assert leave_one_out_gap(losses) == 3 > bound(losses)

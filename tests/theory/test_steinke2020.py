"""Evaluated CMI: the information of the pair of losses."""

import numpy as np
import pytest

from tests.theory.pair_laws import gap, law
from theory.steinke2020 import evaluated_information_gap_bound, interpolating_evaluated_gap_bound


@pytest.mark.parametrize("lean", [0.1, 0.01, 0.001])
def test_it_is_tight_where_the_difference_is_large_and_tells_little(lean):
    """I is the divergence of coins of chance (1 + lean) / 2 and 1/2: lean^2 / 2 to fourth order."""
    one = law([[0, 1], [1, 0]], [[1 + lean, 1 - lean], [1 - lean, 1 + lean]])
    bound = evaluated_information_gap_bound(information=[one.of_losses], loss_bound=1.0)
    assert gap([one]) == pytest.approx(lean)
    # Only sums of probabilities are exact to 1e-16, and the information is their square.
    assert bound / gap([one]) * (1 + 1e-16 / lean**2) >= 1
    assert bound / gap([one]) == pytest.approx(1 + lean**2 / 12, abs=lean**3 + 1e-15 / lean**2)


def test_it_fails_where_the_coin_is_not_fair():
    """U = 0 always: ordinary information is 0, and the gap that of a memorised example."""
    assert evaluated_information_gap_bound(information=[0.0], loss_bound=1.0) == 0
    memorised = law([[0, 1]], [[1], [1]])
    always_0 = memorised.losses[0, 1] - memorised.losses[0, 0]
    assert always_0 == 1
    assert gap([memorised]) == 0  # with a fair coin, half of the time the other one is memorised


def test_perfect_fit_costs_three_halves_and_is_asked_for():
    one = law([[0, 1], [1, 0]], [[1, 0], [0, 1]])
    known = {"information": [one.of_losses], "loss_bound": 1.0}
    bound = interpolating_evaluated_gap_bound(**known, train_loss=0.0)
    assert gap([one]) == 1 <= bound == pytest.approx(1.5 * np.log(2))
    assert interpolating_evaluated_gap_bound(**known, train_loss=1e-300) == np.inf


def test_where_not_fitted_its_formula_fails():
    one = law([[0, 1], [1, 0]], [[3, 2], [2, 3]])
    assert one.train_loss > 0
    assert gap([one]) > interpolating_evaluated_gap_bound(
        information=[one.of_losses], train_loss=0.0, loss_bound=1.0
    )

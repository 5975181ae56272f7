"""The binary-kl form of evaluated CMI."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from tests.theory.pair_laws import gap, law
from theory.hellstrom2022 import binary_kl_gap_bound

shares, informations = st.floats(0, 1), st.lists(st.floats(0, 0.7), min_size=1, max_size=3)


@pytest.mark.parametrize("train_loss", [0.01, 0.2, 0.45])
@pytest.mark.parametrize("information", [0.001, 0.1, 0.3])
def test_it_is_the_root_of_the_authors_inequality(train_loss, information):
    """As in their code: the largest R with kl(train, train/2 + R/2) at most the information."""

    def kl(q, p):
        return q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))

    largest = 2 - train_loss - 1e-13
    risk = brentq(lambda r: kl(train_loss, train_loss / 2 + r / 2) - information, train_loss + 1e-9,
                  largest, xtol=1e-14)  # fmt: skip
    bound = binary_kl_gap_bound(information=[information], train_loss=train_loss, loss_bound=1.0)
    assert bound == pytest.approx(risk - train_loss, abs=1e-12)


def test_what_fits_and_tells_its_choice_has_the_largest_gap_and_bound():
    one = law([[0, 1], [1, 0]], [[1, 0], [0, 1]])
    bound = binary_kl_gap_bound(information=[one.of_losses], train_loss=0.0, loss_bound=1.0)
    assert gap([one]) == 1
    assert bound == pytest.approx(1, abs=1e-15)


@given(informations, shares, st.floats(0.01, 100))
def test_it_scales_with_the_unit_and_rises_with_the_loss_bound(information, share, unit):
    known = {"information": information}
    bound = binary_kl_gap_bound(**known, train_loss=share, loss_bound=1.0)
    scaled = binary_kl_gap_bound(**known, train_loss=share * unit, loss_bound=unit)
    assert scaled == pytest.approx(unit * bound, rel=1e-9, abs=1e-12)
    assert binary_kl_gap_bound(**known, train_loss=share, loss_bound=1.5) >= bound * (1 - 1e-12)


@given(st.lists(st.tuples(shares, st.floats(0, 0.7)), min_size=1, max_size=4))
def test_the_mean_of_the_bounds_is_below_the_bound_at_the_means(supersamples):
    """So the bounds given each supersample are averaged, not what goes into them."""
    train, information = np.array(supersamples).T
    each = binary_kl_gap_bound(information=information[:, None], train_loss=train, loss_bound=1.0)
    together = binary_kl_gap_bound(
        information=[information.mean()], train_loss=min(train.mean(), 1.0), loss_bound=1.0
    )
    assert each.mean() <= together + 1e-9


def test_it_fails_where_the_loss_exceeds_its_bound():
    one = law([[0, 3], [3, 0]], [[1, 0], [0, 1]])
    assert gap([one]) > binary_kl_gap_bound(
        information=[one.of_losses], train_loss=one.train_loss, loss_bound=1.0
    )


def test_it_fails_given_masks_that_tell_the_choice():
    """Given such a mask, U is known: no information, the same gap."""
    assert binary_kl_gap_bound(information=[0.0], train_loss=0.0, loss_bound=1.0) == 0
    assert gap([law([[0, 1], [1, 0]], [[1, 0], [0, 1]])]) == 1

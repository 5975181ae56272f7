"""Bounds from information cannot be refuted by any law of a selection and what is observed of it.

The same search must find the flaw in bounds that are wrong on purpose.
"""

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings, target
from hypothesis import strategies as st

from tests.theory.pair_laws import LOSSES, gap, laws, means
from theory.harutyunyan2021 import prediction_information_gap_bound
from theory.hellstrom2022 import binary_kl_gap_bound
from theory.steinke2020 import evaluated_information_gap_bound, interpolating_evaluated_gap_bound
from theory.wang2023 import (
    fast_rate_gap_bound,
    interpolating_gap_bound,
    loss_difference_gap_bound,
)

#: What a bound of the theory may fall short by: rounding of sums of a few numbers of size 1.
ROUNDING, SUMMED = 1e-9, 1e-12
#: Laws of one pair with losses 0 and 1 that the search for a planted flaw may look at.
TRIES = 2_000


def root(bound, information):
    return lambda pairs: bound(information=means(pairs, information), loss_bound=1.0)


def with_train_loss(bound, information, share=1.0):
    return lambda pairs: bound(
        information=np.multiply(share, means(pairs, information)),
        train_loss=float(np.mean(means(pairs, "train_loss"))),
        loss_bound=1.0,
    )


def positive_part_bound(pairs):
    """Binary kl with the difference's information, and the smaller loss taken off both."""
    train = [
        np.mean([one.given[u] @ np.maximum(one.losses[:, u] - one.losses[:, 1 - u], 0)
                 for u in (0, 1)])
        for one in pairs
    ]  # fmt: skip
    return binary_kl_gap_bound(
        information=means(pairs, "of_differences"), train_loss=np.mean(train), loss_bound=1.0
    )


BOUNDS = {
    "f-CMI": root(prediction_information_gap_bound, "of_predictions"),
    "e-CMI": root(evaluated_information_gap_bound, "of_losses"),
    "ld-CMI": root(loss_difference_gap_bound, "of_differences"),
    "binary kl": with_train_loss(binary_kl_gap_bound, "of_losses"),
    "binary kl, ld": with_train_loss(binary_kl_gap_bound, "of_differences"),
    "binary kl, positive part": positive_part_bound,
    "fast rate": with_train_loss(fast_rate_gap_bound, "of_single_losses"),
    "fast rate, pairs": with_train_loss(fast_rate_gap_bound, "of_losses"),
}
TWO_SIDED = ("f-CMI", "e-CMI", "ld-CMI")
FITTED = {
    "ld-CMI": with_train_loss(interpolating_gap_bound, "of_differences"),
    "e-CMI": with_train_loss(interpolating_evaluated_gap_bound, "of_losses"),
}


def excess(pairs, bound, two_sided=False):
    """The gap over the bound; above 1 the bound fails."""
    size = abs(gap(pairs)) if two_sided else gap(pairs)
    return float((size - SUMMED) / max(bound(pairs) * (1 + ROUNDING), 1e-300))


def several(fitted=False, losses=LOSSES, pairs=3):
    return st.lists(laws(losses, fitted), min_size=1, max_size=pairs)


@pytest.mark.parametrize("name", BOUNDS)
@given(pairs=several())
def test_no_law_has_a_gap_above_the_bound(name, pairs):
    ratio = excess(pairs, BOUNDS[name], two_sided=name in TWO_SIDED)
    target(min(ratio, 2.0))
    assert ratio <= 1


@pytest.mark.parametrize("name", FITTED)
@given(pairs=several(fitted=True))
def test_no_law_that_fits_has_a_gap_above_the_bound(name, pairs):
    assert all(one.train_loss == 0 for one in pairs)
    assert excess(pairs, FITTED[name]) <= 1


def four_fifths(bound):
    return lambda pairs: 0.8 * bound(pairs)


def difference_of_one_loss(pairs):
    """The information of the first loss alone."""
    first = [one.information(list(one.losses[:, 0])) for one in pairs]
    return loss_difference_gap_bound(information=first, loss_bound=1.0)


def not_the_middle(pairs):
    """d(train || test) in the place of d(train || middle)."""
    return BOUNDS["binary kl"](pairs) / 2


def the_larger_of_both(pairs):
    """The larger information of the two losses in the place of the sum."""
    known = [max(one.information(list(one.losses[:, k])) for k in (0, 1)) for one in pairs]
    train = float(np.mean(means(pairs, "train_loss")))
    return fast_rate_gap_bound(information=known, train_loss=train, loss_bound=1.0)


FLAWS = {
    "constant 1.6 for 2": four_fifths(BOUNDS["e-CMI"]),
    "f-CMI, half the information": lambda pairs: BOUNDS["f-CMI"](pairs) / np.sqrt(2),
    "ld-CMI, half the constant": lambda pairs: BOUNDS["ld-CMI"](pairs) / 2,
    "ld-CMI, root of a mean of squares": lambda pairs: float(
        np.mean(np.square(np.sqrt(2 * np.array(means(pairs, "of_differences")))))
    ),
    "one loss alone": difference_of_one_loss,
    "binary kl, half the information": with_train_loss(binary_kl_gap_bound, "of_losses", 0.5),
    "binary kl, not the middle": not_the_middle,
    "fast rate, half the information": with_train_loss(
        fast_rate_gap_bound, "of_single_losses", 0.5
    ),
    "fitted, though not": lambda pairs: float(np.mean(means(pairs, "of_differences")) / np.log(2)),
}
FITTED_FLAWS = {
    "in bits": lambda pairs: float(np.mean(means(pairs, "of_differences"))),
    "fast rate, the larger of both": the_larger_of_both,
    "a tenth less": lambda pairs: 0.9 * FITTED["ld-CMI"](pairs),
    "constant 4/3 for 3/2": lambda pairs: FITTED["e-CMI"](pairs) * 4 / 3 / 1.5,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flaw", "fitted"),
    [(flaw, False) for flaw in FLAWS] + [(flaw, True) for flaw in FITTED_FLAWS],
)
def test_a_planted_flaw_is_found(flaw, fitted):
    bound = (FITTED_FLAWS if fitted else FLAWS)[flaw]
    found = find(
        several(fitted, st.sampled_from([0.0, 1.0]), 1),
        lambda pairs: excess(pairs, bound) > 1.0001,
        settings=settings(max_examples=TRIES, derandomize=True, database=None,
                          phases=[Phase.generate]),
    )  # fmt: skip
    assert gap(found) > bound(found)


@given(several())
def test_binary_kl_of_pairs_is_within_the_root_of_the_same_information(pairs):
    """Pinsker's inequality."""
    assert BOUNDS["binary kl"](pairs) <= np.sqrt(2 * np.mean(means(pairs, "of_losses"))) + 1e-9


def test_neither_of_fast_rate_and_binary_kl_is_always_the_smaller_one():
    known = {"information": [0.1], "loss_bound": 1.0}
    for train, fast_is_smaller in ((0.0, True), (0.5, False)):
        fast = fast_rate_gap_bound(train_loss=train, **known)
        assert (fast < binary_kl_gap_bound(train_loss=train, **known)) == fast_is_smaller


@given(several(fitted=True))
def test_what_fits_has_its_fast_rate_and_its_binary_kl_in_order(pairs):
    ld = FITTED["ld-CMI"](pairs)
    assert ld <= BOUNDS["fast rate, pairs"](pairs) + 1e-9
    assert ld <= FITTED["e-CMI"](pairs) + 1e-9
    assert BOUNDS["fast rate, pairs"](pairs) <= FITTED["e-CMI"](pairs) + 1e-9

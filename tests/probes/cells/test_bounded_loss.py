"""Losses of pairs: what is selected, how they are counted, and what rounding may change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.cells.bounded_loss import chosen, clipped_loss, zero_one_loss
from probes.cells.supersample import Outcome, balanced_selections


def made(seed, count=8, n=5, bins=3, ceiling=None):
    """A clipped loss of random losses."""
    generator = np.random.default_rng(seed)
    pairs, test = (Outcome(generator.exponential(size=(count, m)), None, None) for m in (2 * n, 7))
    selections = balanced_selections(count, n, generator)
    return clipped_loss(pairs, test, selections, ceiling, bins), pairs, test, selections


def test_train_and_new_loss_are_those_of_the_selected_and_of_the_others():
    loss, pairs, test, selections = made(0)
    train = [pairs.losses[k, i + 5 * selections[k, i]] for k in range(8) for i in range(5)]
    new = [pairs.losses[k, i + 5 * (1 - selections[k, i])] for k in range(8) for i in range(5)]
    assert loss.train_loss == pytest.approx(np.mean(train))
    assert loss.new_loss == pytest.approx(np.mean(new))
    assert loss.gap == pytest.approx(np.mean(new) - np.mean(train))
    assert loss.gap_test == pytest.approx(
        np.minimum(test.losses, loss.loss_bound).mean() - np.mean(train)
    )


def test_the_first_replicas_keep_their_values_and_c():
    loss, pairs, _, selections = made(3, ceiling=1.0)
    half, clipped = loss.first(4), np.minimum(pairs.losses, 1.0)
    train = [clipped[k, i + 5 * selections[k, i]] for k in range(4) for i in range(5)]
    assert half.train_loss == pytest.approx(np.mean(train))
    assert half.loss_bound == 1.0
    for part, whole in (
        (half.values, loss.values), (half.rounded, loss.rounded), (half.codes, loss.codes),
        (half.selections, loss.selections), (half.test, loss.test),
    ):  # fmt: skip
        assert np.array_equal(part, whole[:4])


@given(seed=st.integers(0, 10_000), bins=st.integers(2, 6))
def test_rounding_moves_the_gap_by_no_more_than_is_granted(seed, bins):
    loss, *_ = made(seed, bins=bins)
    rounded = loss.first(8)
    rounded = type(loss)(
        loss.name, loss.loss_bound, loss.rounded, loss.rounded, loss.codes, loss.selections,
        loss.test,
    )  # fmt: skip
    assert abs(loss.gap - rounded.gap) <= loss.rounding + 1e-12
    off = np.abs(loss.values - loss.rounded)
    sides = (chosen(off, loss.selections), chosen(off, 1 - loss.selections))
    assert loss.rounding == pytest.approx(sum(side.mean() for side in sides))
    assert loss.rounded.min() >= 0
    assert loss.rounded.max() <= loss.loss_bound


def test_the_rounded_train_loss_is_that_of_the_selected_and_never_above_c():
    loss, *_ = made(4)
    selected = [loss.rounded[k, loss.selections[k, i], i] for k in range(8) for i in range(5)]
    assert loss.rounded_train_loss == pytest.approx(np.mean(selected))
    # Their mean rounds to the next double above 0.1.
    equal = Outcome(np.full((8, 2), 0.1), None, None)
    selections = balanced_selections(8, 1, np.random.default_rng(0))
    clipped = clipped_loss(equal, None, selections, 0.1, 2)
    assert chosen(clipped.rounded, selections).mean() > 0.1
    assert clipped.rounded_train_loss <= clipped.loss_bound == 0.1


def test_losses_are_clipped_at_c_or_at_the_largest():
    loss, pairs, *_ = made(1)
    assert loss.loss_bound == pairs.losses.max()
    assert made(1, ceiling=0.5)[0].values.max() == 0.5


def test_codes_tell_pairs_and_differences_apart_and_nothing_else():
    wrong = np.array([[0, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]], bool)
    outcome = Outcome(np.zeros((4, 4)), np.zeros((4, 4), int), wrong)
    selections = balanced_selections(4, 2, np.random.default_rng(0))
    loss = zero_one_loss(outcome, outcome, selections)
    pairs = [[(row[i], row[i + 2]) for i in range(2)] for row in wrong.astype(int)]
    same_pair = [[a == b for b in np.ravel(loss.pair_codes)] for a in np.ravel(loss.pair_codes)]
    flat = [pair for row in pairs for pair in row]
    assert same_pair == [[a == b for b in flat] for a in flat]
    differences = np.ravel(loss.difference_codes)
    assert [[a == b for b in differences] for a in differences] == [
        [a[1] - a[0] == b[1] - b[0] for b in flat] for a in flat
    ]
    assert loss.rounding == 0


def test_without_held_out_examples_nothing_but_their_gap_is_unknown():
    loss, pairs, _, selections = made(2)
    alone = clipped_loss(pairs, None, selections, None, 3)
    assert np.isnan(alone.gap_test)
    assert (alone.gap, alone.rounding) == (loss.gap, loss.rounding)
    wrong = Outcome(pairs.losses, None, pairs.losses > 1)
    right_or_wrong = zero_one_loss(wrong, None, selections)
    assert np.isnan(right_or_wrong.gap_test)
    assert right_or_wrong.loss_bound == 1
    assert right_or_wrong.train_loss == np.mean(
        [wrong.wrong[k, i + 5 * selections[k, i]] for k in range(8) for i in range(5)]
    )

"""Jackknife and jackknife+: the construction by other means, coverage, and what breaks it."""

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from theory.barber2021 import (
    jackknife_accepts,
    jackknife_coverage,
    jackknife_interval,
    jackknife_plus_accepts,
    jackknife_plus_coverage,
    jackknife_plus_interval,
)

#: At 1 no value is small enough.
LEVELS = [0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 1.0]
values = st.integers(-4, 4).map(float)


def sorted_at(numbers, place):
    """The place-th smallest number, from 1."""
    found = sorted(numbers)
    return -np.inf if place < 1 else np.inf if place > len(found) else found[place - 1]


@example(pairs=[(0.0, float(error)) for error in range(9)], alpha=0.7)
@given(
    pairs=st.lists(st.tuples(values, st.integers(0, 4).map(float)), min_size=1, max_size=25),
    alpha=st.sampled_from(LEVELS),
)
def test_the_ends_are_the_printed_quantiles(pairs, alpha):
    """Places in exact fractions: (1 - 0.7) * 10 is 3, which doubles say is more."""
    centres, errors = zip(*pairs, strict=True)
    n, exact = len(pairs), Fraction(str(alpha))
    low, high = jackknife_plus_interval(centres, errors, alpha)
    assert low == sorted_at([c - e for c, e in pairs], int(exact * (n + 1)))
    place = -int(-(1 - exact) * (n + 1) // 1)
    assert high == sorted_at([c + e for c, e in pairs], place)
    low, high = jackknife_interval(2.0, errors, alpha, widening=0.5)
    assert (high - 2.0, 2.0 - low) == (sorted_at(errors, place) + 0.5,) * 2


@given(
    pairs=st.lists(st.tuples(values, st.integers(0, 4).map(float)), min_size=2, max_size=25),
    alpha=st.sampled_from(LEVELS),
    candidate=values,
)
def test_the_set_of_residuals_lies_within_the_interval(pairs, alpha, candidate):
    centres, errors = (np.array(part) for part in zip(*pairs, strict=True))
    scores = np.abs(candidate - centres)
    low, high = jackknife_plus_interval(centres, errors, alpha)
    if jackknife_plus_accepts(scores, errors, alpha):
        assert low <= candidate <= high
    low, high = jackknife_interval(0.0, errors, alpha, widening=1.0)
    assert jackknife_accepts(abs(candidate), errors, alpha, 1.0) == (low <= candidate <= high)


def nearest(features, labels, where):
    """Predict the label of the nearest example; an unstable algorithm."""
    return labels[np.abs(features - where).argmin()]


def average(features, labels, where):
    return labels.mean()


def farthest(features, labels, where):
    return -labels[np.abs(features - where).argmax()]


@pytest.mark.parametrize("predict", [nearest, average, farthest])
@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.34])
@pytest.mark.parametrize("seed", range(5))
def test_coverage_over_all_orders_of_a_population(predict, alpha, seed):
    """n + 1 examples in every order are exchangeable: which is new is all that matters."""
    generator, size = np.random.default_rng(seed), 12
    features, labels = generator.random(size), generator.integers(0, 3, size).astype(float)
    covered, as_set = 0, 0
    for new in range(size):
        rest = [j for j in range(size) if j != new]
        without = [[j for j in rest if j != i] for i in rest]
        errors = [
            abs(labels[i] - predict(features[kept], labels[kept], features[i]))
            for i, kept in zip(rest, without, strict=True)
        ]
        centres = [predict(features[kept], labels[kept], features[new]) for kept in without]
        low, high = jackknife_plus_interval(centres, errors, alpha)
        covered += low <= labels[new] <= high
        as_set += jackknife_plus_accepts(np.abs(labels[new] - np.array(centres)), errors, alpha)
    assert covered >= as_set
    assert as_set / size >= jackknife_plus_coverage(alpha) - 1e-12


def test_no_table_of_scores_refutes_the_guarantee():
    """The proof's tournament: every table of scores of 3 examples, in every order of them."""
    alpha, size = 0.34, 3
    places = [(i, j) for i in range(size) for j in range(size) if i != j]
    for found in product((0.0, 1.0, 2.0), repeat=len(places)):
        table = dict(zip(places, found, strict=True))
        covered = sum(
            # scores[i] is that of the new example in the network without both.
            bool(jackknife_plus_accepts(
                [table[new, i] for i in rest], [table[i, new] for i in rest], alpha
            ))
            for new, *rest in permutations(range(size), size)
        )  # fmt: skip
        assert covered / 6 >= jackknife_plus_coverage(alpha)


def test_a_stable_algorithm_has_the_coverage_of_the_plain_jackknife():
    """The mean of n + 1 values in every order moves by a known amount at most."""
    alpha, size = 0.1, 41
    labels = np.random.default_rng(0).standard_normal(size)
    moves, covered = [], {0.0: 0, 0.1: 0}
    for new in range(size):
        rest = np.delete(labels, new)
        without = (rest.sum() - rest) / (size - 2)
        moves += list(np.abs(rest.mean() - without))
        for widening in covered:
            low, high = jackknife_interval(rest.mean(), np.abs(rest - without), alpha, widening)
            covered[widening] += low <= labels[new] <= high
    for widening, hits in covered.items():
        unstable = np.mean(np.array(moves) > widening)
        assert hits / size >= jackknife_coverage(alpha, unstable) - 1e-12
    assert jackknife_coverage(alpha, np.mean(np.array(moves) > 0.1)) == pytest.approx(0.9)


def test_without_stability_the_plain_jackknife_may_cover_nothing():
    """It answers the truth from n - 1 examples, and something else from n."""
    truth, n = 5.0, 20
    errors, centres = np.zeros(n), np.full(n, truth)
    low, high = jackknife_interval(truth + 1, errors, 0.1)
    assert not low <= truth <= high
    low, high = jackknife_plus_interval(centres, errors, 0.1)
    assert low <= truth <= high
    assert jackknife_coverage(0.1, 1.0) == 0


def test_without_exchangeability_the_jackknife_plus_may_cover_nothing():
    """New examples from elsewhere."""
    low, high = jackknife_plus_interval(np.zeros(20), np.linspace(0, 1, 20), 0.1)
    assert not low <= 10.0 <= high


def test_too_few_examples_give_no_limit():
    low, high = jackknife_plus_interval([0.0, 1.0], [0.1, 0.1], 0.1)
    assert (low, high) == (-np.inf, np.inf)
    assert jackknife_plus_accepts([1e9] * 2, [0.0, 0.0], 0.1)
    assert jackknife_accepts(1e9, [0.0, 0.0], 0.1)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"residuals must be \(2,\), got \(3,\)"):
        jackknife_plus_interval([0.0, 1.0], [0.0, 0.0, 0.0], 0.1)
    with pytest.raises(ValueError, match=r"left_out must be \(2,\), got \(1,\)"):
        jackknife_plus_accepts([0.0, 1.0], [0.0], 0.1)
    with pytest.raises(ValueError, match=r"left_out must be \(2,\), got \(2, 2\)"):
        jackknife_plus_accepts(np.zeros((2, 2)), np.zeros((2, 2)), 0.1)
    for interval in (jackknife_interval, jackknife_plus_interval):
        with pytest.raises(ValueError, match="residuals must be at least 1, got 0"):
            interval([], [], 0.1)
    for accepts in (jackknife_accepts, jackknife_plus_accepts):
        with pytest.raises(ValueError, match="left_out must be at least 1, got 0"):
            accepts([], [], 0.1)

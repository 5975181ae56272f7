"""Spearman's correlations, and intervals of their mean that hold the truth."""

import numpy as np
import pytest
from scipy.stats import binom, rankdata, spearmanr, t

from probes.metrics.rank_correlations import (
    mean_over_columns,
    mean_over_rows_and_columns,
    rank_correlations,
)


def with_ties(rows=12, columns=5):
    generator = np.random.default_rng(0)
    given, truth = generator.normal(size=(2, rows, columns)).round(1)
    return given, given + truth


def spearmans(given, truth):
    return [spearmanr(a, b).statistic for a, b in zip(given.T, truth.T, strict=True)]


def test_correlations_are_spearmans():
    given, truth = with_ties()
    expected = spearmans(given, truth)
    given[:, 3] = 1.0
    found = rank_correlations(given, truth)
    assert found[:3].tolist() == pytest.approx(expected[:3])
    assert np.isnan(found[3])


def by_hand(given, truth):
    """Correlations of the columns that have an order, one column at a time."""
    columns = zip(given.T, truth.T, strict=True)
    return np.array(
        [
            np.corrcoef(rankdata(one), rankdata(other))[0, 1]
            for one, other in columns
            if len(set(one)) > 1 and len(set(other)) > 1
        ]
    )


def spread(values):
    return np.var(values, ddof=1) / len(values) if len(values) > 1 else np.nan


def within_one(mean, variance, freedom):
    """A mean with Student's interval; no correlation lies beyond 1."""
    half = t.isf(0.025, max(freedom, 1)) * np.sqrt(variance)
    return [mean, *np.clip([mean - half, mean + half], -1, 1)]


def mean_of(values):
    return np.mean(values) if len(values) else np.nan


def test_small_tables_of_whole_numbers_have_what_is_counted_by_hand():
    """Constant columns, which have no order, ties, two rows, one column; ends that reach 1."""
    generator, reached = np.random.default_rng(0), []
    for table in range(32):
        rows, columns = 2 + table % 4, 1 + table // 4 % 4
        given = generator.integers(0, 4, (rows, columns)).astype(float)
        truth = given + generator.integers(-1, 3, (rows, columns))
        found = rank_correlations(given, truth)
        whole = by_hand(given, truth)
        assert found.shape == (columns,)
        assert found[np.isfinite(found)] == pytest.approx(whole)
        expected = within_one(mean_of(whole), spread(whole), len(whole) - 1)
        assert mean_over_columns(given, truth) == pytest.approx(expected, nan_ok=True)
        known = np.isfinite(found)
        less = [
            mean_of(by_hand(*(np.delete(one[:, known], row, 0) for one in (given, truth))))
            for row in range(rows)
        ]
        mean = np.clip(rows * mean_of(whole) - (rows - 1) * np.mean(less), -1, 1)
        variance = (rows - 1) * np.var(less) + spread(whole)
        expected = within_one(mean, variance, rows - 1) if rows > 2 else [np.nan] * 3
        jackknife = mean_over_rows_and_columns(given, truth)
        assert jackknife == pytest.approx(expected, nan_ok=True)
        reached.append(abs(jackknife[0]) == 1)
    assert 0 < sum(reached) < len(reached)


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_have_no_order(rows):
    found = rank_correlations(*np.zeros((2, rows, 3)))
    assert found.shape == (3,)
    assert np.isnan(found).all()
    assert np.isnan(mean_over_columns(*np.zeros((2, rows, 3)))).all()
    assert np.isnan(mean_over_rows_and_columns(*np.zeros((2, rows, 3)))).all()


def test_the_jackknife_is_that_of_correlations_without_each_row():
    """Ties included: the slow twin leaves a row out and ranks again."""
    given, truth = with_ties()
    rows = len(given)
    whole = np.array(spearmans(given, truth))
    without = [
        np.mean(spearmans(np.delete(given, row, 0), np.delete(truth, row, 0)))
        for row in range(rows)
    ]
    mean, low, high = mean_over_rows_and_columns(given, truth)
    assert mean == pytest.approx(rows * whole.mean() - (rows - 1) * np.mean(without))
    variance = (rows - 1) * np.var(without) + np.var(whole, ddof=1) / len(whole)
    assert high - mean == pytest.approx(2.200985 * np.sqrt(variance))
    assert mean - low == pytest.approx(high - mean)


def test_columns_alone_have_students_interval():
    given, truth = with_ties()
    found = np.array(spearmans(given, truth))
    half = 2.776445 * found.std(ddof=1) / np.sqrt(5)
    expected = (found.mean(), found.mean() - half, min(found.mean() + half, 1))
    assert mean_over_columns(given, truth) == pytest.approx(expected)


def test_one_column_has_no_interval():
    given, truth = with_ties(columns=1)
    for find in (mean_over_columns, mean_over_rows_and_columns):
        mean, low, high = find(given, truth)
        assert np.isfinite(mean)
        assert np.isnan([low, high]).all()


def test_where_one_row_makes_the_order_the_jackknife_knows_nothing():
    given = np.array([[1.0], [0.0], [0.0], [0.0]])
    truth = np.arange(4.0)[:, None]
    assert np.isfinite(rank_correlations(given, truth)).all()
    assert np.isnan(mean_over_rows_and_columns(given, truth)).all()


def test_a_perfect_order_is_certain():
    given, _ = with_ties()
    assert mean_over_rows_and_columns(given, 2 * given) == pytest.approx((1, 1, 1))
    assert mean_over_columns(given, -given) == pytest.approx((-1, -1, -1))


class Subsets:
    """Losses of networks without random halves of 64 examples: sums of effects, and noise.

    A share of the noise is common to the held-out examples of a network, through three factors.
    """

    def __init__(self, noise, shared, seed=0):
        self.generator = generator = np.random.default_rng(seed)
        self.effects = generator.normal(size=(64, 2000)) * generator.exponential(size=(64, 1))
        self.loadings = generator.normal(size=(3, 2000)) / np.sqrt(3)
        spread = np.sqrt((self.effects**2).sum(0) / 4)
        self.common, self.own = noise * spread * np.sqrt([[shared], [1 - shared]])

    def draw(self, subsets, columns):
        """Sums of the scores of what subsets leave out, and losses, (subsets, columns) each."""
        generator = self.generator
        left = (generator.random((subsets, 64)).argsort(axis=1) < 32).astype(float)
        sums = left @ self.effects[:, columns]
        common = generator.normal(size=(subsets, 3)) @ self.loadings[:, columns]
        own = generator.normal(size=sums.shape)
        return sums, sums + self.common[columns] * common + self.own[columns] * own

    @property
    def truth(self):
        """The score of 4,000 subsets and 500 of the held-out examples."""
        return rank_correlations(*self.draw(4000, np.arange(0, 2000, 4))).mean()


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.9])
@pytest.mark.parametrize(("noise", "score"), [(0.25, 0.97), (1.7, 0.52), (1e3, 0.0)])
def test_the_interval_holds_its_estimate_and_the_score_of_many_subsets(noise, score, shared):
    """At a coverage of 93 % so few of 200 intervals hold the truth once in a million."""
    subsets = Subsets(noise, shared)
    truth = subsets.truth
    assert truth == pytest.approx(score, abs=0.05)
    holds = 0
    for _ in range(200):
        columns = subsets.generator.integers(2000, size=30)
        mean, low, high = mean_over_rows_and_columns(*subsets.draw(50, columns))
        assert low <= mean <= high
        holds += low <= truth <= high
    assert holds >= binom.ppf(1e-6, 200, 0.93)

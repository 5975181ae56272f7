"""Supersamples of which every selection is trained: as a loop over selections, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import mutual_info_score
from sklearn.neighbors import KNeighborsClassifier

from probes.statements.information_cases import FITTED, ONE_SIDED, TWO_SIDED, every_draw
from probes.statements.supersamples import (
    FITTING,
    LEARNERS,
    LeaveOneOuts,
    Population,
    Supersamples,
    every_selection,
    nearest_neighbour,
    ridge,
    threshold,
)

POPULATION = Population.random(9, np.random.default_rng(3))
PAIRS = np.array([[[0, 7], [3, 3], [8, 1]], [[2, 5], [4, 6], [0, 8]]])


def random_learner(seed):
    """Predictions 0 or 1 that are a random function of the training set."""

    def learner(features, labels, points):
        drawn = np.random.default_rng([seed, *features.astype(int)])
        return drawn.integers(0, 2, len(points)).astype(float)

    return learner


@pytest.mark.parametrize("name", LEARNERS)
def test_all_is_as_in_a_loop_over_selections(name):
    tried = Supersamples.of(LEARNERS[name], POPULATION, PAIRS)
    for which, pairs in enumerate(PAIRS):
        gaps, trained, seen = [], [], []
        for u in every_selection(3):
            chosen = np.sort(pairs[np.arange(3), u])
            said = LEARNERS[name](POPULATION.features[chosen], POPULATION.labels[chosen],
                                  POPULATION.features)  # fmt: skip
            losses = np.square(said - POPULATION.labels)[pairs]
            trained.append(losses[np.arange(3), u].mean())
            gaps.append(losses[np.arange(3), 1 - u].mean() - trained[-1])
            seen.append((said[pairs], losses))
        assert tried.gap[which] == pytest.approx(np.mean(gaps))
        assert tried.train_loss[which] == pytest.approx(np.mean(trained))
        for pair in range(3):
            chosen = every_selection(3)[:, pair]
            for found, of in (
                (tried.of_predictions, [str(said[pair]) for said, _ in seen]),
                (tried.of_losses, [str(losses[pair]) for _, losses in seen]),
                (tried.of_differences, [str(losses[pair, 1] - losses[pair, 0])
                                        for _, losses in seen]),
            ):  # fmt: skip
                assert found[which, pair] == pytest.approx(mutual_info_score(chosen, of), abs=1e-14)
            single = [
                mutual_info_score(chosen, [str(losses[pair, k]) for _, losses in seen])
                for k in (0, 1)
            ]
            assert tried.of_single_losses[which, pair] == pytest.approx(sum(single), abs=1e-14)


def test_learners_are_scikit_learns():
    x, y = POPULATION.features[[1, 2, 6, 8]], POPULATION.labels[[1, 2, 6, 8]]
    points = POPULATION.features
    nearest = KNeighborsClassifier(1).fit(x[:, None], y)
    np.testing.assert_array_equal(nearest_neighbour(x, y, points), nearest.predict(points[:, None]))
    fitted = Ridge(alpha=1.0).fit(x[:, None], y).predict(points[:, None])
    np.testing.assert_allclose(ridge(x, y, points), np.clip(fitted, 0, 1), atol=1e-14)


def test_the_threshold_has_the_fewest_errors():
    x, y = POPULATION.features, POPULATION.labels
    errors = np.abs(threshold(x, y, x) - y).sum()
    assert errors == min(np.abs((x >= t) - y).sum() for t in range(len(x) + 1))


@pytest.mark.parametrize("name", FITTING)
def test_what_is_said_to_fit_fits(name):
    tried = Supersamples.of(LEARNERS[name], POPULATION, PAIRS)
    assert tried.train_loss.tolist() == [0.0, 0.0]


def test_leaving_out_is_as_in_a_loop():
    examples = np.array([[0, 3, 4, 8], [1, 2, 5, 7]])
    tried = LeaveOneOuts.of(ridge, POPULATION, examples)
    for which, some in enumerate(examples):
        for left in range(4):
            kept = np.delete(some, left)
            said = ridge(POPULATION.features[kept], POPULATION.labels[kept],
                         POPULATION.features[some])  # fmt: skip
            expected = np.square(said - POPULATION.labels[some])
            np.testing.assert_allclose(tried.losses[which, left], expected, atol=1e-15)
    left = np.array([[one[i, i] for i in range(4)] for one in tried.losses])
    kept = tried.losses.sum(axis=(1, 2)) - left.sum(axis=1)
    np.testing.assert_allclose(tried.left_out_loss, left.mean(axis=1))
    np.testing.assert_allclose(tried.train_loss, kept / 12)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(3, 8))
def test_no_random_learner_has_a_gap_above_a_bound(seed, points):
    population = Population.random(points, np.random.default_rng(seed))
    pairs = np.random.default_rng(seed).integers(0, points, (2, 4, 2))
    tried = Supersamples.of(random_learner(seed), population, pairs)
    for bound in TWO_SIDED.values():
        assert (np.abs(tried.gap) <= bound(tried) + 1e-12).all()
    for bound in (*ONE_SIDED.values(), *FITTED.values()):
        assert (tried.gap <= bound(tried) + 1e-12).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_gap_of_supersamples_is_that_of_the_population(seed):
    population = Population.random(3, np.random.default_rng(seed))
    tried = Supersamples.of(random_learner(seed), population, every_draw(population, 2))
    expected = population.expected_gap(random_learner(seed), 2)
    assert tried.gap.mean() == pytest.approx(expected, abs=1e-14)

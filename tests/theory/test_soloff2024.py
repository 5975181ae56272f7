"""Subbagging: the bound by other means, what it must hold for, and what breaks it."""

from itertools import combinations, product

import numpy as np
import pytest

from theory.soloff2024 import (
    drawn_bags_stability_bound,
    leave_one_out_changes,
    subbagging_stability_bound,
)


def all_bags(n, m):
    return np.array([[i in bag for i in range(n)] for bag in combinations(range(n), m)], float)


def root_mean_square(changes):
    return np.sqrt(np.square(changes).mean(0))


SIZES = [(n, m) for n in range(2, 8) for m in range(1, n)]


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_the_changes_are_those_of_the_subbagged_predictors(n, m):
    """Against a loop over the subsets of S and of S without each example."""
    generator = np.random.default_rng([n, m])
    answers = {bag: generator.random() for bag in combinations(range(n), m)}
    full = np.mean(list(answers.values()))
    for i, change in enumerate(leave_one_out_changes(list(answers.values()), all_bags(n, m))):
        rest = [j for j in range(n) if j != i]
        without = np.mean([answers[bag] for bag in combinations(rest, m)])
        assert change == pytest.approx(without - full, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(n, m) for n, m in SIZES if len(all_bags(n, m)) <= 10])
def test_no_learner_at_all_exceeds_the_bound(n, m):
    """Every function from subsets to {0, 1}; in between the mean square is no larger: convexity."""
    bags = all_bags(n, m)
    answers = np.array(list(product((0.0, 1.0), repeat=len(bags)))).T
    worst = root_mean_square(leave_one_out_changes(answers, bags)).max()
    bound = subbagging_stability_bound(n=n, m=m)
    assert worst <= bound * (1 + 1e-12)
    assert worst >= bound / 2


@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_a_memoriser_of_one_example_reaches_the_bound_at_halves(n):
    bags = all_bags(n, n // 2)
    found = root_mean_square(leave_one_out_changes(bags[:, 0], bags))
    assert found == pytest.approx(subbagging_stability_bound(n=n, m=n // 2), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_the_bound_of_all_bags_is_that_of_the_drawn_ones(n, m):
    found = drawn_bags_stability_bound(all_bags(n, m), value_range=3.0)
    assert found == pytest.approx(subbagging_stability_bound(n=n, m=m, value_range=3.0), rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_drawn_bags_are_bounded_for_the_worst_predictions(seed):
    """Predictions that follow the direction in which the bags vary most."""
    generator = np.random.default_rng(seed)
    n, drawn = 6, 12
    bags = np.array([generator.permutation(n) < 3 for _ in range(drawn)], float)
    if bags.all(0).any():
        pytest.skip("every bag holds some example")
    answers = np.array(list(product((0.0, 1.0), repeat=drawn))).T
    worst = root_mean_square(leave_one_out_changes(answers, bags)).max()
    bound = drawn_bags_stability_bound(bags)
    assert bound / 2 <= worst <= bound * (1 + 1e-12)


def test_many_drawn_bags_come_near_all_of_them():
    """Their largest eigenvalue is (1 + sqrt(n/B))^2 times the true one (Marchenko & Pastur)."""
    generator, n, drawn = np.random.default_rng(0), 64, 100_000
    bags = (generator.random((drawn, n)).argsort(1) < n // 2).astype(float)
    ratio = drawn_bags_stability_bound(bags) / subbagging_stability_bound(n=n, m=n // 2)
    assert 1 < ratio < 1 + 2 * np.sqrt(n / drawn)


def test_outside_its_assumptions_it_fails():
    """Predictions beyond the range, bags that are not all subsets, the change of one example."""
    n, m = 6, 3
    bags = all_bags(n, m)
    bound = subbagging_stability_bound(n=n, m=m)
    majority = (bags[:, :3].sum(1) > 1.5).astype(float)
    assert root_mean_square(leave_one_out_changes(2 * majority, bags)) > bound
    halves = np.repeat(np.eye(2), m, axis=1)
    assert root_mean_square(leave_one_out_changes([0.0, 1.0], halves)) == 0.5 > bound
    assert drawn_bags_stability_bound(halves) == pytest.approx(0.5)
    memorised = leave_one_out_changes(bags[:, 0], bags)
    assert np.abs(memorised).max() == pytest.approx(m / n)
    assert m / n > bound


def test_whole_numbers_that_doubles_cannot_tell_apart():
    assert subbagging_stability_bound(n=1e300, m=1e300 - 1) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="m must be at most n - 1, 3, got 4"):
        subbagging_stability_bound(n=4, m=4)

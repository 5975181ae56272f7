"""Stability of descent: the runs against a loop, how near the bound is, and flaws of it."""

import numpy as np
import pytest

from probes.statements.descent_cases import (
    convex_cases,
    descend,
    draw_pairs,
    long_step_cases,
    slope_at,
    smoothness,
    strongly_convex_cases,
)
from probes.statements.exact_minimisers import TASKS, Problem
from probes.statements.linear_losses import SQUARED
from probes.statements.setting import Setting
from theory.hardt2016 import convex_descent_stability_bound

SETTING = Setting("breast_cancer", 20, 0.3, 0.1, 2, 2, 0.05, 0)


def test_the_bounds_hold_with_their_premises_and_fail_without():
    for cases in (convex_cases(SETTING), strongly_convex_cases(SETTING)):
        assert {case.verdict for case in cases} <= {"holds", "vacuous"}
    (case,) = long_step_cases()
    assert case.verdict == "fails without its premise"


def test_a_run_with_an_example_replaced_is_a_run_on_the_other_examples():
    population = SETTING.population
    pairs, _ = draw_pairs(SETTING, 0)
    n, s = SETTING.n, 0.01
    step = 1 / smoothness(population, s)
    found = descend(population, pairs, [None] * 5, step, s)
    for i in (0, 7):
        index = np.arange(n)
        index[i] = n + i
        theta = np.zeros(found.ends.shape[1:])
        for _ in range(5):
            gradient = pairs.take(index).gradients(theta).mean(0) + 2 * s * theta
            theta = theta - step * gradient
        np.testing.assert_allclose(found.ends[i + 1], theta, rtol=1e-12, atol=1e-15)


def test_one_example_a_step_leaves_a_run_alone_until_its_example_comes():
    pairs, _ = draw_pairs(SETTING, 0)
    order = [np.array([j]) for j in (3, 5, 1)]
    ends = descend(SETTING.population, pairs, order, 0.01, 0.0).ends
    alike = [np.array_equal(ends[i + 1], ends[0]) for i in range(7)]
    assert alike == [i not in (1, 3, 5) for i in range(7)]


@pytest.mark.parametrize("steps", [1, 3])
def test_the_slope_is_that_along_the_way_where_the_ends_are_flatter(steps):
    """From 0, where an example at 2 has a slope of 4, down to a fourth of the distance a step."""
    pairs = Problem(np.ones((6, 1)), np.full((6, 1), 2.0), SQUARED)
    found = descend(pairs, pairs, [None] * steps, 3 / 8, 0.0)
    assert found.slope == 4
    assert slope_at(pairs, found.ends, 0.0) == 4 / 4**steps


@pytest.mark.parametrize("task", TASKS)
def test_no_example_bends_more_than_the_smoothness(task):
    """At 0, where logistic and softmax losses bend most; squares bend as much everywhere."""
    problem = Setting(task, 20, 0.3, 0.1, 1, 2, 0.05, 0).sample(0)
    shape = (1, problem.targets.shape[1], problem.features.shape[1])
    bends = [
        np.linalg.eigvalsh(problem.hessian(np.zeros(shape), one[None], 0.25))[0, -1]
        for one in np.eye(len(problem))
    ]
    most = smoothness(problem, 0.25)
    assert most / 2 < max(bends) <= most * (1 + 1e-12)


def test_a_penalty_steepens_what_it_points_along():
    """At -1 the square around 2 has a slope of -6, and a penalty of a half one of -1; at 0 less."""
    one = Problem(np.ones((1, 1)), np.full((1, 1), 2.0), SQUARED)
    assert slope_at(one, np.array([[[-1.0]], [[0.0]]]), 0.5) == 7


def test_the_change_is_the_largest_of_any_run_and_example():
    population, s = SETTING.population, 0.01
    found = descend(population, draw_pairs(SETTING, 0)[0], [None] * 3, 0.01, s)
    first, *others = [population.losses(end) + s * (end**2).sum() for end in found.ends]
    assert found.change(population, s) == max(np.abs(other - first).max() for other in others)


def first_step_ratio():
    """Bound over change after one short step: an example at 1 replaced by one at -1, seen at -1."""
    n = 4
    pairs = Problem(np.ones((2 * n, 1)), np.repeat([[1.0], [-1.0]], n, axis=0), SQUARED)
    found = descend(pairs, pairs, [None], 1e-3, 0.0)
    bound = convex_descent_stability_bound(lipschitz=found.slope, step_sum=found.steps, n=n)
    return bound / found.change(pairs, 0.0)


def test_a_first_step_nearly_reaches_the_bound():
    assert 1 <= first_step_ratio() < 1.01


@pytest.mark.parametrize("flaw", [0.5, 1 / 4], ids=["L^2 in place of 2 L^2", "1/n^2"])
def test_a_planted_flaw_is_found(flaw):
    assert first_step_ratio() * flaw < 1

"""One example a step: the runs against a loop, constants along the way, the ball."""

from dataclasses import replace

import numpy as np
import pytest

from probes.statements.descent_cases import draw_numbers, slope_at, smoothness
from probes.statements.setting import Setting
from probes.statements.stability_cases import common_radius
from probes.statements.stochastic_descent import RULES, descend_singly

SETTING = Setting("breast_cancer", 6, 0.3, 0.1, 1, 2, 0.05, 0)
STEPS = 12


def numbers(runs=3):
    """Examples of every step and run."""
    drawn, generator = draw_numbers(SETTING, 0)
    return drawn[generator.integers(SETTING.n, size=(STEPS, runs))]


def loop(setting, rule, own, twins):
    """End of one run, and the norms of the gradients that it meets, its twin's among them."""
    population, s = setting.population, setting.s if rule.penalized else 0.0
    bend, radius = smoothness(population, s), common_radius(population, setting.s)
    theta, slopes = np.zeros((population.targets.shape[1], population.features.shape[1])), []

    def gradient(number):
        return population.take(np.array([number])).gradients(theta)[0] + 2 * s * theta

    for t, (number, twin) in enumerate(zip(own, twins, strict=True)):
        slopes += [np.linalg.norm(gradient(one)) for one in (number, twin)]
        theta = theta - rule.step(np.array([t + 1.0]), bend, 2 * s)[0] * gradient(number)
        theta = theta / max(1, np.linalg.norm(theta) / radius)
    return theta, slopes


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.theorem)
def test_a_run_is_a_loop_over_its_examples(rule):
    own = numbers()
    runs = descend_singly(SETTING, rule, own, own[:, [0, 0, 0]])
    for run in range(3):
        theta, slopes = loop(SETTING, rule, own[:, run], own[:, 0])
        np.testing.assert_allclose(runs.ends[run], theta, rtol=1e-10, atol=1e-13)
        assert runs.slope >= max(slopes) * (1 - 1e-12)
    s = SETTING.s if rule.penalized else 0.0
    bend = smoothness(SETTING.population, s)
    assert (runs.steps, runs.smoothness, runs.curvature) == (STEPS, bend, 2 * s)


@pytest.mark.parametrize("columns", [[0, 1], [1, 0]])
def test_the_slope_is_that_along_the_way_where_the_ends_are_flatter(columns):
    """Long first steps go far up the squares, the last ones end near the minimum."""
    ridge, rule = replace(SETTING, task="ridge"), RULES[1]
    drawn, generator = draw_numbers(ridge, 0)
    own = drawn[generator.integers(ridge.n, size=(200, 2))]
    twins = own[:, columns]
    runs = descend_singly(ridge, rule, own, twins)
    slopes = [max(loop(ridge, rule, own[:, run], twins[:, run])[1]) for run in range(2)]
    assert runs.slope == pytest.approx(max(slopes), rel=1e-12)
    assert runs.slope > 3 * slope_at(ridge.population, runs.ends, ridge.s)


def test_runs_stay_within_the_ball():
    """The first steps of Theorem 3.10 are long where the penalty is weak."""
    weak = replace(SETTING, strength=1e-3)
    own = numbers()
    ends = descend_singly(weak, RULES[1], own[:1], own[:1]).ends
    radius = common_radius(weak.population, weak.s)
    norms = np.linalg.norm(ends, axis=(1, 2))
    np.testing.assert_allclose(norms, radius, rtol=1e-12)


def test_runs_on_the_same_examples_are_the_same():
    own = numbers()[:, [0, 0]]
    ends = descend_singly(SETTING, RULES[0], own, own).ends
    assert np.array_equal(ends[0], ends[1])

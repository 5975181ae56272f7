"""One example a step: the runs against a loop, constants along the way, the ball."""

from dataclasses import replace

import numpy as np
import pytest

from probes.statements.descent_cases import draw_numbers, smoothness
from probes.statements.setting import Setting
from probes.statements.stability_cases import common_radius
from probes.statements.stochastic_descent import RULES, descend_singly

SETTING = Setting("breast_cancer", 6, 0.3, 0.1, 1, 2, 0.05, 0)
STEPS = 12


def numbers(runs=3):
    """Examples of every step and run."""
    drawn, generator = draw_numbers(SETTING, 0)
    return drawn[generator.integers(SETTING.n, size=(STEPS, runs))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.theorem)
def test_a_run_is_a_loop_over_its_examples(rule):
    own = numbers()
    runs = descend_singly(SETTING, rule, own, own[:, [0, 0, 0]])
    population, s = SETTING.population, SETTING.s if rule.penalized else 0.0
    bend, radius = smoothness(population, s), common_radius(population, SETTING.s)
    slopes = []
    for run in range(3):
        theta = np.zeros(runs.ends.shape[1:])
        for t in range(STEPS):
            for number in (own[t, run], own[t, 0]):
                met = population.take(np.array([number])).gradients(theta)[0] + 2 * s * theta
                slopes.append(np.linalg.norm(met))
            gradient = population.take(own[t, run : run + 1]).gradients(theta)[0] + 2 * s * theta
            theta = theta - rule.step(np.array([t + 1.0]), bend, 2 * s)[0] * gradient
            theta = theta / max(1, np.linalg.norm(theta) / radius)
        np.testing.assert_allclose(runs.ends[run], theta, rtol=1e-10, atol=1e-13)
    assert runs.slope >= max(slopes) * (1 - 1e-12)
    assert (runs.steps, runs.smoothness, runs.curvature) == (STEPS, bend, 2 * s)


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

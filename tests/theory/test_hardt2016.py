"""Stability of gradient descent: tight cases, and what happens without the assumptions."""

import numpy as np
import pytest

from theory.hardt2016 import (
    convex_descent_stability_bound,
    strongly_convex_descent_stability_bound,
)


def descend(targets, step, steps, curvature=1.0):
    """Descend from 0 on the mean of curvature (w - z)^2 / 2, and return all points."""
    w = np.zeros(steps + 1)
    for t in range(steps):
        w[t + 1] = w[t] - step * curvature * (w[t] - np.mean(targets))
    return w


def worst_change(targets, replaced, step, steps, curvature=1.0, points=(-1.0, 0.0, 1.0)):
    """Largest change of the loss at a point, and the largest slope that both runs met there."""
    ends = [descend(one, step, steps, curvature) for one in (targets, replaced)]
    losses = [[curvature * (w[-1] - z) ** 2 / 2 for z in points] for w in ends]
    slopes = [abs(curvature * (w - z)).max() for w in ends for z in (*targets, *replaced, *points)]
    return np.abs(np.subtract(*losses)).max(), max(slopes)


def test_a_linear_loss_reaches_the_bound():
    """Loss -z w with z = 1 replaced by -1: slope L = 1, and the runs part by 2 alpha / n a step."""
    n, step, steps = 10, 0.3, 7
    ends = [step * steps * np.mean(z) for z in (np.ones(n), np.array([-1, *np.ones(n - 1)]))]
    change = abs(ends[0] - ends[1])
    bound = convex_descent_stability_bound(lipschitz=1.0, step_sum=step * steps, n=n)
    assert change == pytest.approx(bound, rel=1e-12)


@pytest.mark.parametrize("step", [0.01, 0.5, 1.0, 1.9])
def test_short_steps_on_convex_losses_stay_below_it(step):
    generator = np.random.default_rng(0)
    for steps in (1, 10, 100):
        targets = generator.uniform(-1, 1, 20)
        replaced = np.array([-targets[0], *targets[1:]])
        change, slope = worst_change(targets, replaced, step, steps)
        bound = convex_descent_stability_bound(lipschitz=slope, step_sum=step * steps, n=20)
        assert 0 < change <= bound


def test_steps_longer_than_two_over_the_smoothness_break_it():
    """Smoothness 1, step 3: distances double in every step."""
    n, steps = 1000, 10
    targets = np.zeros(n)
    replaced = np.array([1.0, *targets[1:]])
    change, slope = worst_change(targets, replaced, 3.0, steps)
    assert change > convex_descent_stability_bound(lipschitz=slope, step_sum=3.0 * steps, n=n)
    change, slope = worst_change(targets, replaced, 1.0, steps)
    assert change <= convex_descent_stability_bound(lipschitz=slope, step_sum=1.0 * steps, n=n)


def test_losses_that_are_not_convex_break_it():
    """Curvature -1: distances grow by half in every step of 1/2, which is short enough."""
    n, step, steps = 1000, 0.5, 17
    targets = np.zeros(n)
    replaced = np.array([1.0, *targets[1:]])
    change, slope = worst_change(targets, replaced, step, steps, curvature=-1.0)
    assert change > convex_descent_stability_bound(lipschitz=slope, step_sum=step * steps, n=n)


@pytest.mark.parametrize("curvature", [0.1, 1.0])
def test_strong_convexity_ends_the_growth_with_time(curvature):
    targets = np.zeros(20)
    replaced = np.array([1.0, *targets[1:]])
    for steps in (1, 10, 1000):
        change, slope = worst_change(targets, replaced, 1 / curvature, steps, curvature)
        bound = strongly_convex_descent_stability_bound(lipschitz=slope, curvature=curvature, n=20)
        assert change <= bound


def test_without_strong_convexity_time_breaks_the_second_bound():
    """A linear loss, of which curvature 1 is claimed."""
    n, steps = 10, 100
    change = 2 * steps / n
    assert change > strongly_convex_descent_stability_bound(lipschitz=1.0, curvature=1.0, n=n)
    assert strongly_convex_descent_stability_bound(lipschitz=1.0, curvature=0.0, n=n) == np.inf

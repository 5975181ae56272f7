"""Stability of gradient descent: tight cases, and what happens without the assumptions."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.hardt2016 import (
    convex_descent_stability_bound,
    decreasing_step_stability_bound,
    nonconvex_descent_stability_bound,
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


def ends_by_order(gradient, targets, step, orders):
    """Ends of runs from 0 on one example a step, one an order; then with the first target 1."""
    return [run(gradient, one, [step] * orders.shape[1], orders)
            for one in (targets, [1.0, *targets[1:]])]  # fmt: skip


@pytest.mark.parametrize(("step", "epochs"), [(1.0, 1), (1.0, 2), (0.5, 2), (0.1, 2)])
def test_strong_convexity_bounds_the_mean_over_shuffled_epochs(step, epochs):
    """Loss (w - z)^2 / 2 in [0, 1]: where the replaced example comes last, nothing follows it."""
    n = 4
    shuffles = np.array(list(permutations(range(n))))
    orders = np.array([np.concatenate(one) for one in product(shuffles, repeat=epochs)])
    ends = ends_by_order(lambda w, z: w - z, [0.0] * n, step, orders)
    change = [abs(np.square(ends[0] - z) - np.square(ends[1] - z)).mean() / 2 for z in (0, 1)]
    bound = strongly_convex_descent_stability_bound(lipschitz=1.0, curvature=1.0, n=n)
    assert max(change) <= bound
    # Here the two gradients differ by 1 and not by 2 L, so that half of the distance is allowed.
    apart = abs(ends[0] - ends[1])
    assert apart.mean() <= 1 / n + 1e-12
    assert apart.argmax() in np.flatnonzero(orders[:, -1] == 0)


def test_a_fixed_order_breaks_the_bound_of_strong_convexity():
    """Of 100 examples the last one is replaced, and a step of 1 goes all the way to it."""
    n = 100
    ends = ends_by_order(lambda w, z: w - z, [0.0] * n, 1.0, np.roll(np.arange(n), -1)[None])
    change = abs(np.square(ends[0]) - np.square(ends[1]))[0] / 2
    assert change > strongly_convex_descent_stability_bound(lipschitz=1.0, curvature=1.0, n=n)


def test_a_part_of_an_epoch_in_a_fixed_order_breaks_the_bound_of_convexity():
    """One step of 1 on the example that is replaced, of 100: the whole epoch has 100 such steps."""
    n = 100
    for steps, holds in ((1, False), (n, True)):
        ends = ends_by_order(lambda w, z: w - z, [0.0] * n, 1.0, np.arange(steps)[None])
        change = abs(np.square(ends[0] - 1) - np.square(ends[1] - 1))[0] / 2
        bound = convex_descent_stability_bound(lipschitz=1.0, step_sum=float(steps), n=n)
        assert (change <= bound) == holds


# One example a step, drawn at random: Theorems 3.10 and 3.12


def run(gradient, targets, step_sizes, orders):
    """Ends of runs from 0, one an order of examples; with no order, of all examples a step."""
    w = np.zeros(1 if orders is None else len(orders))
    for t, step in enumerate(step_sizes):
        if orders is None:
            w = w - step * np.mean([gradient(w, z) for z in targets], axis=0)
        else:
            w = w - step * gradient(w, np.asarray(targets)[orders[:, t]])
    return w


def expected_change(loss, gradient, targets, step_sizes, *, all_examples=False):
    """Largest expected change of the loss at 0 or 1 when the first target, 0, becomes 1."""
    orders = None
    if not all_examples:
        orders = np.array(list(product(range(len(targets)), repeat=len(step_sizes))))
    ends = [run(gradient, one, step_sizes, orders) for one in (targets, [1.0, *targets[1:]])]
    return max(abs(loss(ends[0], z) - loss(ends[1], z)).mean() for z in (0.0, 1.0))


CURVATURE, SMOOTHNESS = 1.0, 4.0


def bent(w, z):
    """Curvature 4 on the one side of z, 1 on the other: between 0 and 2 where w is in [0, 1]."""
    return np.where(w < z, SMOOTHNESS, CURVATURE) * (w - z) ** 2 / 2


def bent_slope(w, z):
    return np.where(w < z, SMOOTHNESS, CURVATURE) * (w - z)


def test_decreasing_steps_on_strongly_convex_losses_stay_below_it():
    """Every order of 3 examples enumerated. The first steps of 1/t leave [0, 1]: 9 bounds all."""
    for steps in range(1, 8):
        change = expected_change(bent, bent_slope, [0.0] * 3, 1 / np.arange(1, steps + 1))
        bound = decreasing_step_stability_bound(
            lipschitz=16.0, smoothness=SMOOTHNESS, curvature=CURVATURE, loss_bound=18.0, n=3
        )
        assert 0 < change <= bound


@pytest.mark.parametrize("theorem", ["3.10", "3.12"])
def test_with_all_examples_in_every_step_the_runs_part_at_once(theorem):
    """Distances grow in the first steps. One example in 1,000 is there from the first step on."""
    targets, t = [0.0] * 1000, np.arange(1, 11)
    if theorem == "3.10":
        # Smoothness 20 and curvature 1, which its losses have: steps of up to 20 / smoothness.
        change = expected_change(
            lambda w, z: 10 * (w - z) ** 2, lambda w, z: 20 * (w - z), targets, 1 / t,
            all_examples=True,
        )  # fmt: skip
        # None of the ten steps shrinks distances: the run is nowhere farther than at its end.
        far = run(lambda w, z: 20 * (w - z), [1.0, *targets[1:]], 1 / t, None)
        reach = 1 + abs(far[0])
        bound = decreasing_step_stability_bound(
            lipschitz=20 * reach, smoothness=20.0, curvature=1.0, loss_bound=10 * reach**2, n=1000
        )
    else:
        # A hilltop: (1 + cos(w - z))/2, on which a run at the top stays there.
        change = expected_change(
            lambda w, z: (1 + np.cos(w - z)) / 2, lambda w, z: -np.sin(w - z) / 2, targets, 8 / t,
            all_examples=True,
        )  # fmt: skip
        bound = nonconvex_descent_stability_bound(
            lipschitz=0.5, smoothness=0.5, step_scale=8.0, steps=10, loss_bound=1.0, n=1000
        )
    assert change > bound


def test_a_hilltop_stays_below_it_with_one_example_a_step():
    """Every order of 3 examples enumerated."""
    for steps, scale in product(range(1, 8), (0.5, 2.0, 8.0)):
        change = expected_change(
            lambda w, z: (1 + np.cos(w - z)) / 2, lambda w, z: -np.sin(w - z) / 2,
            [0.0] * 3, scale / np.arange(1, steps + 1),
        )  # fmt: skip
        bound = nonconvex_descent_stability_bound(
            lipschitz=0.5, smoothness=0.5, step_scale=scale, steps=steps, loss_bound=1.0, n=3
        )
        assert 0 < change <= bound


@given(
    st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.01, 10), st.integers(1, 40),
    st.floats(0.1, 10), st.integers(2, 10**4),
)  # fmt: skip
def test_it_is_the_least_over_all_steps_and_near_the_printed_value(
    lipschitz, smoothness, scale, steps, loss_bound, n
):
    """Rounding the best step costs M/n at most."""
    growth, start = smoothness * scale, np.arange(1, steps + 1)
    apart = 2 * lipschitz**2 / (smoothness * (n - 1))
    every = start * loss_bound / n + apart * ((steps / start) ** growth - 1)
    bound = nonconvex_descent_stability_bound(
        lipschitz=lipschitz, smoothness=smoothness, step_scale=scale, steps=steps,
        loss_bound=loss_bound, n=n,
    )  # fmt: skip
    assert bound == pytest.approx(min(loss_bound, every.min()), rel=1e-9)
    # As printed, for M = 1.
    known = {"smoothness": smoothness, "step_scale": scale, "steps": steps, "n": n}
    printed = (
        (1 + 1 / growth)
        / (n - 1)
        * ((2 * scale * lipschitz**2) ** (1 / (growth + 1)) * steps ** (growth / (growth + 1)))
    )
    bound = nonconvex_descent_stability_bound(lipschitz=lipschitz, loss_bound=1.0, **known)
    assert bound <= printed + 1 / n


def test_smoothness_that_is_next_to_none_leaves_the_sum_of_the_steps():
    """Without growth 2 L^2/(G (n-1)) ((T/t)^(Gc) - 1) is 2 L^2 c/(n-1) ln(T/t), however small G."""
    known = {"lipschitz": 1.0, "steps": 50, "loss_bound": 1.0, "n": 1001}
    expected = min(t / 1001 + 0.6 / 1000 * np.log(50 / t) for t in range(1, 51))
    for smoothness in (1e-12, 1e-300, 5e-324):
        found = nonconvex_descent_stability_bound(smoothness=smoothness, step_scale=0.3, **known)
        assert found == pytest.approx(expected, rel=1e-10)
    # L^2 c is 1, of which neither factor with G is a double.
    found = nonconvex_descent_stability_bound(
        **known | {"lipschitz": 1e100}, smoothness=1e-200, step_scale=1e-200
    )
    assert found == pytest.approx(min(t / 1001 + 2e-3 * np.log(50 / t) for t in range(1, 51)))


def test_a_step_next_to_the_last_has_the_growth_between_the_two():
    """ln T - ln(T - 1) has no digits at T = 1e15; at G c = 1e15 the growth is e."""
    known = {"lipschitz": 1.0, "smoothness": 1e15, "step_scale": 1.0, "steps": 10**15}
    found = nonconvex_descent_stability_bound(loss_bound=1e20, n=2e15, **known)
    # At the last step but k: (T - k) M / n + 2 L^2 / (G (n - 1)) (e^k - 1).
    expected = min((1e15 - k) * 1e20 / 2e15 + 1e-30 * np.expm1(k) for k in range(200))
    assert found == pytest.approx(expected, rel=1e-15)

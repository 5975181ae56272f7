"""How far a second-order expansion is accurate, and what that is worth in Proposition 4.2."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.closeness import (
    CHECKED_STEP,
    CLOSE_CONSTANT,
    EXPANSION_ERROR,
    EXPANSION_STEPS,
    close_constant,
    expansion_constant,
    expansion_reach,
    is_close,
)


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_a_quadratic_is_its_expansion(slope, curvature):
    reach = expansion_reach(
        lambda a: a * slope + a**2 * curvature / 2, slope=slope, curvature=curvature
    )
    assert reach == EXPANSION_STEPS[-1]


@given(st.sampled_from(EXPANSION_STEPS), st.floats(1.1, 1.9))
def test_a_cubic_term_is_seen_where_it_is_a_tenth_of_the_square(step, factor):
    """a^2 + k a^3 is off by k a: by a tenth or less up to a = 1/(10 k)."""
    k = EXPANSION_ERROR / (step * factor)
    assert expansion_reach(lambda a: a**2 + k * a**3, slope=0.0, curvature=2.0) == step


def test_the_steps_are_halvings_and_doublings_of_the_whole_way():
    assert EXPANSION_STEPS == (2**-8, 2**-7, 2**-6, 2**-5, 2**-4, 2**-3, 0.25, 0.5, 1, 2, 4)


def test_an_error_beyond_a_step_that_is_not_accurate_does_not_count():
    """Accurate at 1, but not at 1/2: the reach ends at 1/4."""
    assert expansion_reach(lambda a: a**2 + (a == 0.5), slope=0.0, curvature=2.0) == 0.25


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_change_that_is_not_a_number_is_not_accurate(value):
    assert expansion_reach(lambda a: value, slope=1.0, curvature=1.0) == 0
    assert expansion_reach(lambda a: a + a**2 / 2, slope=value, curvature=1.0) == 0
    assert expansion_reach(lambda a: a + a**2 / 2, slope=1.0, curvature=value) == 0


def test_many_directions_are_those_one_by_one():
    generator = np.random.default_rng(0)
    cubic, slope, curvature = generator.standard_normal((3, 50))
    together = expansion_reach(
        lambda a: a * slope + a**2 * curvature / 2 + a**3 * cubic, slope=slope, curvature=curvature
    )
    alone = [
        expansion_reach(lambda a, k=k, g=g, c=c: a * g + a**2 * c / 2 + a**3 * k,
                        slope=g, curvature=c)
        for k, g, c in zip(cubic, slope, curvature, strict=True)
    ]  # fmt: skip
    assert together.tolist() == alone
    assert is_close(together).tolist() == [reach >= 1 for reach in alone]


def test_what_is_close_is_close_enough_for_the_printed_constant():
    assert {CHECKED_STEP, 1.0} < set(EXPANSION_STEPS)
    assert pytest.approx(1.6, rel=1e-14) == CLOSE_CONSTANT
    assert expansion_constant(error=0.2, step=0.5) == pytest.approx(2, rel=1e-14)
    assert expansion_constant(error=0.201, step=0.5) > 2
    assert close_constant((2**0.5 - 1) / 2) == pytest.approx(2, rel=1e-14)


def test_an_exact_expansion_gives_the_constant_of_quadratics():
    assert close_constant(0.0) == 1
    assert expansion_constant(error=0.0, step=0.999) == pytest.approx(1, abs=1e-3)


@given(st.floats(0, 0.99), st.floats(0, 1))
def test_accuracy_at_every_step_is_worth_as_much_as_at_the_best_one(error, step):
    best = 1 - (2 * error / (1 + error)) ** 0.5
    constant = close_constant(error)
    assert constant <= expansion_constant(error=error, step=step) * (1 + 1e-9)
    if error > 1e-6:
        assert constant == pytest.approx(expansion_constant(error=error, step=best), rel=1e-6)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_constants_grow_with_the_error(step, one, other):
    low, high = sorted([one, other])
    assert close_constant(low) <= close_constant(high)
    assert expansion_constant(error=low, step=step) <= expansion_constant(error=high, step=step)


def test_accuracy_that_implies_nothing_has_an_infinite_constant():
    assert close_constant(1.0) == float("inf")
    assert expansion_constant(error=1.0, step=0.0) == float("inf")
    assert expansion_constant(error=0.1, step=0.95) == float("inf")


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_out_of_range_is_an_error(value):
    with pytest.raises(ValueError, match="error must be in"):
        close_constant(value)
    with pytest.raises(ValueError, match="step must be in"):
        expansion_constant(error=0.1, step=value)


# One dimension, on a grid: the objective f on S, the loss of the example that is left out.

GRID = np.linspace(0, 2, 20_001)


def left_out(objective, loss, n):
    """Where the objective without the example, (n f - loss) / (n - 1), is least on the grid."""
    return int(np.argmin((n * objective - loss) / (n - 1)))


@pytest.mark.parametrize("error", [0.05, EXPANSION_ERROR, 0.2])
@pytest.mark.parametrize("everywhere", [True, False])
def test_the_constants_are_attained(everywhere, error):
    """A parabola up to t, then a line to the end of the way at 1, beyond which it is steep.

    Near 0 it is the parabola of curvature 1 that is expanded; up to t it has 1 + error times its
    height. Without the example the line is flat: a tilt of 2e-4 sends the minimiser to its end.
    """
    n, t = 5, 1 - (2 * error / (1 + error)) ** 0.5 if everywhere else 2e-3
    constant = expansion_constant(error=error, step=t)
    inside = (1 + error * (1 - np.exp(-((GRID / 3e-4) ** 2)))) * GRID**2 / 2
    line = (1 - error) / 2 - (1 - GRID) / constant
    objective = np.where(t >= GRID, inside, np.where(GRID <= 1, line, line + GRID - 1))
    gradient = n / constant * (1 + 2e-4)
    end = left_out(objective, gradient * GRID, n)
    assert GRID[end] == 1
    assert gradient * GRID[end] == pytest.approx(constant * gradient**2 / n, rel=3e-4)
    whole_way = close_constant(error) if everywhere else expansion_constant(error=error, step=0.0)
    assert constant == pytest.approx(whole_way, rel=3e-3)


def random_objective(generator, n):
    """Losses on the grid that need not be convex, with a stationary point of curvature 1 at 0."""
    waves, phases = generator.uniform(0.2, 6, (n, 4)), generator.uniform(0, 2 * np.pi, (n, 4))
    heights = generator.standard_normal((n, 4)) * 10 ** generator.uniform(-2, 0)
    value = (heights[..., None] * np.sin(waves[..., None] * GRID + phases[..., None])).sum(1)
    slope = (heights * waves * np.cos(phases)).sum(1)
    bend = -(heights * waves**2 * np.sin(phases)).sum(1)
    losses = value + (1 - bend.mean()) * GRID**2 / 2 - slope.mean() * GRID
    return losses - losses[:, :1]


def test_no_problem_refutes_the_theorem_convex_or_not():
    """Losses are sums of waves; at 0 their mean has slope 0 and curvature 1."""
    generator, n = np.random.default_rng(0), 4
    tried = nonconvex = 0
    for _ in range(300):
        losses = random_objective(generator, n)
        objective = losses.mean(0)
        for i in range(n):
            end = left_out(objective, losses[i], n)
            if end < 100:
                continue
            way = np.arange(end + 1)
            share = objective[way[1:]] / (GRID[way[1:]] ** 2 / 2)
            error = float(np.abs(share - 1).max())
            gradient = np.abs(np.diff(losses[i, way])).max() / GRID[1]
            change = abs(losses[i, end])
            # The minimiser is one among the points of the grid: so are the steps.
            constants = expansion_constant(error=min(error, 1), step=GRID[way] / GRID[end])
            if np.isfinite(constants.min()):
                tried += 1
                nonconvex += bool((np.diff(objective[way], 2) < 0).any())
            assert change <= constants.min() * gradient**2 / n * (1 + 1e-9)
            at_end = expansion_constant(error=np.clip(1 - share[-1], 0, 1), step=0.0)
            assert change <= at_end * gradient**2 / n * (1 + 1e-9)
    assert tried > 100
    assert nonconvex > 10


@pytest.mark.parametrize("rest", [1e-3, 1e-9, 2.0**-40, 2.0**-53])
def test_without_an_error_the_constant_is_that_of_the_quotient(rest):
    """2 (1 - t) / (1 - t^2) = 2 / (1 + t), also where t^2 has no digits left of 1 - t."""
    assert expansion_constant(error=0.0, step=1 - rest) == pytest.approx(
        2 / (2 - rest), rel=1e-15, abs=0
    )

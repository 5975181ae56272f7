"""Stochastic gradient descent on linear models: one example a step, many runs together.

L of Hardt, Recht & Singer 2016 is measured along the runs: the largest gradient that they meet. The
smoothness is not measured but bounded, for the whole data set and all parameters: it must hold
between two runs as well, where none has been. Runs are projected on the ball that holds every
minimiser, which stretches no distance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statements.descent_cases import slope_at, smoothness
from probes.statements.exact_minimisers import Problem
from probes.statements.linear_losses import Array
from probes.statements.setting import Setting
from probes.statements.stability_cases import common_radius
from theory.hardt2016 import (
    convex_descent_stability_bound,
    decreasing_step_stability_bound,
    nonconvex_descent_stability_bound,
)


@dataclass(frozen=True)
class Runs:
    """Ends of runs, and what they met.

    Attributes:
        ends: theta, (R, k, d).
        steps: T.
        slope: L, the largest norm of a gradient of an example's loss, with its penalty where it has
            one: of what a run and its twin train on, at the run's points, and of the population at
            the ends.
        smoothness: G, a bound for all examples of the population and all theta.
        curvature: gamma, of the penalty alone.
    """

    ends: Array
    steps: int
    slope: float
    smoothness: float
    curvature: float


@dataclass(frozen=True)
class Rule:
    """A theorem's step sizes and its bound.

    Attributes:
        theorem: its number.
        steps_in_words: the step sizes.
        penalized: whether the penalty is part of every example's loss.
        step: sizes of the steps from their numbers 1, 2, ..., the smoothness and the curvature.
        bound: on the stability, from the runs, the largest loss and n.
    """

    theorem: str
    steps_in_words: str
    penalized: bool
    step: Callable[[Array, float, float], Array]
    bound: Callable[[Runs, float, int], float]


#: 3.8 is for convex losses, 3.10 for strongly convex ones, 3.12 for any.
RULES = (
    Rule(
        "Theorem 3.8", "1/G", False,
        step=lambda t, bend, curvature: np.full(len(t), 1 / bend),
        bound=lambda runs, ceiling, n: float(
            convex_descent_stability_bound(
                lipschitz=runs.slope, step_sum=runs.steps / runs.smoothness, n=n
            )
        ),
    ),
    Rule(
        "Theorem 3.10", "1/(γt)", True,
        step=lambda t, bend, curvature: 1 / (curvature * t),
        bound=lambda runs, ceiling, n: float(
            decreasing_step_stability_bound(
                lipschitz=runs.slope, smoothness=runs.smoothness, curvature=runs.curvature,
                loss_bound=ceiling, n=n,
            )
        ),
    ),
    Rule(
        "Theorem 3.12", "1/(Gt)", False,
        step=lambda t, bend, curvature: 1 / (bend * t),
        bound=lambda runs, ceiling, n: float(
            nonconvex_descent_stability_bound(
                lipschitz=runs.slope, smoothness=runs.smoothness, step_scale=1 / runs.smoothness,
                steps=runs.steps, loss_bound=ceiling, n=n,
            )
        ),
    ),
)  # fmt: skip


def descend_singly(
    setting: Setting, rule: Rule, numbers: NDArray[np.int64], twins: NDArray[np.int64]
) -> Runs:
    """Descend from 0, one example a step.

    Args:
        setting: says the population, the penalty and the ball.
        rule: the step sizes.
        numbers: which example of the population each run trains on in each step, (T, R).
        twins: the same of the run that it is compared with, (T, R).

    Returns:
        The runs.
    """
    population, s = setting.population, setting.s if rule.penalized else 0.0
    bend, radius = smoothness(population, s), common_radius(population, setting.s)
    theta = np.zeros((numbers.shape[1], population.targets.shape[1], population.features.shape[1]))
    slope = 0.0
    sizes = rule.step(np.arange(1.0, len(numbers) + 1), bend, 2 * s)
    for size, own, other in zip(sizes, numbers, twins, strict=True):
        gradient = _gradients(population, own, theta, s)
        for met in (gradient, _gradients(population, other, theta, s)):
            slope = max(slope, float(np.linalg.norm(met, axis=(1, 2)).max()))
        theta = theta - size * gradient
        norm = np.linalg.norm(theta, axis=(1, 2), keepdims=True)
        theta *= radius / np.maximum(norm, radius)
    slope = max(slope, slope_at(population, theta, s))
    return Runs(theta, len(numbers), slope, bend, 2 * s)


def _gradients(population: Problem, numbers: NDArray[np.int64], theta: Array, s: float) -> Array:
    """Gradient of one example's loss a run, (R, k, d)."""
    features = population.features[numbers]
    outputs = np.einsum("rkd,rd->rk", theta, features)
    slopes = population.loss.gradient(outputs, population.targets[numbers])
    return slopes[..., None] * features[:, None] + 2 * s * theta

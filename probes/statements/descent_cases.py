"""Stability of gradient descent: linear models trained on S and with an example replaced.

All examples of the data set are the points at which the loss may change; a replaced example is
replaced by one drawn from there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statements.case import Case
from probes.statements.exact_minimisers import Problem, objective_gradient
from probes.statements.linear_losses import SQUARED, Array
from probes.statements.setting import Setting
from probes.statements.stability_cases import ball_lipschitz
from theory.hardt2016 import (
    convex_descent_stability_bound,
    strongly_convex_descent_stability_bound,
)

STATEMENT = "Stability of descent"
#: Examples of S that are replaced, one at a time.
REPLACED = 10
#: Steps of the descent on all examples, and epochs of that on one example at a time.
STEPS, EPOCHS = 100, 2
#: Size of S, and steps, of the descent whose steps are too long.
LONG_N, LONG_STEPS = 1000, 10


@dataclass(frozen=True)
class Descent:
    """Two or more runs that differ in one example each.

    Attributes:
        ends: theta of the run on S, then of those with an example replaced, (1 + R, k, d).
        slope: largest norm of a gradient of the objective's loss at the points that a run visits,
            over S and what replaces its examples, and at the ends over the population.
        steps: sum of the step sizes.
    """

    ends: Array
    slope: float
    steps: float

    def change(self, population: Problem, s: float) -> float:
        """Largest change of a regularized loss over the population, when an example is replaced.

        Args:
            population: examples at which losses are compared.
            s: weight of the penalty.

        Returns:
            The change, in units of the loss.
        """
        penalty = s * np.square(self.ends).sum((1, 2))
        losses = population.losses(self.ends) + penalty[:, None]
        return float(np.abs(losses[1:] - losses[0]).max())


def smoothness(problem: Problem, s: float) -> float:
    """Largest curvature of an example's regularized loss, in units of the loss over theta squared.

    Args:
        problem: the examples.
        s: weight of the penalty.

    Returns:
        The curvature, at least 2 s.
    """
    largest = float(np.square(problem.features).sum(1).max())
    return problem.loss.hessian_bound * largest + 2 * s


def descend(
    population: Problem,
    pairs: Problem,
    order: Sequence[NDArray[np.int64] | None],
    step: float,
    s: float,
) -> Descent:
    """Descend from 0 on S, and on S with each of its first few examples replaced.

    Args:
        population: where the loss is looked at.
        pairs: 2n examples; example i of S is replaced by example n + i.
        order: numbers of the examples of every step, None for all n.
        step: size of the steps.
        s: weight of the penalty of every example's loss.

    Returns:
        The runs.
    """
    n = len(pairs) // 2
    weights = np.tile(np.repeat([1.0, 0.0], n), (1 + min(REPLACED, n), 1))
    for i in range(len(weights) - 1):
        weights[i + 1, [i, n + i]] = 0.0, 1.0
    theta = np.zeros((len(weights), pairs.targets.shape[1], pairs.features.shape[1]))
    slope = slope_at(pairs, theta, s)
    for index in order:
        chosen = np.arange(n) if index is None else index
        both = np.concatenate([chosen, n + chosen])
        part = weights[:, both] / len(chosen)
        theta = theta - step * objective_gradient(pairs.take(both), part, s, theta)
        slope = max(slope, slope_at(pairs, theta, s))
    return Descent(theta, max(slope, slope_at(population, theta, s)), step * len(order))


def slope_at(problem: Problem, theta: Array, s: float) -> float:
    """Bound the gradients of regularized losses at some points, and between any two of them.

    Args:
        problem: the examples.
        theta: the points, (R, k, d).
        s: weight of the penalty.

    Returns:
        In units of the loss per unit of theta. For losses whose gradient can be larger between two
        points, that anywhere.
    """
    penalty = 2 * s * float(np.linalg.norm(theta, axis=(1, 2)).max())
    if not problem.loss.slope_peaks_at_ends:
        return ball_lipschitz(problem, 0.0, float("inf"))[0] + penalty
    slopes = problem.loss.gradient(problem.outputs(theta), problem.targets)
    norms = np.linalg.norm(slopes, axis=-1) * np.linalg.norm(problem.features, axis=1)
    return float(norms.max()) + penalty


def convex_cases(setting: Setting) -> Iterator[Case]:
    """Descent on convex losses, on all examples and on one at a time.

    One at a time, in shuffled epochs, every example takes part in one step of n: then the bound
    holds for each order, not in expectation alone.

    Source: Hardt, Recht & Singer 2016 (arXiv 1509.01240), Theorem 3.8.

    Args:
        setting: its rate and strength do not matter.

    Yields:
        Two cases a draw.
    """
    population = setting.population
    for draw in range(setting.draws):
        pairs, generator = draw_pairs(setting, draw)
        epochs = [generator.permutation(setting.n)[:, None] for _ in range(EPOCHS)]
        for reading, order in (
            ("convex, all examples a step", [None] * STEPS),
            ("convex, one example a step, shuffled", list(np.concatenate(epochs))),
        ):
            step = 1 / smoothness(population, 0.0)
            found = descend(population, pairs, order, step, 0.0)
            bound = convex_descent_stability_bound(
                lipschitz=found.slope, step_sum=found.steps, n=setting.n
            )
            yield Case(
                STATEMENT,
                reading,
                f"{setting.task}, n = {setting.n}",
                found.change(population, 0.0),
                float(bound),
                chance=setting.chance,
                assumptions="convex; steps 1/smoothness; L along training",
                command=setting.command("hardt"),
            )


def strongly_convex_cases(setting: Setting) -> Iterator[Case]:
    """Descent on the theorem's own objective, with steps of 1/smoothness.

    Source: Hardt, Recht & Singer 2016 (arXiv 1509.01240), Theorem 3.9.

    Args:
        setting: says the penalty.

    Yields:
        A case a draw.
    """
    population, s = setting.population, setting.s
    for draw in range(setting.draws):
        pairs, _ = draw_pairs(setting, draw)
        found = descend(population, pairs, [None] * STEPS, 1 / smoothness(population, s), s)
        bound = strongly_convex_descent_stability_bound(
            lipschitz=found.slope, curvature=2 * s, n=setting.n
        )
        yield Case(
            STATEMENT,
            "strongly convex",
            str(setting),
            found.change(population, s),
            float(bound),
            chance=setting.chance,
            assumptions="curvature at least 2s; steps 1/smoothness; L along training",
            command=setting.command("hardt"),
        )


def long_step_cases() -> Iterator[Case]:
    """Steps longer than 2/smoothness, which double every distance: the bound fails.

    Yields:
        One case: 1,000 examples at 0, one of which is replaced.
    """
    targets = np.zeros((2 * LONG_N, 1))
    targets[LONG_N:] = 1.0
    pairs = Problem(np.ones((2 * LONG_N, 1)), targets, SQUARED)
    found = descend(pairs, pairs, [None] * LONG_STEPS, 3 / smoothness(pairs, 0.0), 0.0)
    bound = convex_descent_stability_bound(lipschitz=found.slope, step_sum=found.steps, n=LONG_N)
    yield Case(
        STATEMENT,
        "convex, all examples a step",
        f"squares, n = {LONG_N}, steps of 3/smoothness",
        found.change(pairs, 0.0),
        float(bound),
        failed="steps longer than 2/smoothness",
        assumptions="convex; L along training",
        command="--statement hardt",
    )


def draw_pairs(setting: Setting, draw: int) -> tuple[Problem, np.random.Generator]:
    """Draw S and what replaces its examples, 2n independent examples.

    Args:
        setting: says the population and n.
        draw: its number.

    Returns:
        The examples, and a generator for what else is drawn.
    """
    numbers, generator = draw_numbers(setting, draw)
    return setting.population.take(numbers), generator


def draw_numbers(setting: Setting, draw: int) -> tuple[NDArray[np.int64], np.random.Generator]:
    """Draw which examples of the population S is, and which replace them.

    Args:
        setting: says the population and n.
        draw: its number.

    Returns:
        2n numbers, and a generator for what else is drawn.
    """
    generator = np.random.default_rng([setting.seed, draw, 3])
    return generator.integers(len(setting.population), size=2 * setting.n), generator

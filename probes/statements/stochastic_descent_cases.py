"""Stability of stochastic gradient descent, with every order of the examples enumerated."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from probes.statements.case import Case
from probes.statements.descent_cases import STATEMENT, draw_numbers
from probes.statements.linear_losses import Array
from probes.statements.setting import Setting
from probes.statements.stability_cases import common_ceiling
from probes.statements.stochastic_descent import RULES, descend_singly
from theory.hardt2016 import decreasing_step_stability_bound, nonconvex_descent_stability_bound

#: Size of S, and steps, of which every order is tried: 243.
N, STEPS = 3, 5
#: Size of S and steps of the descent on all examples together.
ALL_N, ALL_STEPS = 1000, 10
#: Of the hilltop (1 + cos(w - z))/2: its slope and curvature are at most 1/2, its height 1.
HILLTOP = 0.5


def every_order(n: int, steps: int) -> NDArray[np.int64]:
    """All sequences of examples.

    Args:
        n: number of examples.
        steps: length of a sequence.

    Returns:
        (n ** steps, steps), numbers from 0 to n - 1.
    """
    return np.array(list(product(range(n), repeat=steps)))


def random_order_cases(setting: Setting) -> Iterator[Case]:
    """Descent on one example a step against each theorem, in expectation over the orders.

    Source: Hardt, Recht & Singer 2016 (arXiv 1509.01240), Theorems 3.8, 3.10 and 3.12; both sides
    are those of the loss without penalty.

    Args:
        setting: says the data set, the penalty and the ball; its n does not matter.

    Yields:
        A case a draw and theorem.
    """
    setting = replace(setting, n=max(setting.n, N))
    population, ceiling = setting.population, common_ceiling(setting)
    orders = every_order(N, STEPS)
    for draw in range(setting.draws):
        numbers, _ = draw_numbers(setting, draw)
        examples = np.tile(numbers[:N], (1 + N, 1))
        for i in range(N):
            examples[1 + i, i] = numbers[setting.n + i]
        own = examples[:, orders]  # (1 + N, orders, steps)
        twins = np.broadcast_to(own[:1], own.shape)
        for rule in RULES:
            runs = descend_singly(
                setting, rule, own.reshape(-1, STEPS).T, twins.reshape(-1, STEPS).T
            )
            losses = population.losses(runs.ends).reshape(1 + N, len(orders), -1)
            yield Case(
                STATEMENT,
                f"{rule.theorem}, every order",
                f"{setting.task}, n = {N}, p = {setting.p:g}, λ = {setting.strength:g}",
                float(np.abs(losses[1:] - losses[0]).mean(1).max()),
                rule.bound(runs, ceiling, N),
                ceiling=ceiling,
                chance=setting.chance,
                assumptions=f"steps {rule.steps_in_words}; L along training",
                command=setting.command("hardt"),
            )


def hilltop_cases() -> Iterator[Case]:
    """A loss that is not convex, (1 + cos(w - z))/2, on whose top the run on S stands.

    Yields:
        One case a step size: 3 examples at 0, one of which moves to 1.
    """
    orders = every_order(N, STEPS)
    targets = np.array([[0.0] * N, [1.0, *[0.0] * (N - 1)]])
    for scale in (0.5, 2.0, 8.0):
        ends = _descend(_hilltop_slope, targets[:, orders], scale / np.arange(1, STEPS + 1))
        yield _hilltop_case(ends, scale, N, STEPS)


def all_examples_cases() -> Iterator[Case]:
    """All examples in every step: the replaced one is there from the first, and the bounds fail.

    Yields:
        A case for Theorem 3.10 and one for 3.12: 1,000 examples at 0, one of which moves to 1.
    """
    targets = np.array([[0.0] * ALL_N, [1.0, *[0.0] * (ALL_N - 1)]])
    numbers = np.arange(1, ALL_STEPS + 1)
    failed = "all examples in every step"
    bend, curvature = 2.0 * ALL_STEPS, 1.0
    ends = _descend_together(lambda w, z: bend * (w - z), targets, 1 / (curvature * numbers))
    # No step shrinks distances: no point is farther from 0 than the ends.
    reach = 1 + float(np.abs(ends).max())
    losses = bend / 2 * np.square(ends[:, None] - [0.0, 1.0])
    bound = decreasing_step_stability_bound(
        lipschitz=bend * reach, smoothness=bend, curvature=curvature,
        loss_bound=bend / 2 * reach**2, n=ALL_N,
    )  # fmt: skip
    yield Case(
        STATEMENT, "Theorem 3.10, every order", f"squares, n = {ALL_N}",
        float(np.abs(losses[1] - losses[0]).max()), float(bound), failed=failed,
        assumptions="steps 1/(γt); L along training", command="--statement hardt",
    )  # fmt: skip
    scale = 8.0
    ends = _descend_together(_hilltop_slope, targets, scale / numbers)
    yield _hilltop_case(ends[:, None], scale, ALL_N, ALL_STEPS, failed)


def _hilltop_case(ends: Array, scale: float, n: int, steps: int, failed: str = "") -> Case:
    """The case of ends (2, orders): of the run on S and of that with an example replaced."""
    losses = (1 + np.cos(ends[..., None] - [0.0, 1.0])) / 2
    bound = nonconvex_descent_stability_bound(
        lipschitz=HILLTOP, smoothness=HILLTOP, step_scale=scale, steps=steps, loss_bound=1.0, n=n
    )
    return Case(
        STATEMENT, "Theorem 3.12, not convex, every order", f"hilltop, n = {n}, c = {scale:g}",
        float(np.abs(losses[1] - losses[0]).mean(0).max()), float(bound), ceiling=1.0,
        failed=failed, assumptions="steps c/t; L, G and M known", command="--statement hardt",
    )  # fmt: skip


def _hilltop_slope(w: Array, z: Array) -> Array:
    return -HILLTOP * np.sin(w - z)


def _descend(slope: Callable[[Array, Array], Array], targets: Array, sizes: Array) -> Array:
    """Ends of runs from 0, whose target of every step is given, (runs, orders, steps)."""
    w = np.zeros(targets.shape[:-1])
    for t, size in enumerate(sizes):
        w = w - size * slope(w, targets[..., t])
    return w


def _descend_together(
    slope: Callable[[Array, Array], Array], targets: Array, sizes: Array
) -> Array:
    """Ends of runs from 0 on the mean loss of all targets, (runs, n)."""
    w = np.zeros(len(targets))
    for size in sizes:
        w = w - size * slope(w[:, None], targets).mean(1)
    return w

"""On-average model stability at exact minimisers: every draw and every replacement enumerated."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from probes.statements.case import Case
from probes.statements.descent_cases import smoothness
from probes.statements.exact_minimisers import newton
from probes.statements.risk_cases import TINY_N, TINY_POPULATION, tiny_draws
from probes.statements.setting import Setting
from probes.statements.stability_cases import ball_lipschitz, common_radius
from theory.lei2020 import lipschitz_gap_bound, smooth_gap_bound

STATEMENT = "On-average model stability"


def average_stability_cases(setting: Setting) -> Iterator[Case]:
    """The expected gap against both bounds, over all samples of 3 from 4 examples of the data set.

    Source: Lei & Ying 2020 (arXiv 2006.08157), Theorem 2.

    Args:
        setting: says the data set and the penalty.

    Yields:
        Two cases.
    """
    population, draws = tiny_draws(setting)
    weights = np.stack([np.bincount(draw, minlength=TINY_POPULATION) for draw in draws]) / TINY_N
    theta = newton(population, weights, setting.s)
    losses = population.losses(theta)
    trained = float(np.take_along_axis(losses, draws, axis=1).mean())
    numbers = {tuple(draw): number for number, draw in enumerate(draws)}
    moved = np.array(
        [
            np.linalg.norm(theta[numbers[(*draw[:i], other, *draw[i + 1 :])]] - theta[number])
            for number, draw in enumerate(draws)
            for i, other in product(range(TINY_N), range(TINY_POPULATION))
        ]
    )
    slope, _ = ball_lipschitz(population, setting.s, common_radius(population, setting.s))
    for reading, bound, assumptions in (
        ("Lipschitz loss", lipschitz_gap_bound(lipschitz=slope, stability=moved.mean()),
         "L on the ball that holds all minimisers"),
        ("smooth loss", smooth_gap_bound(
            train_loss=trained, smoothness=smoothness(population, 0.0),
            stability=float(np.sqrt(np.square(moved).mean()))), "loss at least 0"),
    ):  # fmt: skip
        yield Case(
            STATEMENT,
            reading,
            f"{setting.task}, n = {TINY_N}, p = {setting.p:g}, λ = {setting.strength:g}, "
            f"population of {TINY_POPULATION}",
            float(losses.mean()) - trained,
            float(bound),
            chance=setting.chance,
            assumptions=f"every draw enumerated; {assumptions}",
            command=setting.command("lei"),
        )


def linear_loss_cases() -> Iterator[Case]:
    """A linear loss, 1 - w z at z = 1 or -1 and n = 1, trained to w = z: no curvature, a gap of 1.

    Yields:
        One case, outside what the statement assumes: the loss is below 0 at large w.
    """
    points = np.array([-1.0, 1.0])
    losses = 1 - np.outer(points, points)
    moved = np.subtract.outer(points, points)
    trained = float(losses.diagonal().mean())
    yield Case(
        STATEMENT,
        "smooth loss",
        "linear loss, n = 1",
        float(losses.mean()) - trained,
        float(
            smooth_gap_bound(
                train_loss=trained, smoothness=0.0, stability=np.sqrt(np.square(moved).mean())
            )
        ),
        failed="the loss is below 0 at some parameters",
        assumptions="every draw enumerated",
        command="--statement lei",
    )

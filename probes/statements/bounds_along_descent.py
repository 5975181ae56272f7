"""Bounds on the gap of stochastic gradient descent, over draws of S, beside its measured stability.

The loss is the data set's, in units of the largest value C that it has on the ball that holds every
minimiser, on which all runs stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probes.jobs.job import Progress
from probes.metrics.exceedances import against_bound
from probes.statements.bounds_at_minimisers import REPLACED, record
from probes.statements.descent_cases import draw_numbers
from probes.statements.linear_losses import Array
from probes.statements.setting import Setting
from probes.statements.stability_cases import common_ceiling
from probes.statements.stochastic_descent import RULES, Rule, Runs, descend_singly

#: Steps of every run, whatever n is.
STEPS = 200


def name_of(rule: Rule) -> str:
    """What a bound is called beside those of others."""
    return f"Hardt et al., {rule.theorem}"


#: The bounds, with their references. All are on the expected gap.
BOUNDS = {name_of(rule): f"arXiv 1509.01240, {rule.theorem}" for rule in RULES}
#: Whose gap they bound.
SPEAKS_OF = {name_of(rule): f"SGD, steps {rule.steps_in_words}" for rule in RULES}


@dataclass(frozen=True)
class Descents:
    """The runs of one theorem's step sizes, over draws of S at one size; losses in units of C.

    Attributes:
        rule: the theorem.
        runs: all of them; L is the largest gradient that any of them met.
        train: loss on S at the end, one a draw.
        gap: risk less that.
        stability: largest change of a loss of the population when an example is replaced, the mean
            over draws and replaced examples.
    """

    rule: Rule
    runs: Runs
    train: Array
    gap: Array
    stability: float


def measure_descents(setting: Setting, progress: Progress) -> list[Descents]:
    """Descend on many draws of S, and with each of the first few examples replaced.

    Runs of a draw have the same order, so that they differ in one example alone.

    Args:
        setting: says the population, n, the penalty and the number of draws.
        progress: told the number of draws after every theorem.

    Returns:
        One entry a theorem.
    """
    runs = 1 + min(REPLACED, setting.n)
    drawn = [draw_numbers(setting, draw) for draw in range(setting.coverage_draws)]
    samples = np.stack([numbers for numbers, _ in drawn])  # (draws, 2n)
    orders = np.stack([generator.integers(setting.n, size=STEPS) for _, generator in drawn])
    examples = np.repeat(samples[:, None, : setting.n], runs, axis=1)
    for i in range(runs - 1):
        examples[:, 1 + i, i] = samples[:, setting.n + i]
    own = np.take_along_axis(examples, orders[:, None], axis=2)  # (draws, runs, steps)
    twins = np.broadcast_to(own[:, :1], own.shape)
    found = []
    for rule in RULES:
        ended = descend_singly(setting, rule, own.reshape(-1, STEPS).T, twins.reshape(-1, STEPS).T)
        found.append(_measured(setting, rule, ended, samples[:, : setting.n], runs))
        progress(setting.coverage_draws)
    return found


def _measured(
    setting: Setting, rule: Rule, ended: Runs, samples: NDArray[np.int64], runs: int
) -> Descents:
    """What the ends of all draws' runs say."""
    population = setting.population
    losses = population.losses(ended.ends) / common_ceiling(setting)
    losses = losses.reshape(len(samples), runs, -1)
    train = np.take_along_axis(losses[:, 0], samples, axis=1).mean(1)
    changed = np.abs(losses[:, 1:] - losses[:, :1]).max(2)
    return Descents(rule, ended, train, losses[:, 0].mean(1) - train, float(changed.mean()))


def drawn_records(setting: Setting, found: list[Descents]) -> Iterator[dict[str, Any]]:
    """State the bounds at a size that was drawn.

    Args:
        setting: with this size.
        found: what was measured.

    Yields:
        One record a bound, as of :func:`probes.comparison.measure_cell`.
    """
    for one in found:
        stated = _record(setting, one) | {"stability": one.stability}
        yield stated | against_bound(one.gap, stated["bound"], None)


def continued_records(setting: Setting, last: list[Descents]) -> Iterator[dict[str, Any]]:
    """State the bounds at a size that was not drawn, for as many steps.

    Args:
        setting: with this size.
        last: what was measured at the largest size that was drawn: its L is kept.

    Yields:
        One record a bound.
    """
    for one in last:
        yield _record(setting, one)


def _record(setting: Setting, one: Descents) -> dict[str, Any]:
    ceiling = common_ceiling(setting)
    bound = one.rule.bound(one.runs, ceiling, setting.n) / ceiling
    name = name_of(one.rule)
    return record(setting.n, name, bound, float(one.train.mean())) | {"of": SPEAKS_OF[name]}

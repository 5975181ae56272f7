"""Jackknife and jackknife+: exact coverage over the orders of a population of n + 1 examples.

All orders of n + 1 examples are equally likely, so that they are exchangeable, and all that matters
is which of them is new: the coverage is a mean over n + 1 cases, and nothing is sampled.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probes.statements.case import Case
from probes.statements.exact_minimisers import load_problem
from probes.statements.linear_losses import Array
from theory.barber2021 import (
    jackknife_coverage,
    jackknife_interval,
    jackknife_plus_accepts,
    jackknife_plus_coverage,
    jackknife_plus_interval,
)

#: Examples of a population, and levels.
SIZES, LEVELS = (20, 42), (0.05, 0.1, 0.2)
#: What the learner that is as unstable as can be adds, in standard deviations of the value.
JUMP = 100.0
#: Penalty of the ridge regression.
RIDGE = 0.1
#: How far the plain jackknife is widened, in standard deviations of the value.
WIDENINGS = (0.0, 0.1)
COMMAND = "--statement jackknife"
PLUS, PLAIN = "Jackknife+", "Jackknife"

#: Trains on features (m, d) and values (m,); predicts the value at one point (d,).
Learner = Callable[[Array, Array, Array], float]


def ridge(features: Array, values: Array, where: Array) -> float:
    """Ridge regression without intercept.

    Args:
        features: of the training set, (n, d).
        values: (n,).
        where: the point that is asked, (d,).

    Returns:
        The value there.
    """
    gram = features.T @ features / len(features) + RIDGE * np.eye(features.shape[1])
    return float(where @ np.linalg.solve(gram, features.T @ values / len(features)))


def nearest(features: Array, values: Array, where: Array) -> float:
    """The value of the nearest example: unstable; arguments as of :func:`ridge`."""
    return float(values[np.square(features - where).sum(1).argmin()])


def jump(features: Array, values: Array, where: Array) -> float:
    """The nearest example's value, and far off if their number is odd, as n is.

    With arguments as of :func:`ridge`.
    """
    return nearest(features, values, where) + JUMP * (len(features) % 2)


LEARNERS: dict[str, Learner] = {"ridge": ridge, "nearest": nearest, "jump": jump}


@dataclass(frozen=True)
class Populations:
    """Predictions from all but one and all but two of n + 1 examples.

    Attributes:
        values: of the examples, (n + 1,).
        without_one: prediction of j by the network without j, (n + 1,).
        without_both: prediction of j by the network without j and i, (n + 1, n + 1) at [j, i].
    """

    values: Array
    without_one: Array
    without_both: Array

    def others(self, new: int) -> Array:
        """All examples but the new one."""
        return np.delete(np.arange(len(self.values)), new)

    def residuals(self, new: int) -> Array:
        """Leave-one-out residuals of the examples that are not new, (n,)."""
        rest = self.others(new)
        return np.abs(self.values[rest] - self.without_both[rest, new])

    def left_out(self, new: int) -> Array:
        """Predictions of the new one without each of the others, (n,)."""
        return np.asarray(self.without_both[new, self.others(new)])

    def missed(self, alpha: float) -> float:
        """Probability that the interval of the jackknife+ misses the new value."""
        ends = [
            jackknife_plus_interval(self.left_out(new), self.residuals(new), alpha)
            for new in range(len(self.values))
        ]
        return self._missed(ends)

    def missed_by_set(self, alpha: float) -> float:
        """Probability that the set of the jackknife+, which is smaller, misses the new value."""
        inside = [
            jackknife_plus_accepts(
                np.abs(self.values[new] - self.left_out(new)), self.residuals(new), alpha
            )
            for new in range(len(self.values))
        ]
        return 1 - float(np.mean(inside))

    def missed_by_plain(self, alpha: float, widening: float) -> float:
        """Probability that the interval of the plain jackknife, widened, misses the new value.

        Args:
            alpha: level, in (0, 1).
            widening: what is added to both sides of the interval, in units of the value.

        Returns:
            The probability, over the new example and the training set.
        """
        ends = [
            jackknife_interval(self.without_one[new], self.residuals(new), alpha, widening)
            for new in range(len(self.values))
        ]
        return self._missed(ends)

    def unstable(self, widening: float) -> float:
        """Probability that the prediction of a new value moves by more when one is left out."""
        moved = [
            np.abs(self.left_out(new) - self.without_one[new]) > widening
            for new in range(len(self.values))
        ]
        return float(np.mean(moved))

    def _missed(self, ends: Sequence[tuple[Array, Array]]) -> float:
        low, high = np.array(ends, np.float64).T
        return 1 - float(((low <= self.values) & (self.values <= high)).mean())


def populations(learn: Learner, size: int, seed: int) -> Populations:
    """Train a learner on all but one and all but two of some patients of the diabetes data.

    Args:
        learn: the learner.
        size: n + 1.
        seed: of the patients.

    Returns:
        All predictions.
    """
    index = np.random.default_rng([seed, size]).permutation(len(load_problem("ridge")))[:size]
    problem = load_problem("ridge").take(index)
    features, values = problem.features, problem.targets[:, 0]
    without_one, without_both = np.zeros(size), np.zeros((size, size))
    for new in range(size):
        for other in range(size):
            kept = np.setdiff1d(np.arange(size), (new, other))
            predicted = learn(features[kept], values[kept], features[new])
            without_both[new, other] = predicted
        without_one[new] = without_both[new, new]
    return Populations(values, without_one, without_both)


def jackknife_cases(seed: int) -> Iterator[Case]:
    """The guarantees of both, for stable and unstable learners, and where that of one fails.

    Args:
        seed: of the populations.

    Yields:
        Cases whose measured side is the probability that a new value is missed.
    """
    for name, learn in LEARNERS.items():
        for size in SIZES:
            found = populations(learn, size, seed)
            for alpha in LEVELS:
                setting = f"{name}, n = {size - 1}, α = {alpha:g}"
                yield from _plus(found, alpha, setting)
                yield from _plain(found, alpha, setting)


def _plus(found: Populations, alpha: float, setting: str) -> Iterator[Case]:
    bound = 1 - float(jackknife_plus_coverage(alpha))
    for reading, missed in (
        ("interval", found.missed(alpha)),
        ("set of the scores", found.missed_by_set(alpha)),
    ):
        yield _case(PLUS, reading, setting, missed, bound)


def _plain(found: Populations, alpha: float, setting: str) -> Iterator[Case]:
    for widening in WIDENINGS:
        unstable = found.unstable(widening)
        bound = 1 - float(jackknife_coverage(alpha, unstable))
        missed = found.missed_by_plain(alpha, widening)
        yield _case(
            PLAIN, f"widened by {widening:g}", setting, missed, bound, f"ν = {unstable:.2g}"
        )
    # As if it were perfectly stable.
    failed = "stability" if found.unstable(WIDENINGS[-1]) > 0 else ""
    missed = found.missed_by_plain(alpha, WIDENINGS[-1])
    yield _case(PLAIN, "as if ν = 0", setting, missed, alpha, failed=failed)


def _case(
    statement: str, reading: str, setting: str, missed: float, bound: float,
    assumptions: str = "exchangeable: every order enumerated", failed: str = "",
) -> Case:  # fmt: skip
    return Case(
        statement, reading, setting, missed, bound, tolerance=1e-12, ceiling=1.0,
        assumptions=assumptions, failed=failed, command=COMMAND,
    )  # fmt: skip

"""Theorem 4.4 and Lemma 4.3 where they can fail: a coin, with a risk bound below the largest loss.

On the data sets the bounds are 4 to 690 times C, and a bound that cannot be exceeded is not
tested by its coverage. Here C is 1, n is large and so is the penalty, and every draw of S is
enumerated: x = 1, y is 0 or 1 with probability 1/2, the loss is (theta - y)^2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probes.statements.case import Case
from probes.statements.linear_losses import Array
from probes.statements.risk_cases import second_moment_limit
from theory import sparsity, sparsity_gap_bound, two_stabilities_gap_bound

#: Sizes of S and strengths of the penalty. Weak ones show how the bound depends on p, strong ones
#: leave of it what it would be without any learning, C / sqrt(2 n delta).
COIN_N, COIN_STRENGTHS = (100, 1_000, 10_000), (1.0, 10.0, 1000.0)
#: The loss is at most 1 and its slope at most 2 where theta is in [0, 1], as all minimisers are.
COIN_C, COIN_LIPSCHITZ = 1.0, 2.0
#: Curvature of the loss.
COIN_CURVATURE = 2.0
#: Loss of theta_0 = 0, in expectation.
COIN_CHANCE = 0.5


@dataclass(frozen=True)
class CoinDraws:
    """All draws of S, one entry a number of ones in it, (n + 1,).

    Attributes:
        probability: of the number.
        gap: risk less empirical risk of the minimiser.
        pointwise, hypothesis: mean change of the left-out example's loss, and of that of a fresh
            one, when an example is left out.
    """

    probability: Array
    gap: Array
    pointwise: Array
    hypothesis: Array

    def quantile(self, delta: float, *, signed: bool = True) -> float:
        """Smallest value that the gap exceeds with probability at most delta, in (0, 1].

        Args:
            delta: the probability.
            signed: whether the gap itself is meant, and not its size.

        Returns:
            The value, in units of the loss.
        """
        values = self.gap if signed else np.abs(self.gap)
        order = np.argsort(-values)
        above = np.cumsum(self.probability[order]) - self.probability[order]
        # The last value, from the largest on, above which there is no more than delta.
        return float(values[order][above <= delta][-1])


def coin_draws(n: int, s: float) -> CoinDraws:
    """Enumerate the draws of n tosses.

    The minimiser of the mean of (theta - y)^2 plus s theta^2 is the share of ones over 1 + s.

    Args:
        n: number of examples, at least 2.
        s: weight of the penalty, at least 0.

    Returns:
        What every number of ones gives.
    """
    from scipy.stats import binom

    ones = np.arange(n + 1)
    share, theta = ones / n, ones / n / (1 + s)
    risk = (np.square(theta) + np.square(1 - theta)) / 2
    empirical = share * np.square(1 - theta) + (1 - share) * np.square(theta)
    pointwise, hypothesis = np.zeros(n + 1), np.zeros(n + 1)
    for label, weight in ((1, share), (0, 1 - share)):
        without = np.clip(ones - label, 0, n - 1) / (n - 1) / (1 + s)
        changes = [np.abs(np.square(y - without) - np.square(y - theta)) for y in (0, 1)]
        pointwise += weight * changes[label]
        hypothesis += weight * (changes[0] + changes[1]) / 2
    return CoinDraws(binom.pmf(ones, n, 0.5), risk - empirical, pointwise, hypothesis)


def coin_cases(p: float, delta: float) -> Iterator[Case]:
    """Bounds on the risk of a coin's minimisers, against the exact law of the gap.

    The measured side is the exact (1 - delta) quantile of the gap, or its second moment, which
    Chebyshev's inequality turns into the bound.

    Source: arXiv 2404.09610, Lemma 4.3 and Theorem 4.4.

    Args:
        p: dropout rate, in (0, 1).
        delta: failure probability, in (0, 1].

    Yields:
        Three cases a strength and size.
    """
    for strength in COIN_STRENGTHS:
        for n in COIN_N:
            yield from _coin(n, p, strength, delta)


def _coin(n: int, p: float, strength: float, delta: float) -> Iterator[Case]:
    draws = coin_draws(n, strength * float(sparsity(p)))
    known = {"loss_bound": COIN_C, "n": n, "delta": delta}
    theorem = coin_theorem(n, p, strength, delta)
    lemma = float(
        two_stabilities_gap_bound(
            beta_pointwise=float(draws.probability @ draws.pointwise),
            beta_hypothesis=float(draws.probability @ draws.hypothesis),
            **known,
        )
    )
    second = float(draws.probability @ np.square(draws.gap))
    for statement, reading, measured, bound, power in (
        ("Theorem 4.4", "exact law of the gap", max(draws.quantile(delta), 0.0), theorem, 1),
        ("Theorem 4.4", "second moment inside it, exact", second,
         second_moment_limit(theorem, delta), 2),
        ("Lemma 4.3", "exact law of the gap, both stabilities", max(draws.quantile(delta), 0.0),
         lemma, 1),
    ):  # fmt: skip
        yield Case(
            statement,
            reading,
            f"coin, n = {n}, p = {p:g}, λ = {strength:g}",
            measured,
            bound,
            ceiling=COIN_C**power,
            chance=COIN_CHANCE**power,
            assumptions="every draw of S enumerated; C = 1",
            command=f"--statement coin --p {p:g} --delta {delta:g}",
        )


def coin_theorem(n: int, p: float, strength: float, delta: float) -> float:
    """Bound of Theorem 4.4 for the coin.

    Args:
        n: number of examples.
        p: dropout rate.
        strength: lambda.
        delta: failure probability.

    Returns:
        The bound on the gap, in units of the loss.
    """
    return float(
        sparsity_gap_bound(
            loss_bound=COIN_C,
            lipschitz=COIN_LIPSCHITZ,
            curvature=COIN_CURVATURE,
            strength=strength,
            p=p,
            n=n,
            delta=delta,
        )
    )

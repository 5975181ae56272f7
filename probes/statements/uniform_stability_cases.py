"""Bounds from uniform stability where they can fail: a coin, every draw of S enumerated.

The coin is that of :mod:`probes.statements.coin_cases`: with a strong penalty the bounds are below
the largest loss, and Bousquet & Elisseeff's is less than twice the exact quantile of the gap.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.statements.case import Case
from probes.statements.coin_cases import COIN_C, COIN_CHANCE, COIN_N, COIN_STRENGTHS, coin_draws
from probes.statements.linear_losses import Array
from theory import sparsity
from theory.bousquet2002 import uniform_stability_gap_bound
from theory.bousquet2020 import moment_gap_bound
from theory.feldman2018 import feldman_vondrak_gap_bound
from theory.second_moment import second_moment_gap_bound

STATEMENT = "Uniform stability"
#: Size of S, share of its inputs that it holds, and failure probability of the memoriser.
MEMORISER_N, MEMORISER_SHARE, MEMORISER_DELTA = 10**9, 0.01, 0.05


@dataclass(frozen=True)
class UniformBound:
    """A bound on the gap from uniform stability.

    Attributes:
        reading: whose it is.
        bound: of the gap.
        stability: its argument, ``beta`` (deletion) or ``gamma`` (replacement).
        signed: whether it bounds the gap from above alone, and not its size.
    """

    reading: str
    bound: Callable[..., Any]
    stability: str
    signed: bool = False


BOUNDS = (
    UniformBound("Bousquet & Elisseeff 2002", uniform_stability_gap_bound, "beta", signed=True),
    UniformBound("Feldman & Vondrák 2018", feldman_vondrak_gap_bound, "gamma"),
    UniformBound("second moment, derived", second_moment_gap_bound, "gamma"),
    UniformBound("Bousquet, Klochkov & Zhivotovskiy 2020", moment_gap_bound, "gamma"),
)


def coin_stability(n: int, s: float) -> dict[str, float]:
    """Uniform stability of the coin's minimiser, at every point, S and example.

    Args:
        n: number of tosses, at least 2.
        s: weight of the penalty, at least 0.

    Returns:
        The largest changes of a loss: ``beta`` when an example is deleted, ``gamma`` when one is
        replaced, units of the loss.
    """
    ones = np.arange(n + 1)
    theta = ones / n / (1 + s)
    fewer = np.arange(n) / (n - 1) / (1 + s)
    # A one is deleted from 1, ..., n ones, a zero from 0, ..., n - 1 of them.
    deleted = max(_largest_change(theta[1:], fewer), _largest_change(theta[:-1], fewer))
    return {"beta": deleted, "gamma": _largest_change(theta[1:], theta[:-1])}


def _largest_change(one: Array, other: Array) -> float:
    """Largest change of the squared loss at the two labels."""
    return max(float(np.abs(np.square(y - one) - np.square(y - other)).max()) for y in (0, 1))


def uniform_stability_cases(p: float, delta: float) -> Iterator[Case]:
    """Bounds from uniform stability against the exact law of a coin's gap.

    The measured side is the exact (1 - delta) quantile of the gap, or of its size.

    Source: Bousquet & Elisseeff 2002, Theorem 12; Feldman & Vondrak 2018; Bousquet, Klochkov &
    Zhivotovskiy 2020, Theorem 4; ``theory.second_moment``.

    Args:
        p: dropout rate, in (0, 1).
        delta: failure probability, in (0, 1].

    Yields:
        A case a bound, strength and size.
    """
    for strength in COIN_STRENGTHS:
        for n in COIN_N:
            s = strength * float(sparsity(p))
            draws, known = coin_draws(n, s), coin_stability(n, s)
            for one in BOUNDS:
                stable = {one.stability: known[one.stability]}
                yield Case(
                    STATEMENT,
                    one.reading,
                    f"coin, n = {n}, p = {p:g}, λ = {strength:g}",
                    max(draws.quantile(delta, signed=one.signed), 0.0),
                    float(one.bound(loss_bound=COIN_C, n=n, delta=delta, **stable)),
                    ceiling=COIN_C,
                    chance=COIN_CHANCE,
                    assumptions="every draw of S enumerated; C = 1",
                    command=f"--statement uniform --p {p:g} --delta {delta:g}",
                )


def memoriser_cases() -> Iterator[Case]:
    """Stability on average is not enough.

    Labels of fair coins are memorised, for n inputs out of 100 n. Leaving one out, or another in
    its place, changes the loss at a fresh input by 2 / (100 n) on average, and by 1 where it was.
    There is no training loss, and half of what was not seen is wrong.

    Yields:
        A case a bound.
    """
    average = 2 * MEMORISER_SHARE / MEMORISER_N
    known = {"loss_bound": 1.0, "n": MEMORISER_N, "delta": MEMORISER_DELTA}
    for one in BOUNDS:
        yield Case(
            STATEMENT,
            one.reading,
            f"memoriser, n = {MEMORISER_N:,}",
            (1 - MEMORISER_SHARE) / 2,
            float(one.bound(**{one.stability: average}, **known)),
            ceiling=1.0,
            chance=0.5,
            failed="stability at every point: on average alone",
            command="--statement uniform",
        )

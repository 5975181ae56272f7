"""Bounds from stability against small worlds, in which every S of two examples is enumerated.

A world is a law of five examples, a loss of the network trained on S at each of them, for every S,
and one of the networks trained on a single example: any algorithm whatsoever. The same search must
find the flaw in bounds that are wrong on purpose.
"""

from itertools import product

import numpy as np
import pytest

from theory.bousquet2002 import uniform_stability_gap_bound
from theory.bousquet2020 import moment_gap_bound
from theory.feldman2018 import feldman_vondrak_gap_bound
from theory.generalization import stability_gap_bound, two_stabilities_gap_bound
from theory.second_moment import second_moment_gap_bound

WORLDS, POINTS, N = 6_000, 5, 2
#: All S, and the numbers of those with one example replaced.
SAMPLES = np.array(list(product(range(POINTS), repeat=N)))
REPLACED = np.array(
    [
        [[POINTS * z + s[1] for z in range(POINTS)], [POINTS * s[0] + z for z in range(POINTS)]]
        for s in SAMPLES
    ]
)
DELTAS = (0.9, 0.5, 0.2, 0.05)
ROUNDING = 1e-12


class Worlds:
    """Random algorithms, from those that learn nothing to those that memorise.

    Attributes:
        weight: probability of every S, (worlds, S).
        gap: risk less empirical risk, (worlds, S).
        pointwise, hypothesis: the mean changes of a loss where an example is left out, (worlds,).
        deletion, replacement: the largest changes, where one is left out or replaced, (worlds,).
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        law = rng.dirichlet(np.full(POINTS, 2.0), WORLDS)
        held = (SAMPLES[:, :, None] == np.arange(POINTS)).any(1)
        constant = rng.random((WORLDS, 1, POINTS)).round(rng.integers(0, 2))
        # How much of a loss is what was learned, and how much of that is memory.
        learned, memory = rng.random((2, WORLDS, 1, 1)) ** rng.integers(0, 4, (2, WORLDS, 1, 1))

        def losses(memorised: np.ndarray) -> np.ndarray:
            other = (rng.random((WORLDS, *memorised.shape)) < 0.5).astype(float)
            return (1 - learned) * constant + learned * (memory * ~memorised + (1 - memory) * other)

        full, fewer = losses(held), losses(np.eye(POINTS, dtype=bool))
        # Half of the algorithms answer otherwise where an example is missing.
        otherwise = (rng.random((WORLDS, 1, 1)) < 0.5).astype(float)
        fewer = np.where(rng.random((WORLDS, 1, 1)) < 0.5, fewer, otherwise)
        self.weight = law[:, SAMPLES].prod(2)
        kept = np.take_along_axis(full, SAMPLES[None], 2)
        self.gap = np.einsum("wsz,wz->ws", full, law) - kept.mean(2)
        # Without example i of S the other one is left.
        changed = np.abs(fewer[:, SAMPLES[:, ::-1]] - full[:, :, None])  # (worlds, S, i, z)
        removed = np.take_along_axis(changed, SAMPLES[None, :, :, None], 3)[..., 0].mean(2)
        fresh = np.einsum("wsiz,wz->ws", changed, law) / N
        self.pointwise = (self.weight * removed).sum(1)
        self.hypothesis = (self.weight * fresh).sum(1)
        self.deletion = changed.max((1, 2, 3))
        self.replacement = np.max(
            [
                np.abs(full[:, other] - full).max((1, 2))
                for other in REPLACED.reshape(-1, 2 * POINTS).T
            ],
            axis=0,
        )

    @property
    def square(self) -> np.ndarray:
        """The second moment of the gap, (worlds,)."""
        return (self.weight * np.square(self.gap)).sum(1)

    def failing(self, bound: np.ndarray, signed: bool) -> np.ndarray:
        """Probability of an S whose gap, or its size, is above the bound, (worlds,)."""
        size = self.gap if signed else np.abs(self.gap)
        return (self.weight * (size > bound[:, None] + ROUNDING)).sum(1)


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    return Worlds(0)


KNOWN = {"loss_bound": 1.0, "n": N}
#: Statements about the second moment of the gap: their bounds at delta = 1, squared.
MOMENTS = {
    "both stabilities": lambda w: two_stabilities_gap_bound(
        beta_pointwise=w.pointwise, beta_hypothesis=w.hypothesis, delta=1.0, **KNOWN
    ),
    "Feldman & Vondrak": lambda w: feldman_vondrak_gap_bound(
        gamma=w.replacement, delta=1.0, **KNOWN
    ),
    "second moment": lambda w: second_moment_gap_bound(gamma=w.replacement, delta=1.0, **KNOWN),
}
#: Those that hold with probability 1 - delta, and whether they bound the gap from above alone.
TAILS = {
    "Bousquet & Elisseeff": (
        lambda w, delta: uniform_stability_gap_bound(beta=w.deletion, delta=delta, **KNOWN),
        True,
    ),
    "Bousquet, Klochkov & Zhivotovskiy": (
        lambda w, delta: moment_gap_bound(gamma=w.replacement, delta=delta, **KNOWN),
        False,
    ),
}
#: Bounds on the second moment that are wrong on purpose.
FLAWS = {
    "pointwise stability alone": lambda w: stability_gap_bound(
        beta=w.pointwise, delta=1.0, **KNOWN
    ),
    "a variance of C^2/8": lambda w: second_moment_gap_bound(
        gamma=w.replacement, loss_bound=np.sqrt(0.5), n=N, delta=1.0
    ),
    "stability that is not counted": lambda w: second_moment_gap_bound(
        gamma=np.zeros(WORLDS), delta=1.0, **KNOWN
    ),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_no_algorithm_has_a_larger_second_moment(name, worlds):
    assert (worlds.square <= np.square(MOMENTS[name](worlds)) + ROUNDING).all()


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("name", TAILS)
def test_no_algorithm_exceeds_it_more_often_than_delta(name, delta, worlds):
    bound, signed = TAILS[name]
    assert (worlds.failing(np.asarray(bound(worlds, delta)), signed) <= delta + ROUNDING).all()


@pytest.mark.parametrize("name", FLAWS)
def test_the_search_finds_a_flaw(name, worlds):
    assert (worlds.square > np.square(FLAWS[name](worlds)) + 1e-3).any()

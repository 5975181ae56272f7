"""Where statements are tried: the grid of the verifier, and the draws of S in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from probes.statements.exact_minimisers import Problem, load_problem
from theory import sparsity


@dataclass(frozen=True)
class Grid:
    """The settings in which statements about minimisers are tried.

    Attributes:
        tasks: data sets, see ``exact_minimisers.load_problem``.
        n: sizes of S.
        p: dropout rates; at p = 0 there is no penalty and minimisers need not exist.
        strength: values of lambda.
        draws: number of draws of S for statements that hold for each of them.
        coverage_draws: number of draws of S for statements about the law of the draw.
        delta: failure probability of the risk bounds.
        seed: of everything random.
    """

    tasks: tuple[str, ...]
    n: tuple[int, ...]
    p: tuple[float, ...]
    strength: tuple[float, ...]
    draws: int
    coverage_draws: int
    delta: float
    seed: int

    def settings(self) -> Iterator["Setting"]:
        """All combinations, each of which knows how many there are."""
        combinations = list(product(self.tasks, self.n, self.p, self.strength))
        for task, n, p, strength in combinations:
            yield Setting(
                task, n, p, strength, self.draws, self.coverage_draws, self.delta, self.seed,
                len(combinations),
            )  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One combination of the grid. The population is the data set, so that risks are exact.

    Attributes:
        task, n, p, strength, draws, coverage_draws, delta, seed: as for :class:`Grid`.
        among: number of settings in which the same statement is tried.
    """

    task: str
    n: int
    p: float
    strength: float
    draws: int
    coverage_draws: int
    delta: float
    seed: int
    among: int = 1

    @cached_property
    def population(self) -> Problem:
        """All examples of the task."""
        return load_problem(self.task)

    @property
    def s(self) -> float:
        """Strength of the penalty, lambda (2p - p^2)."""
        return self.strength * float(sparsity(self.p))

    def sample(self, draw: int) -> Problem:
        """S: n examples drawn independently from the population, with replacement."""
        generator = np.random.default_rng([self.seed, draw])
        return self.population.take(generator.integers(len(self.population), size=self.n))

    @property
    def chance(self) -> float:
        """Loss of a model that knows nothing: log 2 for a coin, log 3 for three classes.

        It is that of theta_0 = 0; for standardized values, their variance.
        """
        population = self.population
        zero = np.zeros((population.targets.shape[1], population.features.shape[1]))
        return float(population.losses(zero).mean())

    def __str__(self) -> str:
        return f"{self.task}, n = {self.n}, p = {self.p:g}, λ = {self.strength:g}"

    def command(self, statement: str) -> str:
        """Flags of ``probes.verify`` that try this setting again."""
        return (
            f"--statement {statement} --task {self.task} --n {self.n} --p {self.p:g} "
            f"--strength {self.strength:g} --draws {self.draws} "
            f"--coverage-draws {self.coverage_draws} --delta {self.delta:g} --seed {self.seed}"
        )

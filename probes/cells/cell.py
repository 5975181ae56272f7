"""A cell: the unit of work, of keeping and of distribution. One draw of S at one rate."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lora_dropout.masks import expected_mask
from probes.landscape.newton_plan import EXPECTED_PRODUCTS, Solver
from probes.tasks import TextSource
from probes.training.plan import Dropout, Objective, Optimizer, Penalty
from theory import sparsity


@dataclass(frozen=True)
class Cell:
    """Everything that determines the numbers of a cell. Same cell, same numbers.

    The fields are the columns that every row carries; see
    ``probes.cli.stability_settings`` for their meaning.
    ``ensemble`` holds the sizes of the ensembles that are evaluated, ``text`` the files and the
    model of a text task.
    """

    task: str
    n: int
    p: float
    draw: int
    objective: str
    strength: float | None
    rank: int
    alpha: float
    steps: int
    lr: float
    optimizer: Optimizer
    batch: int | None
    samples: int
    rescale: bool
    warm_start: bool
    ensemble: tuple[int, ...]
    loss_bound: float | None
    seed: int
    device: str
    dtype: str
    text: TextSource | None = None
    method: str = "retrain"
    damping: float | None = None
    solver: Solver | None = None
    validate: int = 0

    @property
    def columns(self) -> dict[str, Any]:
        """The settings as they stand in a row, one level deep."""
        settings = asdict(self)
        return settings | (settings.pop("text") or {})

    @property
    def update_scale(self) -> float:
        """Factor of the update in the deterministic network: the expected mask, (1-p)^2."""
        unscaled = self.objective == "penalty" or self.rescale
        return expected_mask(self.p, self.p, rescale=unscaled)

    @property
    def sparsity(self) -> float:
        """Probability 2p - p^2 that an entry of the update is dropped."""
        return float(sparsity(self.p))

    @property
    def training(self) -> dict[str, Any]:
        """The settings, apart from the rate, of a network that is trained in this cell."""
        names = ("task", "n", "draw", "rank", "steps", "lr", "optimizer", "rescale", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def libraries(self) -> tuple[str, ...]:
        """What its numbers are computed with."""
        text = ("transformers",) if self.text else ()
        solver = ("kronfluence",) if self.solver == "ekfac" else ()
        return ("torch", "numpy", "scipy", "scikit-learn", *text, *solver)

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        if self.method == "influence":
            return (1 + self.validate) * self.steps + self.n * EXPECTED_PRODUCTS
        return (self.n + 1 + (self.n + 1) * self.warm_start) * self.steps

    def seeds(self) -> tuple[int, int, int]:
        """Seeds of the split, the initial factors and the masks: the same for every p."""
        return seeds_of(self.seed, self.draw)


@dataclass(frozen=True)
class CellJob:
    """What a question does with one draw of S at one rate: it depends on what the cell does.

    Attributes:
        base: the cell.
    """

    base: Cell

    @property
    def libraries(self) -> tuple[str, ...]:
        """What its numbers are computed with."""
        return self.base.libraries


def seeds_of(seed: int, draw: int) -> tuple[int, int, int]:
    """Derive the seeds of one draw of S.

    Args:
        seed: of the run.
        draw: number of the draw, from 0.

    Returns:
        Seeds of the split, the initial factors and the masks, in [0, 2**64).
    """
    words = np.random.SeedSequence([seed, draw]).generate_state(3, np.uint64)
    split, factors, masks = (int(word) for word in words)
    return split, factors, masks


def objective_of(cell: Cell) -> Objective:
    """The objective that the cell's replicas minimise."""
    if cell.objective == "penalty":
        assert cell.strength is not None
        return Penalty(cell.strength * cell.sparsity)
    return Dropout(cell.p, cell.rescale)

"""A cell: the unit of work. One draw of S at one rate, and what it comes to before training."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.influence import EXPECTED_PRODUCTS, Solver
from probes.network import Factors, Inputs, Network
from probes.resampling import full_sample, leave_one_out
from probes.retrain import (
    Dropout,
    Objective,
    Optimizer,
    Penalty,
    Training,
)
from probes.tasks import TextSource, load_task


@dataclass(frozen=True)
class Cell:
    """Everything that determines the numbers of a cell. Same cell, same numbers.

    The fields are the columns that every row carries; see ``probes.settings`` for their meaning.
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
    def shrink(self) -> float:
        """Factor of the update in the deterministic network: the expected mask, (1-p)^2."""
        return 1.0 if self.objective == "penalty" or self.rescale else (1 - self.p) ** 2

    @property
    def sparsity(self) -> float:
        """Probability 2p - p^2 that an entry of the update is dropped."""
        return self.p * (2 - self.p)

    @property
    def training(self) -> dict[str, Any]:
        """The settings, apart from the rate, of a network that is trained in this cell."""
        names = ("task", "n", "draw", "rank", "steps", "lr", "optimizer", "rescale", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        if self.method == "influence":
            return (1 + self.validate) * self.steps + self.n * EXPECTED_PRODUCTS
        return (self.n + 1 + (self.n + 1) * self.warm_start) * self.steps

    def seeds(self) -> tuple[int, int, int]:
        """Seeds of the split, the initial factors and the masks: the same for every p."""
        return seeds_of(self.seed, self.draw)


def seeds_of(seed: int, draw: int) -> tuple[int, int, int]:
    """Seeds of the split, the initial factors and the masks of a draw."""
    words = np.random.SeedSequence([seed, draw]).generate_state(3, np.uint64)
    split, factors, masks = (int(word) for word in words)
    return split, factors, masks


@dataclass(frozen=True)
class Prepared:
    """What a draw of S comes to before any training, the same for every p.

    Attributes:
        network, train, test, index: as in :class:`Trained`.
        weights: of the examples, for the replica of S and those of all S^i.
        start: one replica's initial factors.
        training: how replicas are trained.
    """

    network: Network
    train: Inputs
    test: Inputs
    index: Tensor
    weights: Tensor
    start: Factors
    training: Training


def prepare(cell: Cell) -> Prepared:
    """Split the data and draw the start."""
    task = load_task(cell.task, cell.text)
    split_seed, factor_seed, mask_seed = cell.seeds()
    network = task.network(
        rank=cell.rank,
        alpha=cell.alpha,
        dtype=getattr(torch, cell.dtype),
        device=torch.device(cell.device),
    )
    index = torch.from_numpy(np.random.default_rng(split_seed).permutation(len(task)))
    return Prepared(
        network,
        train=task.read(network, index[: cell.n]),
        test=task.read(network, index[cell.n :]),
        index=index,
        weights=torch.cat([full_sample(cell.n), leave_one_out(cell.n)]),
        start=network.initial_factors(torch.Generator().manual_seed(factor_seed)),
        training=Training(
            cell.steps, cell.lr, cell.optimizer, cell.batch, cell.samples, seed=mask_seed
        ),
    )


def objective_of(cell: Cell) -> Objective:
    """The objective that the cell's replicas minimise."""
    if cell.objective == "penalty":
        assert cell.strength is not None
        return Penalty(cell.strength * cell.sparsity)
    return Dropout(cell.p, cell.rescale)


def replica(factors: Factors, number: int) -> Factors:
    """Return one replica's factors."""
    return [(A[number : number + 1], B[number : number + 1]) for A, B in factors]

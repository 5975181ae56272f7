"""What a cell needs before any training: its examples, its network and its start."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.cells.cell import Cell
from probes.models.network import Factors, Inputs, Network
from probes.tasks import Task, load_task
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.plan import Training


@dataclass(frozen=True)
class Prepared:
    """What a draw of S needs before any training, the same for every p.

    Attributes:
        network, train, test, index: as in :class:`Trained`.
        weights: of the examples, for the replica of S and those of all S^i.
        start: one replica's initial factors.
        training: how replicas are trained.
        columns: what every row of such a cell says of its training, with ``pool``, the size of the
            data set.
    """

    network: Network
    train: Inputs
    test: Inputs
    index: Tensor
    weights: Tensor
    start: Factors
    training: Training
    columns: dict[str, Any]


def network_of(cell: Cell) -> Network:
    """Build the frozen network of a cell's task."""
    return _network(load_task(cell.task, cell.text), cell)


def _network(task: Task, cell: Cell) -> Network:
    return task.network(
        rank=cell.rank,
        alpha=cell.alpha,
        dtype=getattr(torch, cell.dtype),
        device=torch.device(cell.device),
    )


def prepare(cell: Cell) -> Prepared:
    """Split the data and draw the start."""
    task = load_task(cell.task, cell.text)
    return _prepared(cell, task, _network(task, cell))


def _prepared(cell: Cell, task: Task, network: Network) -> Prepared:
    split_seed, factor_seed, mask_seed = cell.seeds()
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
        columns=cell.training | {"pool": len(task)},
    )


def prepare_all(cells: Sequence[Cell]) -> list[Prepared]:
    """Prepare several cells of one task and network; those that differ in p alone share all.

    Args:
        cells: of a sweep, alike but for the draw and p.

    Returns:
        For every cell what :func:`prepare` returns.
    """
    task = load_task(cells[0].task, cells[0].text)
    network = _network(task, cells[0])
    draws = [replace(cell, p=0.0) for cell in cells]
    ready = {draw: _prepared(draw, task, network) for draw in dict.fromkeys(draws)}
    return [ready[draw] for draw in draws]

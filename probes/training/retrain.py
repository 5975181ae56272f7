"""Train many replicas together that differ only in their example weights.

Several cells, which differ in the draw of S or in p, may train as one block: :func:`retrain_cells`.

Initial factors, example order and masks are common to all replicas: the stability of a randomized
algorithm compares runs with the same randomness. That is also what makes it fast, as the products
of all replicas with common inputs are one large product.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.models.feedforward import Columns, FeedForward, beside
from probes.models.network import Factors, Inputs, Masks, Network
from probes.training.blocks import replica_blocks
from probes.training.cuda_graph import captured
from probes.training.fused_training import can_be_fused, fused_steps
from probes.training.gradients import (
    FeedForwardGradient,
    ObjectiveGradient,
    objective_gradient,
)
from probes.training.mask_draws import masks_of_cells, stacked_masks
from probes.training.optimizers import OPTIMIZER_STEPS
from probes.training.plan import Objective, Perturbation, Training, penalty_weight_of
from probes.training.retraining import Retraining

#: Called with the step just taken, the rows of the block, and its factors.
Checkpoint = Callable[[int, slice, Factors], object]


def retrain(
    network: Network,
    inputs: Inputs,
    weights: Tensor,
    start: Factors,
    training: Training,
    objective: Objective,
    *,
    checkpoint: Checkpoint | None = None,
    at: Collection[int] | None = None,
    pieces: Sequence[slice] | None = None,
) -> Factors:
    """Train every replica from the same start.

    Args:
        network: the frozen network.
        inputs, weights, start, training, objective: as in :class:`Retraining`.
        checkpoint: called after every step of every block; it may read the factors, not keep them.
        at: steps after which it has to be called, and after the last; None for all. On a GPU it may
            not be called after others, as fewer stops take less time.
        pieces: blocks of replicas to train; the others are skipped. None for all replicas, cut by
            :func:`replica_blocks`.

    Returns:
        The trained factors of the replicas of all pieces, in order. Replicas that diverge hold
        numbers that are not finite.
    """
    stops = at if checkpoint else ()
    train = _trainer(network, [(training, objective)], len(inputs), stops)
    if pieces is None:
        pieces = replica_blocks(network, len(weights), len(inputs), training, objective)
    weights = weights.to(inputs.targets)
    # Allocated before the blocks: results between what blocks allocate would fragment the memory.
    count = sum(rows.stop - rows.start for rows in pieces)
    trained = [
        (A.new_empty(count, *A.shape[1:]), B.new_empty(count, *B.shape[1:])) for A, B in start
    ]
    done = 0
    with _without_gradients(network):
        for rows in pieces:
            first = [(A[rows], B[rows]) if len(A) > 1 else (A, B) for A, B in start]
            block = Retraining(inputs, weights[rows], first, training, objective)
            for step, factors in train([block]):
                if checkpoint:
                    checkpoint(step, rows, factors)
            end = done + rows.stop - rows.start
            for (kept_A, kept_B), (A, B) in zip(trained, factors, strict=True):
                kept_A[done:end], kept_B[done:end] = A, B
            done = end
    return trained


def retrain_cells(
    network: FeedForward,
    cells: Sequence[Retraining],
    checkpoint: Callable[[int, Sequence[Factors]], object] | None = None,
    *,
    at: Collection[int] | None = None,
) -> list[Factors]:
    """Train the replicas of several cells as one block.

    Each cell is trained as :func:`retrain` trains it alone, with its own examples, masks and order
    of examples; the numbers are the same up to the rounding of the products.

    Args:
        network: the frozen network, of all cells.
        cells: with as many replicas and examples each, the same training but for the seed, and as
            many mask pairs a step: :func:`step_samples` of all is equal.
        checkpoint: called after every step with its number, from 1, and the factors of every cell;
            it may read the factors, not keep them.
        at: as for :func:`retrain`.

    Returns:
        The trained factors of every cell.
    """
    plans = [(cell.training, cell.objective) for cell in cells]
    train = _trainer(network, plans, len(cells[0].inputs), at if checkpoint else ())
    of_cells: list[Factors] = []
    with _without_gradients(network):
        for step, factors in train(cells):
            # Every step changes them where they are.
            of_cells = of_cells or _by_cell(factors, cells)
            if checkpoint:
                checkpoint(step, of_cells)
    return [[(A.clone(), B.clone()) for A, B in trained] for trained in of_cells]


def _trainer(
    network: Network,
    plans: Sequence[tuple[Training, Objective]],
    examples: int,
    at: Collection[int] | None,
) -> Callable[[Sequence[Retraining]], Iterator[tuple[int, Factors]]]:
    """Draw the masks of a training; return what trains a block and yields at its steps."""
    training, objective = plans[0]
    if isinstance(network, FeedForward) and can_be_fused(network, training, objective):
        stacked = stacked_masks(network, plans)
        stops = range(1, training.steps + 1) if at is None else at
        return lambda cells: _fused(network, cells, stacked, stops)
    if isinstance(objective, Perturbation):
        step_examples = min(training.batch or examples, examples)
        masks = objective.draw(network, training, step_examples)
    else:
        masks = masks_of_cells(network, plans)
    return lambda cells: enumerate(_steps(network, cells, masks), start=1)


def _fused(
    network: FeedForward,
    cells: Sequence[Retraining],
    masks: Sequence[tuple[Tensor, Tensor]],
    stops: Collection[int],
) -> Iterator[tuple[int, Factors]]:
    flat, factors = _started(network, cells)
    for step in fused_steps(network, cells, masks, flat, stops):
        yield step, factors


def _started(network: Network, cells: Sequence[Retraining]) -> tuple[Tensor, Factors]:
    """The factors of a block at their start, cell after cell: as a buffer, and its views."""
    replicas = sum(len(cell.weights) for cell in cells)
    flat = cells[0].inputs.targets.new_empty(replicas * network.size)
    factors = network.views(flat, replicas)
    for cell, own in zip(cells, _by_cell(factors, cells), strict=True):
        for (A, B), (A_start, B_start) in zip(own, cell.start, strict=True):
            A.copy_(A_start.expand_as(A))
            B.copy_(B_start.expand_as(B))
    return flat, factors


def _by_cell(factors: Factors, cells: Sequence[Retraining]) -> list[Factors]:
    """View the factors of a block as those of its cells."""
    replicas = len(cells[0].weights)
    parts = [[factor.split(replicas) for factor in pair] for pair in factors]
    return [[(A[number], B[number]) for A, B in parts] for number in range(len(cells))]


def _without_gradients(network: Network) -> AbstractContextManager[Any]:
    # Automatic differentiation cannot use tensors that were made in inference mode.
    hand_written = isinstance(network, FeedForward)
    return torch.inference_mode() if hand_written else torch.no_grad()


def batches(examples: int, size: int | None, steps: int, seed: int) -> Iterator[Tensor | None]:
    """Draw the examples of every step: shuffled epochs, the last incomplete batch dropped.

    Args:
        examples: number of examples of the pool.
        size: examples a step; None, or as many as there are or more, for all of them.
        steps: number of steps.
        seed: of the order.

    Yields:
        The indices of the step's examples, (size,), int64; None where a step takes all of them.
    """
    if size is None or size >= examples:
        yield from [None] * steps
        return
    epoch_steps = examples // size
    for step in range(steps):
        epoch, position = divmod(step, epoch_steps)
        if position == 0:
            order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(examples))
        yield order[position * size : (position + 1) * size]


def _steps(
    network: Network, cells: Sequence[Retraining], masks: Sequence[Masks]
) -> Iterator[Factors]:
    """Train the replicas of one block, cell after cell; yield their factors after every step."""
    training, replicas = cells[0].training, sum(len(cell.weights) for cell in cells)
    flat, factors = _started(network, cells)
    gradient = torch.empty_like(flat)
    gradient_of = _gradient(network, cells, factors, network.views(gradient, replicas), masks[0])
    # On a GPU numbers round alike wherever they are.
    sizes = None if flat.is_cuda else _part_sizes(network, len(cells), len(cells[0].weights))
    optimizer = OPTIMIZER_STEPS[training.optimizer](
        flat, gradient, training.lr, training.weight_decay, sizes
    )
    penalties = [penalty_weight_of(cell.objective) for cell in cells]

    def take_step(drawn: Masks) -> None:
        gradient_of.write(drawn)
        if any(penalties):
            gradient_of.add_penalty(*penalties)
        optimizer()

    # A graph reads fixed addresses, and every mini-batch is a new tensor.
    capture = flat.is_cuda and training.batch is None
    state = [flat, *optimizer.state]
    _feed(gradient_of, cells, [None] * len(cells))
    advance = captured(take_step, masks[0], state) if capture else take_step
    orders = [_order(cell) for cell in cells]
    for drawn, *indices in zip(masks, *orders, strict=True):
        if indices[0] is not None:
            _feed(gradient_of, cells, indices)
        advance(drawn)
        yield factors


def _part_sizes(network: Network, cells: int, replicas: int) -> list[int]:
    """Lengths of the parts of ``Network.views``: every cell's A, then every cell's B, by layer."""
    return [
        replicas * network.rank * side
        for sides in network.sides
        for side in sides
        for _ in range(cells)
    ]


def _gradient(
    network: Network, cells: Sequence[Retraining], factors: Factors, gradient: Factors, masks: Masks
) -> ObjectiveGradient:
    """Return what writes the gradient of a block."""
    objective, training, pool = cells[0].objective, cells[0].training, len(cells[0].inputs)
    sizes = {"samples": len(masks[0][0]), "examples": min(training.batch or pool, pool)}
    if isinstance(objective, Perturbation):
        return objective.gradient(network, factors, gradient, **sizes)
    if len(cells) > 1:
        assert isinstance(network, FeedForward)
        return FeedForwardGradient(network, factors, gradient, cells=len(cells), **sizes)
    return objective_gradient(network, factors, gradient, **sizes)


def _order(cell: Retraining) -> Iterator[Tensor | None]:
    training = cell.training
    return batches(len(cell.inputs), training.batch, training.steps, training.seed)


def _feed(
    gradient: ObjectiveGradient, cells: Sequence[Retraining], indices: Sequence[Tensor | None]
) -> None:
    """Feed the examples of a step, one index a cell; None stands for all examples."""
    inputs, weights = [], []
    for cell, index in zip(cells, indices, strict=True):
        if index is None:
            inputs.append(cell.inputs)
            weights.append(cell.weights)
        else:
            # The weights of a row sum to 1 over the pool, so a batch is scaled up to the pool.
            inputs.append(cell.inputs.take(index))
            weights.append(cell.weights[:, index] * (len(cell.inputs) / len(index)))
    if len(cells) == 1:
        gradient.feed(inputs[0], weights[0].to(inputs[0].targets))
    else:
        columns = [one for one in inputs if isinstance(one, Columns)]
        gradient.feed(beside(columns), torch.cat(weights).to(columns[0].targets))

"""Training many replicas together that differ in nothing but their example weights.

Initial factors, example order and masks are common to all replicas: the stability of a randomized
algorithm compares runs with the same randomness. That is also what makes it fast, as the products
of all replicas with common inputs are one large product.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from probes.models.feedforward import FeedForward
from probes.models.network import Factors, Inputs, Masks, Network
from probes.training.blocks import replica_blocks
from probes.training.cuda_graph import captured
from probes.training.gradients import objective_gradient
from probes.training.mask_draws import _all_masks
from probes.training.optimizers import OPTIMIZER_STEPS
from probes.training.plan import Objective, Penalty, Perturbation, Training

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
    checkpoint: Checkpoint = lambda step, rows, factors: None,
    pieces: Sequence[slice] | None = None,
) -> Factors:
    """Train every replica from the same start.

    Args:
        network: the frozen network.
        inputs: the m examples of the pool.
        weights: example weights, one replica a row, (R, m); a row sums to 1.
        start: one replica's factors, A (1, r, d_in) and B (1, d_out, r), the start of all; or those
            of every replica, (R, ...).
        training: how.
        objective: what is minimised.
        checkpoint: called after every step of every block; it may read the factors, not keep them.
        pieces: blocks of replicas to train; the others are skipped. None for all replicas, cut by
            :func:`replica_blocks`.

    Returns:
        The trained factors of the replicas of all pieces, in order. Replicas that diverge hold
        numbers that are not finite.
    """
    step_examples = min(training.batch or len(inputs), len(inputs))
    if isinstance(objective, Perturbation):
        masks = objective.draw(network, training, step_examples)
    else:
        masks = _all_masks(network, training, objective)
    if pieces is None:
        pieces = replica_blocks(network, len(weights), len(inputs), training, objective)
    weights = weights.to(inputs.targets)
    # Made first: what is kept of every block would otherwise lie between what the next ones free.
    count = sum(rows.stop - rows.start for rows in pieces)
    trained = [
        (A.new_empty(count, *A.shape[1:]), B.new_empty(count, *B.shape[1:])) for A, B in start
    ]
    done = 0
    # Automatic differentiation cannot use tensors that were made in inference mode.
    hand_written = isinstance(network, FeedForward)
    with torch.inference_mode() if hand_written else torch.no_grad():
        for rows in pieces:
            first = [(A[rows], B[rows]) if len(A) > 1 else (A, B) for A, B in start]
            steps = _steps(network, inputs, weights[rows], first, training, objective, masks)
            for step, factors in enumerate(steps, start=1):
                checkpoint(step, rows, factors)
            end = done + rows.stop - rows.start
            for (kept_A, kept_B), (A, B) in zip(trained, factors, strict=True):
                kept_A[done:end], kept_B[done:end] = A, B
            done = end
    return trained


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
    network: Network,
    inputs: Inputs,
    weights: Tensor,
    start: Factors,
    training: Training,
    objective: Objective,
    masks: Sequence[Masks],
) -> Iterator[Factors]:
    """Train the replicas of one block; yield their factors after every step."""
    replicas = len(weights)
    flat = inputs.targets.new_empty(replicas * network.size)
    gradient = torch.empty_like(flat)
    factors = network.views(flat, replicas)
    for (A, B), (A_start, B_start) in zip(factors, start, strict=True):
        A.copy_(A_start.expand_as(A))
        B.copy_(B_start.expand_as(B))
    make = objective.gradient if isinstance(objective, Perturbation) else objective_gradient
    gradient_of = make(
        network,
        factors,
        network.views(gradient, replicas),
        samples=len(masks[0][0][0]),
        examples=min(training.batch or len(inputs), len(inputs)),
    )
    optimizer = OPTIMIZER_STEPS[training.optimizer](
        flat, gradient, training.lr, training.weight_decay
    )

    def take_step(drawn: Masks) -> None:
        gradient_of.write(drawn)
        if isinstance(objective, Penalty) and objective.penalty_weight > 0:
            gradient_of.add_penalty(objective.penalty_weight)
        optimizer()

    order = batches(len(inputs), training.batch, training.steps, training.seed)
    gradient_of.feed(inputs, weights)
    # Every mini-batch lies elsewhere in memory.
    capture = flat.is_cuda and training.batch is None
    state = [flat, *optimizer.state]
    advance = captured(take_step, masks[0], state) if capture else take_step
    for drawn, index in zip(masks, order, strict=True):
        if index is not None:
            # The weights of a row sum to 1 over the pool, so a batch is scaled up to the pool.
            scale = len(inputs) / len(index)
            gradient_of.feed(inputs.take(index), weights[:, index] * scale)
        advance(drawn)
        yield factors

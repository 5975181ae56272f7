"""Training many replicas together that differ in nothing but their example weights.

Initial factors, example order and masks are common to all replicas: the stability of a randomized
algorithm compares runs with the same randomness. That is also what makes it fast, as the products
of all replicas with common inputs are one large product.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeGuard, get_args

import numpy as np
import torch
from torch import Tensor

from lora_dropout.masks import LayerShape, stack_masks
from probes.captured_step import captured
from probes.feedforward import FeedForward
from probes.network import Factors, Inputs, Masks, Network
from probes.step import OPTIMIZER_STEPS, objective_gradient

Optimizer = Literal["adam", "sgd"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)

#: Activations that a block of replicas may hold on a GPU; on a CPU the kind of network says it.
#: Constants, not properties of the machine, as the split into blocks changes the rounding of the
#: products.
CUDA_BLOCK_ACTIVATIONS = 2**28


@dataclass(frozen=True)
class Training:
    """How every replica is trained.

    Attributes:
        steps: number of optimizer steps.
        lr: learning rate.
        optimizer: Adam or SGD, with PyTorch's defaults.
        batch: examples a step; all if None.
        samples: mask pairs a step, N of the training objective.
        weight_decay: of the factors, decoupled from the gradient (AdamW): a step multiplies them
            by 1 - lr * weight_decay.
        seed: seed of the masks and of the example order.
    """

    steps: int
    lr: float
    optimizer: Optimizer = "adam"
    batch: int | None = None
    samples: int = 1
    weight_decay: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Dropout:
    """The real algorithm: masks at rate p in every step, with or without rescaling."""

    p: float
    rescale: bool = False


@dataclass(frozen=True)
class Penalty:
    """The theorem's setting: strength * ||update||^2 is added to the loss; no masks.

    ``strength`` is lambda (2p - p^2) in the paper's symbols.
    """

    strength: float


Objective = Dropout | Penalty
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
        weights: example weights, one replica a row, (R, m).
        start: one replica's factors, the start of all.
        training: how.
        objective: what is minimised.
        checkpoint: called after every step of every block; it may read the factors, not keep them.
        pieces: of the replicas, each trained together; replicas in none of them are not trained.
            All of them, by :func:`replica_blocks`, if left out.

    Returns:
        The trained factors of the replicas of all pieces, in order. Replicas that diverge hold
        numbers that are not finite.
    """
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
            steps = _steps(network, inputs, weights[rows], start, training, objective, masks)
            for step, factors in enumerate(steps, start=1):
                checkpoint(step, rows, factors)
            end = done + rows.stop - rows.start
            for (kept_A, kept_B), (A, B) in zip(trained, factors, strict=True):
                kept_A[done:end], kept_B[done:end] = A, B
            done = end
    return trained


def replica_blocks(
    network: Network, replicas: int, examples: int, training: Training, objective: Objective,
    most: int | None = None,
) -> list[slice]:  # fmt: skip
    """Cut the replicas into those that are trained together, which decides how products round.

    Args:
        network, training, objective: as for :func:`retrain`.
        replicas: R.
        examples: of the pool.
        most: largest length of a block; as many as fit the cache if left out.
    """
    samples = training.samples if _draws_masks(objective) else 1
    fitting = replicas_per_block(network, examples, samples)
    return list(blocks(replicas, fitting if most is None else min(fitting, most)))


def replicas_per_block(network: Network, examples: int, samples: int = 1) -> int:
    """Number of replicas that are best computed together, at least 1."""
    return max(1, _block_activations(network) // (examples * samples * network.activations))


def examples_per_block(network: Network) -> int:
    """Number of examples that one replica is best evaluated on together, at least 1."""
    return max(1, _block_activations(network) // network.activations)


def _block_activations(network: Network) -> int:
    on_cpu = network.weights[0].device.type == "cpu"
    return network.block_activations if on_cpu else CUDA_BLOCK_ACTIVATIONS


def blocks(count: int, size: int) -> Iterator[slice]:
    """Cut ``range(count)`` into slices of at most ``size`` whose lengths differ by one at most."""
    pieces = -(-count // size)
    edges = [count * piece // pieces for piece in range(pieces + 1)]
    yield from (slice(*edge) for edge in pairwise(edges))


def draw_steps(
    network: Network,
    p: float,
    steps: Sequence[int],
    samples: range,
    seed: int,
    rescale: bool = False,
) -> list[Masks]:
    """Draw the masks of many steps, one pair a layer for every step, on the network's device."""
    layers = []
    for layer, (d_in, d_out) in enumerate(network.sides):
        pair = stack_masks(
            LayerShape(d_in, d_out, p, p),
            seed=seed,
            steps=steps,
            layer=layer,
            samples=samples,
            rescale=rescale,
        )
        placed = [mask.to(network.weights[0])[:, :, None, None].unbind(0) for mask in pair]
        layers.append(list(zip(*placed, strict=True)))
    return [list(pairs) for pairs in zip(*layers, strict=True)]


def batches(examples: int, size: int | None, steps: int, seed: int) -> Iterator[Tensor | None]:
    """Draw the examples of every step: shuffled epochs, the last incomplete batch dropped.

    Yields:
        The indices of the step's examples; None where a step takes all of them.
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
    gradient_of = objective_gradient(
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
        if isinstance(objective, Penalty) and objective.strength > 0:
            gradient_of.add_penalty(objective.strength)
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


def _draws_masks(objective: Objective) -> TypeGuard[Dropout]:
    return isinstance(objective, Dropout) and objective.p > 0


def _all_masks(network: Network, training: Training, objective: Objective) -> Sequence[Masks]:
    if not _draws_masks(objective):
        ones = network.weights[0].new_ones
        return [[(ones(1, 1, 1, d_in), ones(1, 1, 1, d_out)) for d_in, d_out in network.sides]] * (
            training.steps
        )
    return draw_steps(
        network,
        objective.p,
        range(training.steps),
        range(training.samples),
        training.seed,
        objective.rescale,
    )

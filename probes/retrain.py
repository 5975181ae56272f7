"""Training many replicas together that differ in nothing but their example weights.

Initial factors, example order and masks are common to all replicas: the stability of a randomized
algorithm compares runs with the same randomness. That is also what makes it fast, as the products
of all replicas with common inputs are one large product.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from lora_dropout.masks import LayerShape, stack_masks
from probes.network import Factors, Inputs, Masks, Network, Scratch

Optimizer = Literal["adam", "sgd"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)

#: Numbers that one layer of activations of a block of replicas may hold. Larger blocks fall out of
#: the processor's caches, smaller ones waste time between products. A constant, not a property of
#: the machine, as the split into blocks changes the rounding of the products.
BLOCK_ACTIVATIONS = 2**21


@dataclass(frozen=True)
class Training:
    """How every replica is trained.

    Attributes:
        steps: number of optimizer steps.
        lr: learning rate.
        optimizer: Adam or SGD, with PyTorch's defaults.
        batch: examples a step; all if None.
        samples: mask pairs a step, N of the training objective.
        seed: seed of the masks and of the example order.
    """

    steps: int
    lr: float
    optimizer: Optimizer = "adam"
    batch: int | None = None
    samples: int = 1
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
Checkpoint = Callable[[int, slice, Factors], None]


def retrain(
    network: Network,
    inputs: Inputs,
    weights: Tensor,
    start: Factors,
    training: Training,
    objective: Objective,
    *,
    checkpoint: Checkpoint | None = None,
    block: int | None = None,
) -> Factors:
    """Train every replica from the same start.

    Args:
        network: the frozen network.
        inputs: the m examples of the pool.
        weights: example weights, one replica a row, (R, m).
        start: one replica's factors, the start of all.
        training: how.
        objective: what is minimised.
        checkpoint: called after every step, once a block; it may read the factors, not keep them.
        block: replicas trained together; as many as fit the cache if left out.

    Returns:
        The trained factors of all replicas. Replicas that diverge hold numbers that are not finite.
    """
    size = block or replicas_per_block(network, len(inputs), training.samples)
    masks = _all_masks(network, training, objective)
    parts = [
        _train_block(
            network, inputs, weights[rows], start, training, objective, masks, checkpoint, rows
        )
        for rows in blocks(len(weights), size)
    ]
    return [
        (
            torch.cat([part[layer][0] for part in parts]),
            torch.cat([part[layer][1] for part in parts]),
        )
        for layer in range(len(start))
    ]


def replicas_per_block(network: Network, examples: int, samples: int = 1) -> int:
    """Number of replicas whose activations and gradients fit the cache together, at least 1."""
    widest = sum(max(sides) for sides in network.sides)
    return max(1, BLOCK_ACTIVATIONS // (examples * samples * widest))


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
    """Draw the masks of many steps, on the network's device.

    Returns:
        For every step one pair a layer: (d_in,) and (d_out,) for a single sample, (N, 1, d_in) and
        (N, 1, d_out) for N.
    """
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
        shaped = [mask.unsqueeze(2) if len(samples) > 1 else mask[:, 0] for mask in pair]
        placed = [mask.to(network.weights[0]).unbind(0) for mask in shaped]
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


def _train_block(
    network: Network,
    inputs: Inputs,
    weights: Tensor,
    start: Factors,
    training: Training,
    objective: Objective,
    masks: Sequence[Masks | None],
    checkpoint: Checkpoint | None,
    rows: slice,
) -> Factors:
    replicas = len(weights)
    weights = weights.to(inputs.features)
    flat = inputs.features.new_empty(replicas * network.size)
    gradient = torch.empty_like(flat)
    factors, gradients = network.views(flat, replicas), network.views(gradient, replicas)
    for (A, B), (A_start, B_start) in zip(factors, start, strict=True):
        A.copy_(A_start.expand_as(A))
        B.copy_(B_start.expand_as(B))
    take_step, scratch = _optimizer(flat, gradient, training), Scratch()
    order = batches(len(inputs), training.batch, training.steps, training.seed)
    for step, (drawn, index) in enumerate(zip(masks, order, strict=True), start=1):
        if index is None:
            network.objective_gradient(factors, inputs, weights, drawn, gradients, scratch)
        else:
            # The weights of a row sum to 1 over the pool, so a batch is scaled up to the pool.
            scale = len(inputs) / len(index)
            network.objective_gradient(
                factors, inputs.take(index), weights[:, index] * scale, drawn, gradients, scratch
            )
        if isinstance(objective, Penalty) and objective.strength > 0:
            network.add_penalty_gradient(factors, objective.strength, gradients)
        take_step()
        if checkpoint is not None:
            checkpoint(step, rows, factors)
    return [(A.clone(), B.clone()) for A, B in factors]


def _all_masks(
    network: Network, training: Training, objective: Objective
) -> Sequence[Masks | None]:
    if not isinstance(objective, Dropout) or objective.p == 0:
        return [None] * training.steps
    return draw_steps(
        network,
        objective.p,
        range(training.steps),
        range(training.samples),
        training.seed,
        objective.rescale,
    )


def _optimizer(flat: Tensor, gradient: Tensor, training: Training) -> Callable[[], None]:
    """Return the step of one elementwise optimizer over the flat buffer: one a replica, that is.

    PyTorch's functional form, which spares a third of the time that its class takes.
    """
    if training.optimizer == "sgd":
        return lambda: sgd(
            [flat],
            [gradient],
            [None],
            weight_decay=0.0,
            momentum=0.0,
            lr=training.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            foreach=False,
        )
    moments = [torch.zeros_like(flat)], [torch.zeros_like(flat)]
    count = [torch.zeros((), dtype=torch.float32, device=flat.device)]
    return lambda: adam(
        [flat],
        [gradient],
        *moments,
        [],
        count,
        fused=True,
        foreach=False,
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=training.lr,
        weight_decay=0.0,
        eps=1e-8,
        maximize=False,
    )

"""LoRA and AdaLoRA on the replicas of a network, with masks at any place, by autograd.

``probes.training.retrain`` trains LoRA with LoRA Dropout several times faster. This module trains
what it is compared with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from probes.models.network import Factors, Inputs, Network
from probes.training.adalora import (
    BudgetSchedule,
    RankAllocator,
    Triplets,
    as_factors,
    initial_triplets,
    orthogonality,
)
from probes.training.mask_placements import Dropping, masked_outputs
from probes.training.plan import Training
from probes.training.retrain import batches

#: AdaLoRA's weight of the orthogonality regularizer; 0.1 to 0.5 in its authors' experiments.
ORTHOGONALITY = 0.1
#: AdaLoRA starts with this many times the target's ranks, as its authors do (12 for 8).
EXCESS = 1.5
#: Shares of the training before the first rank goes and after the last one went.
WARMUP, FINAL = 0.1, 0.3


class Parametrization(Protocol):
    """A parametrization of low-rank updates, with what it adds to training."""

    def start(self, generator: torch.Generator, replicas: int) -> list[Tensor]:
        """Return initial parameters, the same for all replicas.

        Args:
            generator: of the parameters.
            replicas: R.

        Returns:
            Tensors (R, ...), in the dtype and on the device of the frozen weights; those of the
            first layer come first.
        """

    def factors(self, parameters: Sequence[Tensor]) -> Factors:
        """The pairs (A, B) whose products are the updates."""

    def regularizer(self, parameters: Sequence[Tensor]) -> Tensor | None:
        """What is added to every replica's loss, (R,); None for nothing."""

    def after_step(
        self, step: int, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Change the parameters, in place, after a step of the optimizer.

        Args:
            step: number of the step just taken, from 1.
            parameters: as they are after the step, laid out as by :meth:`start`.
            gradients: that the step was taken with, laid out as ``parameters``.
        """


class LoRA:
    """B A, with LoRA's initial factors.

    Source: Hu et al. 2022, arXiv 2106.09685.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def start(self, generator: torch.Generator, replicas: int) -> list[Tensor]:
        """Return initial A and B of every layer, as in :meth:`Parametrization.start`."""
        pairs = self.network.initial_factors(generator)
        return [factor.repeat(replicas, 1, 1) for pair in pairs for factor in pair]

    def factors(self, parameters: Sequence[Tensor]) -> Factors:
        """The parameters in pairs."""
        return list(zip(parameters[::2], parameters[1::2], strict=True))

    def regularizer(self, parameters: Sequence[Tensor]) -> Tensor | None:
        """Nothing."""
        return None

    def after_step(
        self, step: int, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Do nothing; arguments as in :meth:`Parametrization.after_step`."""


class AdaLoRA:
    """P Lambda Q with orthogonality regularizer and rank allocation.

    Source: Zhang et al. 2023, arXiv 2303.10512.

    It starts with ``EXCESS`` times the network's rank in every layer and ends with as many triplets
    as LoRA of that rank has over all layers. Masks fall on Q's input columns and P's output rows.

    Args:
        network: whose layers are adapted.
        steps: of the training.
    """

    def __init__(self, network: Network, steps: int) -> None:
        self.network = network
        self.ranks = [min(round(EXCESS * network.rank), *sides) for sides in network.sides]
        target = min(network.rank * len(network.sides), sum(self.ranks))
        schedule = BudgetSchedule(
            sum(self.ranks), target, steps, round(WARMUP * steps), round(FINAL * steps)
        )
        self.allocator = RankAllocator(schedule)

    def start(self, generator: torch.Generator, replicas: int) -> list[Tensor]:
        """Return initial P, Lambda and Q of every layer, as in :meth:`Parametrization.start`."""
        like = self.network.weights[0]
        return [
            part.to(like).repeat(replicas, *[1] * part.dim())
            for rank, (d_in, d_out) in zip(self.ranks, self.network.sides, strict=True)
            for part in initial_triplets(rank, d_in, d_out, generator)
        ]

    def factors(self, parameters: Sequence[Tensor]) -> Factors:
        """A = Q and B = P Lambda."""
        return [as_factors(triplets) for triplets in _triplets(parameters)]

    def regularizer(self, parameters: Sequence[Tensor]) -> Tensor | None:
        """The orthogonality regularizer over all layers."""
        each = [orthogonality(triplets) for triplets in _triplets(parameters)]
        return ORTHOGONALITY * torch.stack(each).sum(0)

    def after_step(
        self, step: int, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Allocate the ranks; arguments as in :meth:`Parametrization.after_step`."""
        self.allocator.step(step, _triplets(parameters), _triplets(gradients))


@dataclass(frozen=True)
class Setup:
    """What is trained and how.

    Attributes:
        network: the frozen network.
        inputs: the m examples of the pool.
        weights: example weights, one replica a row, (R, m).
        training: how; its optimizer is Adam.
        dropping: where masks fall.
    """

    network: Network
    inputs: Inputs
    weights: Tensor
    training: Training
    dropping: Dropping


def train(
    setup: Setup,
    parametrization: Parametrization,
    generator: torch.Generator,
    checkpoint: Callable[[int, Factors], object] = lambda step, factors: None,
) -> Factors:
    """Train every replica from the same start with the same masks.

    Args:
        setup: what is trained and how.
        parametrization: LoRA or AdaLoRA, made for this training.
        generator: of the initial parameters.
        checkpoint: called after every step with the factors as they are.

    Returns:
        The trained factors of all replicas: A (R, r, d_in) and B (R, d_out, r) of every layer.
    """
    parameters = parametrization.start(generator, len(setup.weights))
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=setup.training.lr, fused=True)
    order = batches(
        len(setup.inputs), setup.training.batch, setup.training.steps, setup.training.seed
    )
    weights = setup.weights.to(setup.inputs.targets)
    for step, index in enumerate(order):
        optimizer.zero_grad()
        with torch.enable_grad():
            for sample in range(setup.training.samples):
                _loss(setup, parametrization, parameters, weights, index, step, sample).backward()
        optimizer.step()
        slopes = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in parameters
        ]
        with torch.no_grad():
            parametrization.after_step(step + 1, parameters, slopes)
            checkpoint(step + 1, parametrization.factors(parameters))
    with torch.no_grad():
        return parametrization.factors(parameters)


def _loss(
    setup: Setup,
    parametrization: Parametrization,
    parameters: Sequence[Tensor],
    weights: Tensor,
    index: Tensor | None,
    step: int,
    sample: int,
) -> Tensor:
    """The objective of all replicas for one mask sample, over the number of samples."""
    inputs, scale = setup.inputs, 1.0
    if index is not None:
        inputs, weights, scale = inputs.take(index), weights[:, index], len(inputs) / len(index)
    network, seed = setup.network, setup.training.seed
    drawn = setup.dropping.draw(network, len(inputs), step=step, sample=sample, seed=seed)
    outputs = masked_outputs(network, parametrization.factors(parameters), inputs, drawn)
    losses = network.loss.value(outputs, inputs.targets)
    total = (losses * weights).sum() * scale
    extra = parametrization.regularizer(parameters)
    if extra is not None:
        total = total + extra.sum()
    return total / setup.training.samples


def _triplets(tensors: Sequence[Tensor]) -> list[Triplets]:
    return [
        Triplets(*part) for part in zip(tensors[::3], tensors[1::3], tensors[2::3], strict=True)
    ]

"""A frozen network with LoRA factors on some of its linear layers, for all replicas at once.

What is common to all kinds of network: the factors, the merged weights, and the losses that follow
from a network's outputs. ``probes.models.feedforward`` and ``probes.models.encoder`` are the kinds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from lora_dropout.functional import mask_factors, merge_weight
from lora_dropout.layer import initial_factor
from probes.models.losses import Loss

#: One (A, B) pair a layer: A (R, r, d_in), B (R, d_out, r).
Factors = list[tuple[Tensor, Tensor]]
#: One (mask_in, mask_out) pair a layer, N samples each: (N, 1, 1, d_in) and (N, 1, 1, d_out).
Masks = list[tuple[Tensor, Tensor]]


class Inputs(Protocol):
    """Examples as a network reads them, with what never changes computed once."""

    @property
    def targets(self) -> Tensor:
        """(k, m)."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Self:
        """Return the examples of a mini-batch."""

    def place(self, like: Tensor) -> Self:
        """Return the same on the device and in the precision of a tensor."""


class Network(ABC):
    """A frozen network whose adapted layers have low-rank updates.

    Args:
        weights: W0 of every adapted layer, (d_out, d_in), in order; all of one dtype and device.
        rank: r, of every layer.
        alpha: the update is multiplied by alpha / rank.
        loss: of the network's output.

    Attributes:
        outputs_count: k, the number of outputs.
        activations: about how many numbers a replica holds for one example in training.
        block_activations: how many numbers replicas that are trained together hold on a CPU.
    """

    outputs_count: int
    activations: int
    block_activations: int

    def __init__(self, weights: Sequence[Tensor], *, rank: int, alpha: float, loss: Loss) -> None:
        self.weights = list(weights)
        self.rank, self.scaling, self.loss = rank, alpha / rank, loss

    @property
    def sides(self) -> list[tuple[int, int]]:
        """(d_in, d_out) of every adapted layer."""
        return [(weight.shape[1], weight.shape[0]) for weight in self.weights]

    @property
    def depth(self) -> int:
        """Number of layers of the network of which something is adapted."""
        return len(self.weights)

    @property
    def size(self) -> int:
        """Number of trained numbers a replica."""
        return sum(self.rank * (d_in + d_out) for d_in, d_out in self.sides)

    @abstractmethod
    def outputs(self, weights: Sequence[Tensor], inputs: Any) -> Tensor:
        """Compute the outputs of R networks with the given weights.

        Args:
            weights: of the adapted layers, (R, d_out, d_in) each.
            inputs: m examples, as this kind of network reads them.

        Returns:
            Outputs, (R, k, m); differentiable in the weights.
        """

    @abstractmethod
    def gradient_norms(self, factors: Factors, inputs: Any, update_scale: float = 1.0) -> Tensor:
        """Compute the norm of every example's loss gradient in the adapted *weights*.

        Args:
            factors: of R replicas.
            inputs: m examples, as this kind of network reads them.
            update_scale: factor of every update, such as its expected mask (1-p)^2.

        Returns:
            Norms over all adapted layers together, (R, m), in units of the loss per unit of weight.
        """

    @abstractmethod
    def place(self, like: Tensor) -> Self:
        """Return the same network on the device and in the precision of a tensor."""

    def initial_factors(self, generator: torch.Generator) -> Factors:
        """Draw one replica's initial factors: LoRA's uniform A, and B = 0."""
        like = self.weights[0]
        return [
            (
                initial_factor(self.rank, d_in, generator).to(like).unsqueeze(0),
                like.new_zeros(1, d_out, self.rank),
            )
            for d_in, d_out in self.sides
        ]

    def views(self, flat: Tensor, replicas: int) -> Factors:
        """View a flat buffer as factors.

        Args:
            flat: buffer of ``replicas * size`` numbers. For every layer it holds all A,
                (R, r, d_in), then all B transposed, (R, r, d_out).
            replicas: R.

        Returns:
            One pair a layer, A (R, r, d_in) and B (R, d_out, r), that share the buffer's memory.
        """
        pairs, start = [], 0
        for d_in, d_out in self.sides:
            middle = start + replicas * self.rank * d_in
            end = middle + replicas * d_out * self.rank
            pairs.append(
                (
                    flat[start:middle].view(replicas, self.rank, d_in),
                    flat[middle:end].view(replicas, self.rank, d_out).mT,
                )
            )
            start = end
        return pairs

    def merged_weights(
        self, factors: Factors, masks: Masks | None = None, update_scale: float = 1.0
    ) -> list[Tensor]:
        """Add the updates to the frozen weights.

        Args:
            factors: of R replicas.
            masks: one mask pair a layer, the same for all replicas; None for no masks.
            update_scale: factor of every update, such as its expected mask (1-p)^2.

        Returns:
            One weight a layer, (R, d_out, d_in).
        """
        if masks is not None:
            factors = mask_layers(factors, masks)
        return [
            merge_weight(weight, A, B, self.scaling * update_scale)
            for weight, (A, B) in zip(self.weights, factors, strict=True)
        ]

    def replica_outputs(
        self,
        factors: Factors,
        inputs: Any,
        *,
        masks: Masks | None = None,
        update_scale: float = 1.0,
    ) -> Tensor:
        """Compute the outputs of R networks with the given factors.

        Args:
            factors, masks, update_scale: as for :meth:`merged_weights`.
            inputs: m examples, as this kind of network reads them.

        Returns:
            Outputs, (R, k, m).
        """
        return self.outputs(self.merged_weights(factors, masks, update_scale), inputs)

    def losses(self, factors: Factors, inputs: Any, update_scale: float = 1.0) -> Tensor:
        """Compute the loss of every replica on every example, without masks.

        Args:
            factors: of R replicas.
            inputs: m examples, as this kind of network reads them.
            update_scale: factor of every update, such as its expected mask (1-p)^2.

        Returns:
            Losses, (R, m), not clipped.
        """
        return self.loss.value(
            self.replica_outputs(factors, inputs, update_scale=update_scale), inputs.targets
        )


def mask_layers(factors: Factors, masks: Masks) -> Factors:
    """Mask the factors of R replicas by one mask pair a layer, the same for all replicas.

    Args:
        factors: A (R, r, d_in) and B (R, d_out, r) of every layer.
        masks: of one sample: mask_in with d_in and mask_out with d_out entries for every layer.

    Returns:
        Factors of the same shapes, A's columns and B's rows multiplied by the masks.
    """
    return [
        mask_factors(A, B, mask_in.flatten(), mask_out.flatten())
        for (A, B), (mask_in, mask_out) in zip(factors, masks, strict=True)
    ]


def training_loss(
    network: Network, inputs: Inputs, penalty_weight: float = 0.0
) -> Callable[[Tensor], Tensor]:
    """Return the mean loss as a differentiable function of all adapted weights.

    Args:
        network: the frozen network.
        inputs: the examples that the loss is averaged over.
        penalty_weight: s, of ||W - W0||^2, which is added to it.

    Returns:
        A function of one flat vector of weights, float64 on the CPU, layer by layer and row by row.
        Its value is a scalar tensor.
    """
    exact = torch.empty((), dtype=torch.float64)
    network, inputs = network.place(exact), inputs.place(exact)
    shapes = [weight.shape for weight in network.weights]
    (frozen,) = flat_weights([weight.unsqueeze(0) for weight in network.weights])

    def loss(flat: Tensor) -> Tensor:
        pieces = flat.split([shape.numel() for shape in shapes])
        weights = [piece.view(1, *shape) for piece, shape in zip(pieces, shapes, strict=True)]
        mean = network.loss.value(network.outputs(weights, inputs), inputs.targets).mean()
        return mean + penalty_weight * (flat - frozen).square().sum() if penalty_weight else mean

    return loss


def training_losses(
    network: Network, inputs: Inputs, like: Tensor, penalty_weight: float | Tensor = 0.0
) -> Callable[[Tensor], Tensor]:
    """Return the mean losses of several networks: :func:`training_loss` of each, up to rounding.

    Args:
        network, inputs: as for :func:`training_loss`; examples of several cells beside each other
            give each network its own.
        like: weights or another tensor in float64, on the device where all is computed.
        penalty_weight: s, of all networks or of each, (R,).

    Returns:
        A function of R flat vectors of weights, (R, size), float64 on that device. Its
        value is (R,), differentiable.
    """
    network, inputs = network.place(like), inputs.place(like)
    shapes = [weight.shape for weight in network.weights]
    frozen = torch.cat([weight.flatten() for weight in network.weights])

    penalized = bool(torch.as_tensor(penalty_weight).any())

    def losses(flats: Tensor) -> Tensor:
        pieces = flats.split([shape.numel() for shape in shapes], dim=1)
        weights = [piece.view(-1, *shape) for piece, shape in zip(pieces, shapes, strict=True)]
        means = network.loss.value(network.outputs(weights, inputs), inputs.targets).mean(1)
        if penalized:
            return means + penalty_weight * (flats - frozen).square().sum(1)
        return means

    return losses


def replica(factors: Factors, number: int) -> Factors:
    """Return one replica's factors.

    Args:
        factors: of R replicas.
        number: of the replica, 0 to R - 1.

    Returns:
        One pair a layer, A (1, r, d_in) and B (1, d_out, r).
    """
    return some_replicas(factors, slice(number, number + 1))


def some_replicas(factors: Factors, rows: slice | Tensor) -> Factors:
    """Return the factors of some replicas.

    Args:
        factors: of R replicas.
        rows: which of them.
    """
    return [(A[rows], B[rows]) for A, B in factors]


def one_after_another(parts: Iterable[Factors]) -> Factors:
    """Return the factors of all replicas of several parts, in the order of the parts."""
    return [
        (torch.cat([A for A, _ in layer]), torch.cat([B for _, B in layer]))
        for layer in zip(*parts, strict=True)
    ]


def scaled_together(parts: Sequence[Factors], scales: Sequence[float]) -> Factors:
    """Return the factors of all replicas of several parts, their updates scaled.

    Args:
        parts: as many replicas of each.
        scales: factor of the updates of each part.

    Returns:
        In the order of the parts; B holds the factor.
    """
    joined = one_after_another(parts)
    repeats = len(joined[0][0]) // len(scales)
    each = torch.tensor(scales, dtype=torch.float64).repeat_interleave(repeats).view(-1, 1, 1)
    return [(A, B * each.to(B)) for A, B in joined]


def flat_weights(weights: Sequence[Tensor]) -> Tensor:
    """Return the weights of R networks, (R, d_out, d_in) a layer, as R flat vectors."""
    return torch.cat([weight.flatten(1) for weight in weights], dim=1)

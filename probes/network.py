"""A frozen feed-forward network with LoRA factors on its linear layers, for all replicas at once.

Activations hold features first and examples last, replicas in front: (R, features, examples).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lora_dropout.functional import mask_factors, merge_weight
from lora_dropout.layer import initial_factor
from probes.losses import Loss

#: One (A, B) pair a layer: A (R, r, d_in), B (R, d_out, r).
Factors = list[tuple[Tensor, Tensor]]
#: One (mask_in, mask_out) pair a layer, N samples each: (N, 1, 1, d_in) and (N, 1, 1, d_out).
Masks = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Inputs:
    """Examples as the network reads them, with what never changes computed once.

    Attributes:
        features: X, (d_in, m).
        targets: (k, m).
        frozen: output of the first frozen layer, W0 X + b, (d_out, m).
    """

    features: Tensor
    targets: Tensor
    frozen: Tensor

    def __len__(self) -> int:
        return self.features.shape[-1]

    def take(self, index: Tensor) -> "Inputs":
        """Return the examples of a mini-batch."""
        return Inputs(self.features[:, index], self.targets[:, index], self.frozen[:, index])


class Network:
    """ReLU network of frozen linear layers, each with a low-rank update.

    Args:
        weights: W0 of every layer, (d_out, d_in), in order; all of one dtype and device.
        biases: of every layer, (d_out,).
        rank: r, of every layer.
        alpha: the update is multiplied by alpha / rank.
        loss: of the network's output.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        *,
        rank: int,
        alpha: float,
        loss: Loss,
    ) -> None:
        self.weights, self.biases = list(weights), [bias.unsqueeze(-1) for bias in biases]
        self.rank, self.scaling, self.loss = rank, alpha / rank, loss

    @property
    def sides(self) -> list[tuple[int, int]]:
        """(d_in, d_out) of every layer."""
        return [(weight.shape[1], weight.shape[0]) for weight in self.weights]

    @property
    def size(self) -> int:
        """Number of trained numbers a replica."""
        return sum(self.rank * (d_in + d_out) for d_in, d_out in self.sides)

    def read(self, features: Tensor, targets: Tensor) -> Inputs:
        """Prepare examples: features (m, d_in) and targets (m, k), rows as data sets hold them."""
        weight = self.weights[0]
        columns = features.to(weight).mT.contiguous()
        frozen = torch.addmm(self.biases[0], weight, columns)
        return Inputs(columns, targets.to(weight).mT.contiguous(), frozen)

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
        """See a flat buffer of replicas * size numbers as factors; B is stored transposed."""
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
        self, factors: Factors, masks: Masks | None = None, shrink: float = 1.0
    ) -> list[Tensor]:
        """Weights with the update added, one (R, d_out, d_in) a layer.

        Args:
            factors: of R replicas.
            masks: one mask pair a layer, the same for all replicas; none if left out.
            shrink: factor of every update, such as its expected mask (1-p)^2.
        """
        if masks is not None:
            factors = [
                mask_factors(A, B, mask_in.flatten(), mask_out.flatten())
                for (A, B), (mask_in, mask_out) in zip(factors, masks, strict=True)
            ]
        return [
            merge_weight(weight, A, B, self.scaling * shrink)
            for weight, (A, B) in zip(self.weights, factors, strict=True)
        ]

    def outputs(self, weights: Sequence[Tensor], inputs: Inputs) -> Tensor:
        """Outputs on m examples of R networks with the given weights, (R, k, m)."""
        return self._activations(weights, inputs)[-1]

    def losses(self, factors: Factors, inputs: Inputs, shrink: float = 1.0) -> Tensor:
        """Loss of every replica without masks on every example, (R, m)."""
        outputs = self.outputs(self.merged_weights(factors, shrink=shrink), inputs)
        return self.loss.value(outputs, inputs.targets)

    def gradient_norms(self, factors: Factors, inputs: Inputs, shrink: float = 1.0) -> Tensor:
        """Norm of every example's loss gradient in the adapted *weights*, (R, m).

        The gradient of a linear layer's weight is the outer product of its output's gradient and
        its input, so its norm is the product of theirs and no gradient is formed.
        """
        weights = self.merged_weights(factors, shrink=shrink)
        *features, outputs = self._activations(weights, inputs)
        grad = self.loss.gradient(outputs, inputs.targets, None)
        total = torch.zeros_like(grad[:, 0])
        for layer, X in reversed(list(enumerate(features))):
            total += grad.square().sum(-2) * X.square().sum(-2)
            if layer > 0:
                grad = (weights[layer].mT @ grad).mul_(X > 0)
        return total.sqrt_()

    def _activations(self, weights: Sequence[Tensor], inputs: Inputs) -> list[Tensor]:
        """Inputs of all layers, and the output."""
        found = [inputs.features]
        for layer, (weight, bias) in enumerate(zip(weights, self.biases, strict=True)):
            output = (weight @ found[-1]).add_(bias)
            found.append(output if layer + 1 == len(weights) else output.relu_())
        return found


def training_loss(network: Network, inputs: Inputs) -> Callable[[Tensor], Tensor]:
    """Return the mean loss as a differentiable function of all weights.

    The weights are one flat vector, float64 on the CPU, layer by layer and row by row.
    """
    shapes = [weight.shape for weight in network.weights]
    biases = [bias.double().cpu() for bias in network.biases]
    features, targets = inputs.features.double().cpu(), inputs.targets.double().cpu()

    def loss(flat: Tensor) -> Tensor:
        X = features
        pieces = flat.split([shape.numel() for shape in shapes])
        for layer, (piece, shape, bias) in enumerate(zip(pieces, shapes, biases, strict=True)):
            X = torch.addmm(bias, piece.view(shape), X)
            if layer + 1 < len(shapes):
                X = X.relu()
        return network.loss.value(X, targets).mean()

    return loss


def flat_weights(weights: Sequence[Tensor]) -> Tensor:
    """Weights of R networks as R flat vectors, float64 on the CPU, for :func:`training_loss`."""
    return torch.cat([weight.flatten(1) for weight in weights], dim=1).double().cpu()


def random_network_weights(
    widths: Sequence[int], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw the weights (He's normal law) and zero biases of a frozen random ReLU network."""
    for d_in, d_out in pairwise(widths):
        weight = torch.randn(d_out, d_in, generator=generator, dtype=torch.float64)
        yield weight * (2 / d_in) ** 0.5, torch.zeros(d_out, dtype=torch.float64)

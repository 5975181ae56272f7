"""A feed-forward ReLU network, all of whose layers are adapted.

Activations hold features first and examples last, replicas in front: (R, features, examples).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from lora_dropout.functional import merge_weight
from probes.models.losses import Loss
from probes.models.network import Factors, Network


@dataclass(frozen=True)
class Columns:
    """Examples as columns.

    Those of several cells have the cells in front; see :func:`beside`.

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

    def take(self, index: Tensor) -> "Columns":
        """Return the examples of a mini-batch."""
        return Columns(self.features[:, index], self.targets[:, index], self.frozen[:, index])

    def place(self, like: Tensor) -> "Columns":
        """Return the same on the device and in the precision of a tensor."""
        return Columns(self.features.to(like), self.targets.to(like), self.frozen.to(like))


def beside(cells: Sequence[Columns]) -> Columns:
    """Put the examples of several cells beside each other.

    Args:
        cells: as many examples of each; one cell stays as it is.

    Returns:
        Examples whose tensors have the cells in front, (C, ..., m).
    """
    if len(cells) == 1:
        return cells[0]
    parts = ([one.features for one in cells], [one.targets for one in cells],
             [one.frozen for one in cells])  # fmt: skip
    return Columns(*map(torch.stack, parts))


class FeedForward(Network):
    """ReLU network of frozen linear layers, each with a low-rank update.

    Args:
        weights: W0 of every layer, (d_out, d_in), in order; all of one dtype and device.
        biases: of every layer, (d_out,).
        rank, alpha, loss: as for :class:`Network`.
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
        super().__init__(weights, rank=rank, alpha=alpha, loss=loss)
        # A larger block falls out of the caches, a smaller one wastes time between products.
        self.block_activations = 2**20
        self.biases = [bias.unsqueeze(-1) for bias in biases]
        self.outputs_count = self.sides[-1][1]
        self.activations = sum(max(sides) for sides in self.sides)

    def place(self, like: Tensor) -> Self:
        """Return the same network on the device and in the precision of a tensor."""
        return type(self)(
            [weight.to(like) for weight in self.weights],
            [bias[:, 0].to(like) for bias in self.biases],
            rank=self.rank,
            alpha=self.scaling * self.rank,
            loss=self.loss,
        )

    def read(self, features: Tensor, targets: Tensor) -> Columns:
        """Prepare examples: transpose them and compute the first frozen product.

        Args:
            features: one example a row, (m, d_in).
            targets: one example a row, (m, k).

        Returns:
            The examples as columns, on the network's device and in its dtype.
        """
        weight = self.weights[0]
        columns = features.to(weight).mT.contiguous()
        frozen = torch.addmm(self.biases[0], weight, columns)
        return Columns(columns, targets.to(weight).mT.contiguous(), frozen)

    def outputs(self, weights: Sequence[Tensor], inputs: Columns) -> Tensor:
        """Compute outputs from merged weights, as in :meth:`Network.outputs`."""
        first = (weights[0] @ inputs.features).add_(self.biases[0])
        return self._activations_after(first, weights[1:])[-1]

    def outputs_with_masked_inputs(
        self, updates: Sequence[Tensor], masks: Sequence[Tensor], inputs: Columns
    ) -> Tensor:
        """Compute outputs where every update reads its layer's input under a mask.

        Args:
            updates: one a layer, (R, d_out, d_in), scaled by alpha / r.
            masks: one a layer, (d_in, m), the same for all replicas.
            inputs: m examples.

        Returns:
            Outputs, (R, k, m).
        """
        X = inputs.features
        layers = zip(self.weights, self.biases, updates, masks, strict=True)
        for layer, (weight, bias, update, mask) in enumerate(layers):
            X = weight @ X + bias + update @ (X * mask)
            if layer + 1 < len(self.weights):
                X = X.relu()
        return X

    def gradient_norms(
        self, factors: Factors, inputs: Columns, update_scale: float = 1.0
    ) -> Tensor:
        """Compute per-example gradient norms, as in :meth:`Network.gradient_norms`.

        The replicas may be those of several cells, as many of each, and the examples too.

        The gradient of a linear layer's weight is the outer product of its output's gradient and
        its input, so its norm is the product of theirs and no gradient is formed. Nor is the first
        layer's weight, the largest: its frozen product is at hand.
        """
        scaling = self.scaling * update_scale
        (A, B), *later = factors
        hidden = _times_common(A, inputs.features)
        frozen = of_replicas(inputs.frozen, len(A))
        first = torch.baddbmm(frozen, B, hidden, alpha=scaling)
        weights = [
            merge_weight(weight, *pair, scaling)
            for weight, pair in zip(self.weights[1:], later, strict=True)
        ]
        *inner, outputs = self._activations_after(first, weights)
        grad = self.loss.gradient(outputs, of_replicas(inputs.targets, len(A)), None)
        total = torch.zeros_like(grad[:, 0])
        for weight, X in zip(reversed(weights), reversed(inner), strict=True):
            total += grad.square().sum(-2) * X.square().sum(-2)
            grad = (weight.mT @ grad).mul_(X > 0)
        sizes = of_replicas(inputs.features.square().sum(-2, keepdim=True), len(A))
        total += grad.square().sum(-2) * sizes.squeeze(-2)
        return total.sqrt_()

    def _activations_after(self, first: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
        """Inputs of all layers but the first, and the output.

        Args:
            first: output of the first layer before its ReLU, (R, d_out, m); changed in place.
            weights: of the other layers, (R, d_out, d_in) each.
        """
        found = [first]
        for weight, bias in zip(weights, self.biases[1:], strict=True):
            found.append((weight @ found[-1].relu_()).add_(bias))
        return found


def of_replicas(common: Tensor, replicas: int) -> Tensor:
    """View what is common to replicas, (a, m), as that of each; of several cells it is copied.

    Args:
        common: (a, m), or (C, a, m).
        replicas: their number, of all cells.

    Returns:
        (replicas, a, m).
    """
    if common.dim() == 2:
        return common.expand(replicas, -1, -1)
    return common.repeat_interleave(replicas // len(common), 0)


def _times_common(A: Tensor, X: Tensor) -> Tensor:
    """Multiply every replica's matrix by what is common to the replicas.

    Args:
        A: (R, r, d).
        X: (d, m), or of several cells (C, d, m).

    Returns:
        (R, r, m).
    """
    if X.dim() == 2:
        return torch.mm(A.flatten(0, 1), X).unflatten(0, A.shape[:2])
    rows = A.view(len(X), -1, A.shape[-1])
    return torch.bmm(rows, X).view(*A.shape[:2], -1)


def random_network_weights(
    widths: Sequence[int], generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw the weights and zero biases of a frozen random ReLU network.

    Source: the normal law of variance 2 / d_in is that of He et al. 2015, arXiv 1502.01852.

    Args:
        widths: number of features before the first layer and after every layer, at least 2 numbers.
        generator: of the weights.

    Yields:
        Weight (d_out, d_in) and bias (d_out,) of every layer, first layer first; float64, CPU.
    """
    for d_in, d_out in pairwise(widths):
        weight = torch.randn(d_out, d_in, generator=generator, dtype=torch.float64)
        yield weight * (2 / d_in) ** 0.5, torch.zeros(d_out, dtype=torch.float64)

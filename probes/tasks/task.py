"""What is learned: examples, a frozen network, a loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from probes.losses import Loss
from probes.network import Network


@dataclass(frozen=True)
class Task:
    """A data set and the frozen feed-forward network that is adapted to it.

    Attributes:
        name: as ``--task`` takes it.
        features: (examples, d_in), float64.
        targets: (examples, k), float64: one-hot classes, 0/1 labels, or values.
        weights: frozen weights, (d_out, d_in) each, float64, first layer first.
        biases: frozen biases, (d_out,) each, float64.
        loss: of the network's output.
        rank: default rank of the update.
        lr: default learning rate.
        steps: default number of optimizer steps.
    """

    name: str
    features: Tensor
    targets: Tensor
    weights: list[Tensor]
    biases: list[Tensor]
    loss: Loss
    rank: int
    lr: float
    steps: int

    @property
    def largest_rank(self) -> int:
        """The smallest side of an adapted layer."""
        return min(min(weight.shape) for weight in self.weights)

    def network(
        self, *, rank: int, alpha: float, dtype: torch.dtype, device: str | torch.device
    ) -> Network:
        """Build the network with its adapted layers."""
        return Network(
            [weight.to(device, dtype) for weight in self.weights],
            [bias.to(device, dtype) for bias in self.biases],
            rank=rank,
            alpha=alpha,
            loss=self.loss,
        )


def standardize(features: Tensor) -> Tensor:
    """Shift and scale every column to mean 0 and variance 1 over the whole data set.

    It uses no label, and is a fixed part of the task, the same for every draw of S.
    """
    return (features - features.mean(0)) / features.std(0, correction=0)

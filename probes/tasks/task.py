"""What is learned: examples, a frozen network, a loss."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from probes.models.feedforward import Columns, FeedForward
from probes.models.losses import Loss
from probes.models.network import Inputs, Network


class Task(Protocol):
    """A data set and the frozen network that is adapted to it.

    Attributes:
        name: as ``--task`` takes it.
        loss: of the network's output.
        rank: default rank of the update.
        lr: default learning rate.
        steps: default number of optimizer steps.
    """

    @property
    def name(self) -> str: ...

    @property
    def loss(self) -> Loss: ...

    @property
    def rank(self) -> int: ...

    @property
    def lr(self) -> float: ...

    @property
    def steps(self) -> int: ...

    def __len__(self) -> int:
        """Number of examples."""

    @property
    def largest_rank(self) -> int:
        """The smallest side of an adapted layer."""

    def network(
        self, *, rank: int, alpha: float, dtype: torch.dtype, device: str | torch.device
    ) -> Network:
        """Build the network with its adapted layers.

        Args:
            rank: r of every update, from 1 to :attr:`largest_rank`.
            alpha: the update is multiplied by alpha / rank.
            dtype: of the frozen weights and of the factors.
            device: of the same.

        Returns:
            The frozen network; it holds no factors.
        """

    def read(self, network: Any, index: Tensor) -> Inputs:
        """Return the examples at the given positions, as the network reads them.

        Args:
            network: made by :meth:`network`.
            index: positions in the data set, (m,), int64.

        Returns:
            The m examples, in the order of ``index``, on the network's device and in its dtype.
        """


@dataclass(frozen=True)
class FeedForwardTask:
    """A task whose examples are vectors and whose network is feed-forward.

    Attributes:
        name, loss, rank, lr, steps: as for :class:`Task`.
        features: (examples, d_in), float64.
        targets: (examples, k), float64: one-hot classes, 0/1 labels, or values.
        weights: frozen weights, (d_out, d_in) each, float64, first layer first.
        biases: frozen biases, (d_out,) each, float64.
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

    def __len__(self) -> int:
        return len(self.features)

    @property
    def largest_rank(self) -> int:
        """The smallest side of an adapted layer."""
        return min(min(weight.shape) for weight in self.weights)

    def network(
        self, *, rank: int, alpha: float, dtype: torch.dtype, device: str | torch.device
    ) -> FeedForward:
        """Build the network, as in :meth:`Task.network`."""
        return FeedForward(
            [weight.to(device, dtype) for weight in self.weights],
            [bias.to(device, dtype) for bias in self.biases],
            rank=rank,
            alpha=alpha,
            loss=self.loss,
        )

    def read(self, network: FeedForward, index: Tensor) -> Columns:
        """Return examples, as in :meth:`Task.read`."""
        return network.read(self.features[index], self.targets[index])


def standardize(features: Tensor) -> Tensor:
    """Shift and scale every column to mean 0 and variance 1 over the whole data set.

    It uses no label, and is a fixed part of the task, the same for every draw of S.
    """
    return (features - features.mean(0)) / features.std(0, correction=0)

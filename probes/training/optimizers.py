"""Steps of elementwise optimizers over a flat buffer of all replicas' factors."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

fused_adamw = torch.ops.aten._fused_adamw_.default


class OptimizerStep(ABC):
    """A step of an elementwise optimizer over a flat buffer: one a replica, that is.

    With PyTorch's defaults. The weight decay is decoupled: a step multiplies ``flat`` by
    1 - lr * weight_decay.

    Source: Loshchilov & Hutter 2019, arXiv 1711.05101 (decoupled weight decay).

    Args:
        flat: what is trained, (numbers,); changed in place.
        gradient: of it, of the same shape, read at every step.
        lr: learning rate.
        weight_decay: decoupled, at least 0.

    Attributes:
        state: what a step changes besides ``flat``.
    """

    def __init__(self, flat: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> None:
        self.flat, self.gradient = flat, gradient
        self.lr, self.weight_decay = lr, weight_decay
        self.state: list[Tensor] = []

    @abstractmethod
    def __call__(self) -> None:
        """Take the step."""


class SGDStep(OptimizerStep):
    """Plain gradient descent."""

    def __call__(self) -> None:
        """Take the step."""
        if self.weight_decay:
            self.flat.mul_(1 - self.lr * self.weight_decay)
        self.flat.sub_(self.gradient, alpha=self.lr)


class AdamStep(OptimizerStep):
    """AdamW by PyTorch's fused kernel; without weight decay, Adam.

    PyTorch's class around the kernel is left out: it takes as long as the kernel.

    Source: Kingma & Ba 2015, arXiv 1412.6980 (Adam); Loshchilov & Hutter 2019, arXiv 1711.05101
    (AdamW).

    Args:
        flat, gradient, lr, weight_decay: as for :class:`OptimizerStep`.
    """

    def __init__(self, flat: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> None:
        super().__init__(flat, gradient, lr, weight_decay)
        first, second = torch.zeros_like(flat), torch.zeros_like(flat)
        self.state = [first, second, torch.zeros((), device=flat.device)]

    def __call__(self) -> None:
        """Take the step."""
        first, second, count = self.state
        count.add_(1)
        fused_adamw(
            [self.flat],
            [self.gradient],
            [first],
            [second],
            [],
            [count],
            lr=self.lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


OPTIMIZER_STEPS: dict[str, type[OptimizerStep]] = {"adam": AdamStep, "sgd": SGDStep}

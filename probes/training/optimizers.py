"""Steps of elementwise optimizers over a flat buffer of all replicas' factors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

fused_adamw = torch.ops.aten._fused_adamw_.default


class OptimizerStep(ABC):
    """A step of an elementwise optimizer over a flat buffer: every replica is trained by itself.

    With PyTorch's defaults. The weight decay is decoupled: a step multiplies ``flat`` by
    1 - lr * weight_decay.

    Source: Loshchilov & Hutter 2019, arXiv 1711.05101 (decoupled weight decay).

    Args:
        flat: what is trained, (numbers,); changed in place.
        gradient: of it, of the same shape, read at every step.
        lr: learning rate.
        weight_decay: decoupled, at least 0.
        sizes: lengths of consecutive parts of ``flat`` that are stepped one by one, so that what a
            number rounds to depends on its place in its part alone: the last numbers of a call are
            computed by other instructions than the rest. None for a single part.

    Attributes:
        state: what a step changes besides ``flat``.
    """

    def __init__(
        self,
        flat: Tensor,
        gradient: Tensor,
        lr: float,
        weight_decay: float,
        sizes: Sequence[int] | None = None,
    ) -> None:
        self.sizes = [flat.numel()] if sizes is None else list(sizes)
        self.parts, self.gradient_parts = self.split(flat), self.split(gradient)
        self.lr, self.weight_decay = lr, weight_decay
        self.state: list[Tensor] = []

    def split(self, flat: Tensor) -> list[Tensor]:
        """Cut what is laid out as the trained numbers into the parts."""
        return list(flat.view(-1).split(self.sizes))

    @abstractmethod
    def __call__(self) -> None:
        """Take the step."""


class SGDStep(OptimizerStep):
    """Plain gradient descent."""

    def __call__(self) -> None:
        """Take the step."""
        for part, gradient in zip(self.parts, self.gradient_parts, strict=True):
            if self.weight_decay:
                part.mul_(1 - self.lr * self.weight_decay)
            part.sub_(gradient, alpha=self.lr)


class AdamStep(OptimizerStep):
    """AdamW by PyTorch's fused kernel; without weight decay, Adam.

    PyTorch's class around the kernel is left out: it takes as long as the kernel.

    Source: Kingma & Ba 2015, arXiv 1412.6980 (Adam); Loshchilov & Hutter 2019, arXiv 1711.05101
    (AdamW).

    Args:
        flat, gradient, lr, weight_decay, sizes: as for :class:`OptimizerStep`.
    """

    def __init__(
        self,
        flat: Tensor,
        gradient: Tensor,
        lr: float,
        weight_decay: float,
        sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(flat, gradient, lr, weight_decay, sizes)
        first, second = torch.zeros_like(flat), torch.zeros_like(flat)
        self.count = torch.zeros((), device=flat.device)
        self.counts = [self.count] * len(self.sizes)
        self.first, self.second = self.split(first), self.split(second)
        self.state = [first, second, self.count]

    def __call__(self) -> None:
        """Take the step."""
        self.count.add_(1)
        fused_adamw(
            self.parts,
            self.gradient_parts,
            self.first,
            self.second,
            [],
            self.counts,
            lr=self.lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


OPTIMIZER_STEPS: dict[str, type[OptimizerStep]] = {"adam": AdamStep, "sgd": SGDStep}

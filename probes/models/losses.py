"""Per-example losses and their gradients; outputs hold features first, examples last."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss:
    """A loss of one example, convex in the network's output.

    Attributes:
        name: the field's name for it.
        value: (outputs (..., k, m), targets (k, m)) to losses (..., m).
        gradient: the same arguments, and memory that the result is written into or None, to the
            gradient in the outputs, (..., k, m).
        score: the same arguments to what practitioners look at, (..., m): 1 where the predicted
            class is right, NaN where an output is not finite; the squared error in regression.
        score_name: what the mean of ``score`` is called.
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    score: Callable[[Tensor, Tensor], Tensor]
    score_name: str


def _accuracy(right: Tensor, outputs: Tensor) -> Tensor:
    """1 where right, 0 where wrong, NaN where an output is not finite: it predicts no class.

    Args:
        right: whether the class is, (..., m), bool.
        outputs: (..., k, m).

    Returns:
        (..., m), of the outputs' type.
    """
    return right.to(outputs.dtype).masked_fill(~outputs.isfinite().all(-2), float("nan"))


# The class axis is strided and the examples are contiguous: reductions then run over whole rows of
# memory, where a softmax along ten contiguous classes would cost a quarter of a training step.
cross_entropy = Loss(
    name="cross-entropy",
    value=lambda outputs, targets: torch.logsumexp(outputs, -2) - (outputs * targets).sum(-2),
    gradient=lambda outputs, targets, out: torch.softmax(outputs, -2, out=out).sub_(targets),
    score=lambda outputs, targets: _accuracy(outputs.argmax(-2) == targets.argmax(-2), outputs),
    score_name="accuracy",
)

logistic = Loss(
    name="logistic",
    value=lambda outputs, targets: (F.softplus(outputs) - outputs * targets).squeeze(-2),
    gradient=lambda outputs, targets, out: torch.sigmoid(outputs, out=out).sub_(targets),
    score=lambda outputs, targets: _accuracy(
        ((outputs > 0) == (targets > 0.5)).squeeze(-2), outputs
    ),
    score_name="accuracy",
)

squared = Loss(
    name="squared",
    value=lambda outputs, targets: (outputs - targets).square().squeeze(-2),
    gradient=lambda outputs, targets, out: torch.sub(outputs, targets, out=out).mul_(2),
    score=lambda outputs, targets: (outputs - targets).square().squeeze(-2),
    score_name="mean squared error",
)

"""Which outputs a model can return at all, as far as those that it returns tell.

The best constant is one that a model could return: of log-probabilities a loss falls without end
beyond these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

#: By how much more than their rounding outputs may differ from what they add up to.
SLACK = 1e-4


@dataclass(frozen=True)
class OutputKind:
    """Outputs as a function of numbers that are free.

    Attributes:
        start: these numbers for the mean output, with a first dimension of 1.
        outputs: the outputs that they stand for, of the same shape.
    """

    start: Tensor
    outputs: Callable[[Tensor], Tensor]


def kind_of(outputs: Tensor) -> OutputKind:
    """Find out whether outputs are probabilities, their logarithms, or vectors of length 1.

    Args:
        outputs: one an example along the first dimension, floating point, at least one.

    Returns:
        The kind, where every example is of it along one other dimension; otherwise each number is
        free.
    """
    mean = outputs.mean(0, keepdim=True)
    slack = max(SLACK, 4 * torch.finfo(outputs.dtype).eps)
    for dim in (dim for dim in range(1, outputs.dim()) if outputs.shape[dim] > 1):
        for sums, starts, made in (_PROBABILITIES, _LOGARITHMS, _DIRECTIONS):
            if ((sums(outputs, dim) - 1).abs() <= slack).all():
                return OutputKind(starts(mean), partial(made, dim=dim))
    return OutputKind(mean, lambda free: free)


def _total(outputs: Tensor, dim: int) -> Tensor:
    """Sum of probabilities; NaN where there is a negative one."""
    return torch.where(outputs < 0, torch.nan, outputs).sum(dim)


#: What is 1 for outputs of the kind, the free numbers of a mean output, and the outputs of these.
_PROBABILITIES = (
    _total,
    lambda mean: mean.clamp(min=torch.finfo(mean.dtype).tiny).log(),
    torch.softmax,
)
_LOGARITHMS = (lambda outputs, dim: outputs.exp().sum(dim), lambda mean: mean, torch.log_softmax)
_DIRECTIONS = (lambda outputs, dim: outputs.norm(dim=dim), lambda mean: mean, normalize)

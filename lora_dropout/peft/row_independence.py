"""Whether one pass over a batch that is repeated N times is the same objective as N passes.

It is where the rows of a batch do not see each other. Losses of pairs (rewards, preferences), of
negatives within the batch, and of what is averaged over a batch before it is used, do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lora_dropout.masked import MaskedUpdate

#: Largest distance of two gradients in units of one, in float32 and in what is less precise.
EXACT, ROUGH = 1e-3, 5e-2


def couples_by_itself(model: nn.Module) -> bool:
    """Whether a model has a layer that averages over the batch in training."""
    return any(isinstance(one, _NormBase) and one.training for one in model.modules())


@contextmanager
def without_noise(model: nn.Module) -> Iterator[None]:
    """Within the block, nothing is random but the masks of LoRA Dropout, which are as in training.

    Args:
        model: with adapted layers, in training mode.
    """
    before = {one: one.training for one in model.modules()}
    model.eval()
    for one in before:
        if isinstance(one, MaskedUpdate):
            one.train(before[one])
    try:
        yield
    finally:
        for one, mode in before.items():
            one.training = mode


def relative_distance(
    grouped: Callable[[], Tensor], passes: Callable[[], Iterator[Tensor]], factors: Sequence[Tensor]
) -> float:
    """Compare the gradients of one grouped pass and of N passes.

    Args:
        grouped: computes the loss of the repeated batch.
        passes: yields the share of every pass in the loss.
        factors: of the adapted layers.

    Returns:
        Norm of the difference in units of the norm of the passes' gradient, at least of the losses
        when they are further apart; infinite where only one of them is 0, and -1 where both are:
        a batch of which nothing counts tells nothing.
    """
    total = [torch.zeros_like(factor) for factor in factors]
    value = 0.0
    for loss in passes():
        value += float(loss.detach())
        for held, new in zip(total, _gradients(loss, factors), strict=True):
            held += new
    loss = grouped()
    found = _gradients(loss, factors)
    apart = _norm([one - other for one, other in zip(found, total, strict=True)])
    size = _norm(total)
    of_losses = abs(float(loss.detach()) - value) / max(abs(value), 1e-6)
    if size == 0:
        return float("inf") if apart > 0 else (of_losses or -1.0)
    return max(of_losses, apart / size)


def _gradients(loss: Tensor, factors: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(loss, factors, allow_unused=True)
    return [
        torch.zeros_like(factor) if one is None else one.detach()
        for one, factor in zip(found, factors, strict=True)
    ]


def _norm(parts: list[Tensor]) -> float:
    return float(torch.stack([part.float().square().sum() for part in parts]).sum().sqrt())

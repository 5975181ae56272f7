"""The weights of factors. LoRA Dropout masks them, and calls no factor."""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

#: What computes a weight before a layer is called; a parametrization does where it is read.
COMPUTES = (BasePruningMethod, SpectralNorm, WeightNorm)


def weight_of(factor: nn.Module) -> Tensor:
    """Return the weight by which a call of a factor would multiply.

    Args:
        factor: layer of PEFT for A or B.

    Returns:
        Its weight, also where it is fetched for each call, as Accelerate does with what is
        offloaded, or computed for each call, as pruning does.
    """
    held = factor._parameters.get("weight")
    if held is not None and not held.is_meta:
        return held
    return _made_for_a_call(factor)


def _made_for_a_call(factor: Any) -> Tensor:
    hook = getattr(factor, "_hf_hook", None)
    if hook is not None:
        hook.pre_forward(factor)
        fetched: Tensor = factor.weight
        hook.post_forward(factor, None)
        return fetched
    for before in factor._forward_pre_hooks.values():
        if isinstance(before, COMPUTES):
            before(factor, ())
    computed: Tensor = factor.weight
    return computed

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


def entry_of(factors: Any, adapter: str) -> Tensor:
    """Return an adapter's factor out of a dictionary of them, also where it is offloaded.

    PyTorch multiplies by a tensor without data as if it had some.

    Args:
        factors: of PEFT, by adapter.
        adapter: its name.
    """
    held: Tensor = factors[adapter]
    if held.is_meta and hasattr(factors, "_hf_hook"):
        return _fetched(factors, adapter)
    return held


def _fetched(holder: Any, name: str) -> Tensor:
    """Let Accelerate fetch what it offloaded, as it does for a call, and put it away again."""
    holder._hf_hook.pre_forward(holder)
    fetched: Tensor = getattr(holder, name)
    holder._hf_hook.post_forward(holder, None)
    return fetched


def _made_for_a_call(factor: Any) -> Tensor:
    if hasattr(factor, "_hf_hook"):
        return _fetched(factor, "weight")
    for before in factor._forward_pre_hooks.values():
        if isinstance(before, COMPUTES):
            before(factor, ())
    computed: Tensor = factor.weight
    return computed

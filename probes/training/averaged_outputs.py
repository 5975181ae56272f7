"""Averages of what the members of an ensemble return: tensors, alone or in a structure."""

from numbers import Number
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree

from lora_dropout.ensemble import RunningAverage, members

#: Types that may stand beside tensors; the last member's value is returned.
BESIDE = (Number, str, bytes, type(None))


def averaged_outputs(model: nn.Module, features: Any, count: int) -> Any:
    """Run every member of an ensemble of masks and average what they return.

    Source: arXiv 2404.09610, Eq. 8.

    Args:
        model: with adapted layers.
        features: that it reads.
        count: of the members, at least 1.

    Returns:
        What the model returns, a tensor or tuples, lists and dictionaries of them: of every tensor
        of floating point its average; of everything else what the last member returns.

    Raises:
        ValueError: the model returns something else.
    """
    averages: dict[int, RunningAverage] = {}
    for _ in members(model, count):
        outputs = model(features)
        refused = why_not_averaged(outputs)
        if refused:
            raise ValueError(f"own.model must return what can be averaged; {refused}")
        leaves, form = _pytree.tree_flatten(outputs)
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                averages.setdefault(place, RunningAverage("logits")).add(leaf)
    return _pytree.tree_unflatten(
        [averages[place].value() if place in averages else leaf
         for place, leaf in enumerate(leaves)],
        form,
    )  # fmt: skip


def why_not_averaged(outputs: Any) -> str:
    """Say why what a model returns cannot be averaged; empty where it can.

    >>> import torch
    >>> why_not_averaged({"logits": torch.ones(2), "loss": None}), why_not_averaged(range(3))
    ('', 'it returns a range, and not tensors in tuples, lists and dictionaries')

    Args:
        outputs: of a model.
    """
    leaves, _ = _pytree.tree_flatten(outputs)
    other = next((one for one in leaves if not isinstance(one, (Tensor, *BESIDE))), None)
    if other is not None:
        kind = type(other).__name__
        return f"it returns a {kind}, and not tensors in tuples, lists and dictionaries"
    if not any(isinstance(one, Tensor) and one.is_floating_point() for one in leaves):
        return "it returns no tensor of floating point"
    return ""

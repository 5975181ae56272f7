"""Which layers of a pretrained model are adapted: what the user names, and what has come of it."""

import re
from collections.abc import Sequence
from typing import Any

import torch

from probes.jobs.amounts import first_of
from probes.jobs.validation import did_you_mean
from probes.tasks.labelled_texts import say_once

#: Layers that are named in a message.
NAMED = 3
#: What PEFT puts before its messages.
SENDER = re.compile(r"^\[[^\]]*\] *")


def no_target(model: Any, asked: Any, error: Exception | None = None) -> ValueError:
    """Make the error of a target that no layer can be adapted by.

    Args:
        model: of transformers, or PEFT's around it.
        asked: "all-linear", or names.
        error: what PEFT says, which is the reason where the layers are there.

    Returns:
        The error, to be raised by the caller.
    """
    known = _linear_layers(model)
    names = [asked] if isinstance(asked, str) else sorted(asked)
    if error is not None and known and {*names} <= {*known, "all-linear"}:
        reason = SENDER.sub("", str(error).splitlines()[0])
        return ValueError(f"target {' '.join(names)} does not fit this model: {reason}")
    hints = "".join(did_you_mean(name, known) for name in names)
    listed = ", ".join(known) or "none that can be adapted"
    return ValueError(
        f"target must be all-linear alone, or names of linear layers of the model ({listed}); got "
        f"{' '.join(names)}{hints}"
    )


def check_targets(adapted: Any, asked: Sequence[str]) -> None:
    """Check that every name of a target has a layer, as PEFT is content with one of them.

    Args:
        adapted: model of PEFT.
        asked: names of layers, or of their ends; nothing, or ``all-linear`` alone, is fine.

    Raises:
        ValueError: a name that no adapted layer ends in.
    """
    names = [name for name, _ in _adapted_layers(adapted)]
    lost = [
        one for one in asked
        if not any(name == one or name.endswith(f".{one}") for name in names)
    ]  # fmt: skip
    if tuple(asked) != ("all-linear",) and lost:
        raise no_target(adapted.get_base_model(), lost)


def say_ranks(adapted: Any, rank: int) -> None:
    """Say once where an update has a smaller rank than asked for, as a layer is smaller.

    Args:
        adapted: model of PEFT.
        rank: that was asked for.
    """
    small = {
        name.rpartition(".")[2]: side
        for name, layer in _adapted_layers(adapted)
        if (side := min(layer.in_features, layer.out_features)) < rank
    }
    if small:
        named = first_of((f"{side} in {name}" for name, side in small.items()), NAMED)
        say_once(f"rank {rank} is above the smaller side of layers: it is at most {named}")


def _adapted_layers(adapted: Any) -> list[tuple[str, Any]]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [
        (name, layer)
        for name, layer in adapted.get_base_model().named_modules()
        if isinstance(layer, BaseTunerLayer) and hasattr(layer, "in_features")
    ]


def _linear_layers(model: Any) -> list[str]:
    names = {
        name.removesuffix(".base_layer").rpartition(".")[2]: None
        for name, layer in model.base_model.named_modules()
        if isinstance(layer, torch.nn.Linear) or type(layer).__name__ == "Conv1D"
    }
    inner = {"default", *(name for name in names if name.startswith("lora_"))}
    return [name for name in names if name not in inner]

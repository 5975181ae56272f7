"""What AdaLoRA has found out of its ranks while it trains: kept beside a checkpoint, and restored.

PEFT cuts an adapter down to its ranks when it saves it, and keeps nothing of their importance. A
run that goes on needs both: the factors as they train, and what the allocator remembers.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

#: Name of the file in the folder of a checkpoint.
ALLOCATION = "adalora_training.safetensors"
#: What AdaLoRA's allocator remembers of each parameter.
IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")
#: Beside them: the parameters that are trained.
TRAINED = "trained"


def allocates(model: Any) -> bool:
    """Whether a model has adapters of AdaLoRA in training."""
    return hasattr(getattr(model, "base_model", None), "rankallocator")


def trained_parameters(model: Any) -> dict[str, Tensor]:
    """Return the parameters that are trained, by name, as they are."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def set_parameters(model: Any, values: dict[str, Tensor]) -> None:
    """Copy values into a model's parameters.

    Args:
        model: changed in place.
        values: by name, of the shapes of the parameters.
    """
    with torch.no_grad():
        for name, value in values.items():
            model.get_parameter(name).copy_(value)


def rank_state(model: Any) -> dict[str, Any]:
    """Return what AdaLoRA has found out of the ranks.

    Args:
        model: of PEFT, with adapters of AdaLoRA in training.

    Returns:
        The importances, tensors by name of parameter, and "pattern", the ranks that are kept.
    """
    allocator = model.base_model.rankallocator
    found = {name: getattr(allocator, name) for name in IMPORTANCE}
    return found | {"pattern": allocator.peft_config.rank_pattern}


def restore_ranks(model: Any, state: dict[str, Any]) -> None:
    """Give AdaLoRA what :func:`rank_state` returned.

    Args:
        model: of PEFT, with the same adapters, changed in place.
        state: what was returned.
    """
    allocator = model.base_model.rankallocator
    devices = {name: value.device for name, value in model.base_model.model.named_parameters()}
    for kind in IMPORTANCE:
        placed = {name: value.to(devices[name]) for name, value in state[kind].items()}
        setattr(allocator, kind, placed)
    allocator.peft_config.rank_pattern = state["pattern"]


def write_allocation(folder: Path, model: Any) -> None:
    """Write the factors as they train, and the state of the ranks, into a checkpoint.

    Args:
        folder: of the checkpoint.
        model: of PEFT, with adapters of AdaLoRA in training.
    """
    state = rank_state(model)
    tensors = {f"{TRAINED}/{name}": value for name, value in trained_parameters(model).items()}
    for kind in IMPORTANCE:
        tensors |= {f"{kind}/{name}": value for name, value in state[kind].items()}
    # Copies, as safetensors takes no tensors that share memory.
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(copies, folder / ALLOCATION, {"pattern": json.dumps(state["pattern"])})


def restore_allocation(folder: Path, model: Any) -> bool:
    """Restore what :func:`write_allocation` wrote.

    Args:
        folder: of the checkpoint.
        model: of PEFT, with the same adapters, changed in place.

    Returns:
        Whether there was something to restore.
    """
    file = folder / ALLOCATION
    if not (allocates(model) and file.exists()):
        return False
    kinds: dict[str, Any] = {kind: {} for kind in (TRAINED, *IMPORTANCE)}
    with safe_open(file, "pt") as stored:
        pattern = json.loads(stored.metadata()["pattern"])
        for key in stored.keys():  # noqa: SIM118, it is no dictionary
            kind, _, name = key.partition("/")
            kinds[kind][name] = stored.get_tensor(key)
    set_parameters(model, kinds.pop(TRAINED))
    restore_ranks(model, kinds | {"pattern": pattern})
    return True

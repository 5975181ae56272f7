"""LoRA Dropout (arXiv 2404.09610): one layer, for a 64-neuron probe and for a full-scale model."""

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

from lora_dropout.ensemble import Average, Ensemble, inference_mode, members
from lora_dropout.injection import AdaptedLayer, describe, inject, mask_schedule, merge
from lora_dropout.layer import LoRADropoutLinear
from lora_dropout.masked import Inference, MaskedUpdate
from lora_dropout.masks import MaskKind
from lora_dropout.objective import (
    backward_over_samples,
    grouped_samples,
    hold_masks,
    sparsity_penalty,
)
from lora_dropout.schedule import MaskSchedule

__all__ = [
    "AdaptedLayer",
    "Average",
    "Ensemble",
    "Inference",
    "LoRADropoutLinear",
    "MaskKind",
    "MaskSchedule",
    "MaskedUpdate",
    "__version__",
    "backward_over_samples",
    "describe",
    "grouped_samples",
    "hold_masks",
    "inference_mode",
    "inject",
    "mask_schedule",
    "members",
    "merge",
    "sparsity_penalty",
]

try:
    __version__ = _version("lora-dropout")
except _PackageNotFoundError:
    # The folder was put on the path and not installed.
    __version__ = "0+unknown"

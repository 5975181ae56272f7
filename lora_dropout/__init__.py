"""LoRA Dropout (arXiv 2404.09610): one layer, for a 64-neuron probe and for a full-scale model."""

from lora_dropout.ensemble import Ensemble, inference_mode, members
from lora_dropout.injection import describe, inject, mask_schedule, merge
from lora_dropout.layer import LoRADropoutLinear
from lora_dropout.masked import Inference, MaskedUpdate
from lora_dropout.objective import backward_over_samples, grouped_samples, sparsity_penalty
from lora_dropout.schedule import MaskSchedule

__all__ = [
    "Ensemble",
    "Inference",
    "LoRADropoutLinear",
    "MaskSchedule",
    "MaskedUpdate",
    "backward_over_samples",
    "describe",
    "grouped_samples",
    "inference_mode",
    "inject",
    "mask_schedule",
    "members",
    "merge",
    "sparsity_penalty",
]

"""LoRA Dropout inside Hugging Face PEFT: LoRA and AdaLoRA, saved as adapters that PEFT reads.

Importing this module makes PEFT load adapters that were trained with LoRA Dropout as such.
"""

# First of all: what follows imports PEFT.
from lora_dropout.peft import quiet_import  # noqa: F401
from lora_dropout.peft.config import AdaLoraDropoutConfig, LoraDropoutConfig
from lora_dropout.peft.generation import ensemble_generation
from lora_dropout.peft.registration import register
from lora_dropout.peft.trainer import LoraDropoutTrainer, LoraDropoutTrainerMixin
from lora_dropout.peft.trainer_callbacks import MaskCallback

__all__ = [
    "AdaLoraDropoutConfig",
    "LoraDropoutConfig",
    "LoraDropoutTrainer",
    "LoraDropoutTrainerMixin",
    "MaskCallback",
    "ensemble_generation",
]

register()

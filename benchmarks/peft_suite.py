"""A plugin of pytest: PEFT's own tests of LoRA run with this package's config at rate 0.

python -m pytest -p benchmarks.peft_suite PATH/TO/peft/tests/test_custom_models.py -k "lora or Lora"

The path is that of a checkout of PEFT. Tests that need the hub fail without a network, with and
without the plugin.
"""

from dataclasses import dataclass

import peft

from lora_dropout.peft import LoraDropoutConfig


@dataclass
class LoraConfigAtRate0(LoraDropoutConfig):
    """``peft.LoraConfig`` as a user of this package has it without dropout."""

    dropout_rate: float | None = 0.0


# Where tests import it from.
peft.LoraConfig = LoraConfigAtRate0

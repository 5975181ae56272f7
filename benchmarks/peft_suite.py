"""Run PEFT's own tests of LoRA with LoRA Dropout's config at rate 0 in place of PEFT's.

python -m benchmarks.peft_suite PATH/TO/peft/tests/test_custom_models.py -k "lora or Lora"

The path is that of a checkout of PEFT; the arguments after it are pytest's. Tests that need the hub
fail or are skipped without a network.
"""

import sys
from dataclasses import dataclass

import peft
import pytest

from lora_dropout.peft import LoraDropoutConfig


@dataclass
class LoraConfigAtRate0(LoraDropoutConfig):
    """``peft.LoraConfig`` as a user of this package would have it without dropout."""

    dropout_rate: float | None = 0.0


def main(arguments: list[str]) -> int:
    """Run pytest with the class replaced where tests import it from.

    Returns:
        pytest's exit status.
    """
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    peft.LoraConfig = LoraConfigAtRate0
    return pytest.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

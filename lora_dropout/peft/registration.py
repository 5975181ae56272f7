"""How PEFT comes to know of this package: two entries of its exported mappings a type, replaced.

Its model of mixed methods knows no such mapping, and is replaced by one that refuses our configs.

PEFT swaps an adapter in place (hotswap) only for another whose config agrees in some fields; ours
are put beside them. Where nothing is compared, ``in_place`` does it.

PEFT finds the class of a config and of a tuner by the type that a saved adapter names. LoRA and
AdaLoRA with dropout keep these types, so that readers without this package load them; so the
entries of both types are replaced by classes that look at the fields. A config without our fields
gives what it gave before.
"""

import dataclasses
from typing import Any

import peft
import peft.mixed_model
import torch
from packaging.version import Version
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, LoraConfig, PeftType
from peft.tuners.lora import LoraModel as PlainLoraModel
from peft.tuners.lora.layer import Linear
from peft.utils.hotswap import CONFIG_KEYS_TO_CHECK

from lora_dropout.peft.adalora import AdaLoraModel
from lora_dropout.peft.attention import times_of_output
from lora_dropout.peft.config import (
    MEANING,
    AdaLoraDropoutConfig,
    DropoutFields,
    LoraDropoutConfig,
)
from lora_dropout.peft.in_place import ask_first, guard
from lora_dropout.peft.lora import LoraModel
from lora_dropout.peft.mixed import MixedModel, ask_of_plain_model

#: Before it, a layer that knows nothing of the dropout ignored it without a word.
LEAST_VERSION = "0.20"


#: Names of the fields that PEFT's configs have not.
OURS = {one.name for one in dataclasses.fields(DropoutFields)}


class _ByFields(type):
    """Makes a config of the class that its fields ask for."""

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        ours = cls.__mro__[1]
        plain = ours.__mro__[2]
        # PEFT's class would not know them, and PEFT would ask this one which of them it takes.
        return (plain if OURS.isdisjoint(fields) else ours)(*args, **fields)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.__mro__[3])


class SavedLoraConfig(LoraDropoutConfig, metaclass=_ByFields):
    """``LoraDropoutConfig`` or ``LoraConfig``, by whether fields are ours."""


class SavedAdaLoraConfig(AdaLoraDropoutConfig, metaclass=_ByFields):
    """``AdaLoraDropoutConfig`` or ``AdaLoraConfig``, by whether fields are ours."""


# PEFT shows these names where it reads fields that it does not know, also those of plain adapters.
SavedLoraConfig.__name__, SavedAdaLoraConfig.__name__ = "LoraConfig", "AdaLoraConfig"


def register() -> None:
    """Replace the entries.

    Raises:
        ImportError: this PEFT is too old, or does not refuse what it cannot do.
    """
    if Version(peft.__version__) < Version(LEAST_VERSION):
        raise ImportError(
            f"lora_dropout.peft needs peft >= {LEAST_VERSION}, not {peft.__version__}"
        )
    _check_that_plain_layers_refuse()
    checked = CONFIG_KEYS_TO_CHECK[PeftType.LORA]
    checked += [name for name in MEANING if name not in checked]
    PEFT_TYPE_TO_CONFIG_MAPPING[PeftType.LORA] = SavedLoraConfig
    PEFT_TYPE_TO_CONFIG_MAPPING[PeftType.ADALORA] = SavedAdaLoraConfig
    PEFT_TYPE_TO_TUNER_MAPPING[PeftType.LORA] = LoraModel
    PEFT_TYPE_TO_TUNER_MAPPING[PeftType.ADALORA] = AdaLoraModel
    peft.mixed_model.MixedModel = MixedModel
    ask_first(PlainLoraModel, "inject_adapter", ask_of_plain_model)
    guard()
    # Asked now, as layers may be made where nothing has data (low_cpu_mem_usage).
    times_of_output()


def _check_that_plain_layers_refuse() -> None:
    config: LoraConfig = LoraDropoutConfig(r=1, dropout_rate=0.5)
    try:
        # Seeded numbers of PyTorch's are left as they are by an import.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            Linear(torch.nn.Linear(1, 1), "default", config=config, r=1, lora_alpha=1)
    except ValueError:
        return
    raise ImportError(
        f"peft {peft.__version__} would silently ignore LoRA Dropout in layers that do not know "
        "it: please report this, and use an older peft"
    )

"""Models of PEFT in which no layer takes masks: refused."""

from typing import Any

from peft.tuners.mixed import MixedModel as PlainMixedModel

from lora_dropout.peft.config import DropoutFields
from lora_dropout.peft.tuner import DropoutTuner


class MixedModel(PlainMixedModel):
    """PEFT's model of adapters of several methods; adapters of this package are refused."""

    def _check_new_adapter_config(self, config: Any) -> None:
        if isinstance(config, DropoutFields) and config.drops:
            raise ValueError(
                "PeftMixedModel has no LoRA Dropout, in training or in eval(): use PeftModel, or "
                "merge the adapter into its model first (merge_and_unload)"
            )
        super()._check_new_adapter_config(config)


def ask_of_plain_model(given: dict[str, Any]) -> None:
    """Refuse an adapter of this package in PEFT's own model of LoRA, which X-LoRA makes.

    Args:
        given: arguments of the model's ``inject_adapter``, by name.

    Raises:
        ValueError: the adapter has dropout, and the model is none of this package.
    """
    config = given["self"].peft_config.get(given["adapter_name"])
    drops = isinstance(config, DropoutFields) and config.drops
    if drops and not isinstance(given["self"], DropoutTuner):
        raise ValueError(
            "X-LoRA, and peft.LoraModel where it is made directly, have no LoRA Dropout: use "
            "get_peft_model, or set dropout_rate=0; in X-LoRA, load the adapters where "
            "lora_dropout is not imported"
        )

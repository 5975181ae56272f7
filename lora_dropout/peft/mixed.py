"""Models with adapters of several methods of PEFT, in which no layer takes masks: refused."""

from typing import Any

from peft.tuners.mixed import MixedModel as PlainMixedModel

from lora_dropout.peft.config import DropoutFields


class MixedModel(PlainMixedModel):
    """PEFT's model of adapters of several methods; adapters of this package are refused."""

    def _check_new_adapter_config(self, config: Any) -> None:
        if isinstance(config, DropoutFields) and config.drops:
            raise ValueError(
                "PeftMixedModel has no LoRA Dropout, in training or in eval(): use PeftModel, or "
                "merge the adapter into its model first (merge_and_unload)"
            )
        super()._check_new_adapter_config(config)

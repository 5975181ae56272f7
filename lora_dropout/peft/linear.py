"""LoRA Dropout over linear layers in PEFT, with DoRA or without."""

from typing import Any

from peft.tuners.lora.layer import Linear as PlainLinear
from peft.tuners.lora.layer import LoraVariant
from torch import nn

from lora_dropout.peft.adapted_layer import is_conv1d
from lora_dropout.peft.config import DropoutFields
from lora_dropout.peft.dora import DoraDropoutVariant
from lora_dropout.peft.variant import VariantOfConfig


class MaybeDora(VariantOfConfig):
    """What a linear layer is mixed with: it has DoRA too."""

    def resolve_lora_variant(self, *, config: Any, **kwargs: Any) -> LoraVariant | None:
        """Choose the masked update, or DoRA's, for a config of this package.

        Args:
            config: of the adapter.
            **kwargs: passed on to PEFT's layer.

        Returns:
            The variant; None for plain LoRA.
        """
        dora: bool = getattr(config, "use_dora", False)
        if dora and isinstance(config, DropoutFields) and config.drops:
            return DoraDropoutVariant()
        return super().resolve_lora_variant(config=config, **kwargs)


class Linear(MaybeDora, PlainLinear):
    """PEFT's LoRA layer over ``nn.Linear``, or transformers' ``Conv1D``."""

    @classmethod
    def why_not(cls, base: nn.Module, config: Any) -> str | None:
        """Say why a layer is refused, as in :meth:`HoldsMasks.why_not`."""
        return None if is_conv1d(base) else super().why_not(base, config)

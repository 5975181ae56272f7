"""The masked update in the form in which PEFT's layers ask for it: a variant of LoRA."""

from typing import Any

from peft.tuners.lora.layer import LoraVariant
from torch import Tensor

from lora_dropout.peft.adapted_layer import HoldsMasks
from lora_dropout.peft.adapter_masks import PLACE, AdapterMasks
from lora_dropout.peft.config import DropoutFields
from lora_dropout.peft.factors import weight_of


class DropoutVariant(LoraVariant):
    """The masked update of a linear layer; merging is the same for layers of all kinds."""

    @staticmethod
    def init(module: Any, adapter_name: str, **kwargs: Any) -> None:
        """Do nothing: the masks are there already.

        Args:
            module: the layer.
            adapter_name: name of the adapter.
            **kwargs: ignored.
        """

    @staticmethod
    def forward(
        module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """Add the update by the same kernel as ``LoRADropoutLinear``.

        Args:
            module: the layer.
            active_adapter: name of the adapter.
            x: input of the layer, (..., d_in).
            result: output of the frozen layer, (..., d_out).
            **kwargs: ignored.

        Returns:
            The output with the update, (..., d_out).
        """
        # Asking a module for its parts by attribute takes longer, in every layer and pass.
        parts = module._modules
        masks: AdapterMasks = parts[PLACE][active_adapter]
        A = weight_of(parts["lora_A"][active_adapter])
        B = weight_of(parts["lora_B"][active_adapter])
        scaling = module.scaling[active_adapter]
        if isinstance(scaling, Tensor):
            # Prepared for swaps, so that no compiled pass depends on its value; nor does this one.
            B, scaling = scaling * B, 1.0
        return masks.add_update(result, x, A, B, scaling)

    @staticmethod
    def merge_safe(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """Add the update of the deterministic network to a copy of the weight.

        Args:
            module: the layer.
            active_adapter: name of the adapter.
            orig_weight: the frozen weight, (d_out, d_in), or as the layer holds it.

        Returns:
            The sum, of the weight's shape and precision.
        """
        return orig_weight + module.get_delta_weight(active_adapter).to(orig_weight.dtype)

    @staticmethod
    def merge_unsafe(module: Any, active_adapter: str, orig_weight: Tensor) -> None:
        """Add the update of the deterministic network to the weight, in place.

        Args:
            module: the layer.
            active_adapter: name of the adapter.
            orig_weight: the frozen weight, (d_out, d_in), or as the layer holds it.
        """
        orig_weight.data += module.get_delta_weight(active_adapter).to(orig_weight.dtype)

    @staticmethod
    def unmerge(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """Subtract the update of the deterministic network from the weight.

        Args:
            module: the layer.
            active_adapter: name of the adapter.
            orig_weight: the merged weight, (d_out, d_in), or as the layer holds it.

        Returns:
            The difference, of the weight's shape and precision.
        """
        return orig_weight - module.get_delta_weight(active_adapter).to(orig_weight.dtype)


class VariantOfConfig(HoldsMasks):
    """Chooses the variant; asking by name would make PEFT look for the field in every config.

    Attributes:
        masked: the variant with masks.
    """

    masked: type[LoraVariant] = DropoutVariant

    def resolve_lora_variant(self, *, config: Any, **kwargs: Any) -> LoraVariant | None:
        """Choose the masked update for a config of this package, PEFT's variant for another.

        Args:
            config: of the adapter.
            **kwargs: passed on to PEFT's layer.

        Returns:
            The variant; None for plain LoRA.
        """
        ours = isinstance(config, DropoutFields)
        if ours and config.drops:
            return self.masked()
        variant = super().resolve_lora_variant(config=config, **kwargs)
        # PEFT's own forward pass alone has these.
        peft_has = ours and (config.lora_bias or config.lora_dropout)
        return self.masked() if ours and variant is None and not peft_has else variant

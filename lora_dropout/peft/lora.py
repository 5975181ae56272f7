"""LoRA with dropout in PEFT: linear layers, bare parameters, quantized linear layers.

Classes have the names of PEFT's that they extend: PEFT knows some by their names, and shows them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from peft.import_utils import is_bnb_4bit_available, is_bnb_available
from peft.tuners.lora import LoraModel as PlainLoraModel
from peft.tuners.lora.layer import Linear as PlainLinear
from peft.tuners.lora.layer import LoraVariant
from peft.tuners.lora.layer import ParamWrapper as PlainParamWrapper
from torch import Tensor, nn

from lora_dropout.adaptable import is_plain_linear
from lora_dropout.functional import GroupsNotSupportedError, mask_factors
from lora_dropout.peft.adapters import (
    AdapterMasks,
    DropoutTuner,
    HoldsMasks,
    base_layer,
    is_conv1d,
    refuse,
)
from lora_dropout.peft.config import DropoutFields


class DropoutVariant(LoraVariant):
    """The masked update, as PEFT's layers ask a variant of LoRA for it."""

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
        masks = module.lora_masks[active_adapter]
        A, B = module.lora_A[active_adapter].weight, module.lora_B[active_adapter].weight
        return masks.add_update(result, x, A, B, module.scaling[active_adapter])

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
    """Chooses the variant; asking by name would make PEFT look for the field in every config."""

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
            return DropoutVariant()
        variant = super().resolve_lora_variant(config=config, **kwargs)
        return DropoutVariant() if ours and variant is None and not config.lora_bias else variant


class Linear(VariantOfConfig, PlainLinear):
    """PEFT's LoRA layer over ``nn.Linear``, or transformers' ``Conv1D``."""


class ExpertMasks(AdapterMasks):
    """Masks over the rows and columns of all experts' matrices, one after the other."""

    def mask(self, A: Tensor, B: Tensor, scaling: float) -> tuple[Tensor, Tensor, float]:
        """Apply the masks, or their expected weight, as a forward pass does now.

        Args:
            A, B: the factors, (experts, r, d_in) and (experts, d_out, r).
            scaling: alpha / r.

        Returns:
            The factors, of their shapes, and their scaling.

        Raises:
            GroupsNotSupportedError: the layer holds masks for several groups of the batch.
        """
        if not self._masked:
            return super().mask(A, B, scaling)
        self.used = True
        if self.mask_in.dim() > 1:
            raise GroupsNotSupportedError(
                "a bare parameter has one value for the whole batch, and takes no groups"
            )
        masks = (
            mask.to(A.dtype).unflatten(0, (len(A), -1)) for mask in (self.mask_in, self.mask_out)
        )
        return *mask_factors(A, B, *masks), scaling


class ParamWrapper(HoldsMasks, PlainParamWrapper):
    """PEFT's LoRA on a bare parameter: each expert's matrix has rows and columns of its own.

    As the masks act on the weights, they need no input to factor out, unlike PEFT's own dropout.
    """

    kind_of_masks = ExpertMasks
    #: Whether a forward pass asks for the update, and not a merge, which never draws masks.
    _in_forward = False

    def resolve_lora_variant(self, *, config: Any, **kwargs: Any) -> LoraVariant | None:
        """Choose no variant: a bare parameter has no forward pass that one could take over.

        Args:
            config: of the adapter.
            **kwargs: passed on to PEFT's layer.

        Returns:
            None for a config of this package, PEFT's choice for another.
        """
        if isinstance(config, DropoutFields):
            return None
        return super().resolve_lora_variant(config=config, **kwargs)

    def sides(self) -> tuple[int, int]:
        """d_in and d_out of all experts together."""
        return self.num_experts * self.in_features, self.num_experts * self.out_features

    def low_rank_of(self, adapter: str) -> tuple[Tensor, Tensor, float]:
        """A (experts, r, d_in), B (experts, d_out, r) and alpha / r, as PEFT lays them out."""
        A, B = self.factors_of(adapter)
        A = A.unflatten(0, (self.num_experts, -1))
        return A, B.unflatten(1, (-1, self.num_experts)).permute(2, 0, 1), self.scaling[adapter]

    def get_delta_weight(self, adapter_name: str, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the update, with masks where they are drawn.

        Args:
            adapter_name: name of the adapter.
            *args, **kwargs: passed on to PEFT's layer.

        Returns:
            The update, of the shape of the parameter.
        """
        masks = self.masks_of(adapter_name)
        if masks is None or not (masks.draws_masks and self._in_forward):
            return super().get_delta_weight(adapter_name, *args, **kwargs)
        lhs, rhs, scaling = self.get_delta_factors(adapter_name)
        delta = scaling * lhs @ rhs
        return delta if self.num_experts > 1 else delta.squeeze(0)

    @contextmanager
    def _activate_lora(self, active_adapters: list[str]) -> Iterator[None]:
        self._in_forward = True
        try:
            with super()._activate_lora(active_adapters):
                yield
        finally:
            self._in_forward = False

    def get_delta_factors(self, adapter_name: str) -> tuple[Tensor, Tensor, float]:
        """Return the outer factors of the update, with masks where they are drawn."""
        masks = self.masks_of(adapter_name)
        if masks is None:
            return super().get_delta_factors(adapter_name)
        A, B, scaling = masks.mask(*self.low_rank_of(adapter_name))
        # Experts' weights are (d_in, d_out) unless PEFT saw them the other way round.
        swapped = self._did_swap_in_out_features or self.num_experts == 1
        lhs, rhs = (B, A) if swapped else (A.mT, B.mT)
        dtype = self.get_param().dtype
        return lhs.to(dtype), rhs.to(dtype), scaling


@cache
def quantized_layers() -> dict[type, type]:
    """Layers over 8-bit and 4-bit weights by their base layer, where bitsandbytes is installed."""
    layers: dict[type, type] = {}
    if is_bnb_available():
        import bitsandbytes
        from peft.tuners.lora.bnb import Linear8bitLt

        layers[bitsandbytes.nn.Linear8bitLt] = _mixed(Linear8bitLt)
    if is_bnb_4bit_available():
        import bitsandbytes
        from peft.tuners.lora.bnb import Linear4bit

        layers[bitsandbytes.nn.Linear4bit] = _mixed(Linear4bit)
    return layers


def _mixed(kind: type) -> type:
    return type(kind.__name__, (VariantOfConfig, kind), {})


class LoraModel(DropoutTuner, PlainLoraModel):
    """PEFT's model of LoRA adapters; with a config of another kind it is that and nothing else."""

    @staticmethod
    def _create_new_module(
        lora_config: Any, adapter_name: str, target: Any, **kwargs: Any
    ) -> nn.Module:
        if isinstance(lora_config, DropoutFields):
            kind = _kind_of_layer(target, kwargs)
            if kind is not None:
                given = {key: value for key, value in kwargs.items() if value is not None}
                if is_conv1d(target):
                    given["is_target_conv_1d_layer"] = True
                    vars(lora_config)["fan_in_fan_out"] = True
                return kind(target, adapter_name, config=lora_config, **given)
            if lora_config.drops:
                refuse(target, kwargs.get("target_name", ""))
        return PlainLoraModel._create_new_module(lora_config, adapter_name, target, **kwargs)

    def _create_and_replace(
        self, lora_config: Any, adapter_name: str, target: Any, *args: Any, **kwargs: Any
    ) -> None:
        # A layer that PEFT made for an adapter without dropout takes masks too.
        mixed = {kind.__bases__[1]: kind for kind in _layers()}
        if isinstance(lora_config, DropoutFields) and type(target) in mixed:
            target.__class__ = mixed[type(target)]
        super()._create_and_replace(lora_config, adapter_name, target, *args, **kwargs)

    def add_weighted_adapter(self, adapters: list[str], *args: Any, **kwargs: Any) -> None:
        """Combine adapters, if all of them mean the same by their factors.

        Args:
            adapters: names of the adapters.
            *args, **kwargs: passed on to PEFT's model: weights, the new adapter's name, and
                ``combination_type``.

        Raises:
            ValueError: with dropout, for a combination by SVD or of adapters of different rates, or
                of rates by layer.
        """
        configs = [self.peft_config[name] for name in adapters if name in self.peft_config]
        factors = {getattr(config, "saved_factor", 1.0) for config in configs}
        if any(getattr(config, "dropout_pattern", None) for config in configs):
            raise ValueError("adapters with a dropout_pattern are not combined")
        kind = kwargs.get("combination_type") or (args[2] if len(args) > 2 else "svd")
        if factors != {1.0} and (len(factors) > 1 or kind.endswith("svd")):
            raise ValueError(
                "adapters with LoRA Dropout are combined only at equal rates, and not by "
                f"{kind!r}, which would apply (1-p)^2 twice: use 'linear' or 'cat'"
            )
        super().add_weighted_adapter(adapters, *args, **kwargs)


def _layers() -> tuple[type, ...]:
    return Linear, ParamWrapper, *quantized_layers().values()


def _kind_of_layer(target: Any, kwargs: dict[str, Any]) -> type | None:
    """The class of the layer that takes masks over this one, None if there is no such class."""
    if kwargs.get("parameter_name") is not None:
        return ParamWrapper
    if is_conv1d(target):
        return Linear
    base = base_layer(target)
    return Linear if is_plain_linear(base) else quantized_layers().get(type(base))

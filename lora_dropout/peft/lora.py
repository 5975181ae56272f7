"""LoRA with dropout in PEFT: which layer is adapted how, and bare and quantized parameters.

Classes have the names of PEFT's that they extend: PEFT knows some by their names, and shows them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from peft.import_utils import is_bnb_4bit_available, is_bnb_available
from peft.tuners.lora import LoraModel as PlainLoraModel
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from peft.tuners.lora.layer import ParamWrapper as PlainParamWrapper
from torch import Tensor, nn

from lora_dropout.adaptable import why_refused
from lora_dropout.functional import GroupsNotSupportedError, computed_in, mask_factors
from lora_dropout.peft.adapted_layer import HoldsMasks, base_layer, is_conv1d
from lora_dropout.peft.adapter_masks import AdapterMasks
from lora_dropout.peft.attention import MultiheadAttention
from lora_dropout.peft.config import DropoutFields
from lora_dropout.peft.convolution import Conv1d, Conv2d
from lora_dropout.peft.embedding import Embedding
from lora_dropout.peft.linear import Linear, MaybeDora
from lora_dropout.peft.tuner import DropoutTuner, refuse

#: Named where a layer is refused.
SUPPORTED = (
    "linear layers, transformers' Conv1D, nn.Conv1d, nn.Conv2d, nn.Embedding, "
    "nn.MultiheadAttention, and parameters by target_parameters"
)


class ExpertMasks(AdapterMasks):
    """Masks over the rows and columns of all experts' matrices, one after the other."""

    #: A bare parameter has one value for the whole batch.
    takes_groups = False

    def masked_now(self, A: Tensor, B: Tensor, scaling: float) -> tuple[Tensor, Tensor, float]:
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
            return super().masked_now(A, B, scaling)
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

    @classmethod
    def why_not(cls, base: nn.Module, config: Any) -> str | None:
        """Refuse DoRA, which PEFT has not for bare parameters, as in :meth:`HoldsMasks.why_not`."""
        return "holds bare parameters, which have no use_dora" if config.use_dora else None

    parameter_name: str
    #: Whether a forward pass asks for the update, and not a merge, which never draws masks.
    _in_forward = False

    @property
    def name_of_weight(self) -> str:
        """What the adapted layer calls its frozen weight."""
        return self.parameter_name

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

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run the layer with the update added to its parameter.

        Args:
            x: input of the layer.
            *args, **kwargs: passed on to it.

        Returns:
            What the layer returns.

        Raises:
            ValueError: the parameter is offloaded; PyTorch would multiply by it all the same.
        """
        if self.get_param().is_meta and isinstance(x, Tensor) and not x.is_meta:
            raise ValueError(
                f"{self.parameter_name} is offloaded, and fetched only after PEFT has added the "
                "update to it: keep layers of target_parameters in memory"
            )
        return super().forward(x, *args, **kwargs)

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
        masks = self.masks_of(adapter_name) if self._in_forward else None
        if masks is not None:
            masks.used = True
        if masks is None or not masks.draws_masks:
            return super().get_delta_weight(adapter_name, *args, **kwargs)
        lhs, rhs, scaling = self.get_delta_factors(adapter_name)
        # Autocast computes a product in a precision of its own.
        delta = (scaling * lhs @ rhs).to(lhs.dtype)
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
        dtype = computed_in(self.get_param().dtype, A.dtype)
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
    class Quantized(MaybeDora, kind):
        @classmethod
        def why_not(cls, base: nn.Module, config: Any) -> str | None:
            return None

    Quantized.__name__ = Quantized.__qualname__ = kind.__name__
    return Quantized


class LoraModel(DropoutTuner, PlainLoraModel):
    """PEFT's model of LoRA adapters; with a config of another kind it is that and nothing else."""

    def _inject_parameters(self, *, peft_config: Any, model: nn.Module, **kwargs: Any) -> list[str]:
        if isinstance(peft_config, DropoutFields):
            # PEFT walks through the model as it adapts it: its layers may get no new part by then.
            for layer in [one for one in model.modules() if isinstance(one, PlainParamWrapper)]:
                layer.__class__ = ParamWrapper
                layer.make_place()
        found: list[str] = super()._inject_parameters(
            peft_config=peft_config, model=model, **kwargs
        )
        return found

    @staticmethod
    def _create_new_module(
        lora_config: Any, adapter_name: str, target: Any, **kwargs: Any
    ) -> nn.Module:
        if not isinstance(lora_config, DropoutFields):
            return PlainLoraModel._create_new_module(lora_config, adapter_name, target, **kwargs)
        kind = _layer_over(target, kwargs.get("parameter_name"))
        reason = _why_refused(kind, target, lora_config)
        if kind is None or reason is not None:
            if lora_config.drops:
                refuse(target, kwargs.get("target_name", ""), reason or "", SUPPORTED)
            return PlainLoraModel._create_new_module(lora_config, adapter_name, target, **kwargs)
        given = {key: value for key, value in kwargs.items() if value is not None}
        if kind in (Linear, MultiheadAttention):
            # One config may name layers of both kinds, of which it says one thing.
            vars(lora_config)["fan_in_fan_out"] = is_conv1d(target)
            given["is_target_conv_1d_layer"] = is_conv1d(target)
        return kind(target, adapter_name, config=lora_config, **given)

    def _create_and_replace(
        self, lora_config: Any, adapter_name: str, target: Any, *args: Any, **kwargs: Any
    ) -> None:
        ours, key = isinstance(lora_config, DropoutFields), kwargs["current_key"]
        # A layer that PEFT made for an adapter without dropout takes masks too.
        if ours and isinstance(target, LoraLayer):
            kind = _layer_over(target, kwargs.get("parameter_name"))
            reason = _why_refused(kind, target, lora_config.of_layer(key))
            if reason is not None and lora_config.of_layer(key).drops:
                refuse(target, key, reason, SUPPORTED)
            if kind is not None and reason is None and kind.__bases__[1] is type(target):
                target.__class__ = kind
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
        if len(factors) > 1:
            raise ValueError(
                "adapters with LoRA Dropout are combined only at equal rates: those of "
                f"{', '.join(map(repr, adapters))} differ"
            )
        # One adapter alone is combined linearly, whatever is asked for.
        if factors != {1.0} and kind.endswith("svd") and len(adapters) > 1:
            raise ValueError(
                f"adapters with LoRA Dropout are not combined by {kind!r}, which would apply "
                "(1-p)^2 twice: use 'linear' or 'cat'"
            )
        super().add_weighted_adapter(adapters, *args, **kwargs)


def _layer_over(target: Any, parameter: str | None) -> Any:
    """The class of the layer that takes masks over this one, None if there is no such class."""
    if parameter is not None:
        return ParamWrapper
    base = base_layer(target)
    quantized = quantized_layers().get(type(base))
    if quantized is not None or is_conv1d(base):
        return quantized or Linear
    kinds = (Linear, Conv1d, Conv2d, Embedding, MultiheadAttention)
    return next((kind for kind in kinds if isinstance(base, kind.over)), None)


def _why_refused(kind: Any, target: Any, config: DropoutFields) -> str | None:
    """The reason why a layer is refused, None if it is not."""
    base = base_layer(target)
    if isinstance(base, tuple(getattr(config, "_custom_modules", None) or ())):
        return "the config registers a class of its own for (_register_custom_module)"
    if kind is not None:
        return kind.why_not(base, config)
    return why_refused(base)

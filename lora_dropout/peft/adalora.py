"""AdaLoRA with dropout in PEFT: masks on Q's input columns and P's output rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch
from peft import AdaLoraConfig
from peft.import_utils import is_bnb_4bit_available, is_bnb_available
from peft.tuners.adalora import AdaLoraModel as PlainAdaLoraModel
from peft.tuners.adalora.layer import SVDLinear as PlainSVDLinear
from peft.utils.warning import PeftWarning
from torch import Tensor, nn

from lora_dropout.peft.adapted_layer import HoldsMasks, base_layer, is_conv1d
from lora_dropout.peft.adapter_masks import UnaskedMasks
from lora_dropout.peft.config import DropoutFields
from lora_dropout.peft.factors import entry_of
from lora_dropout.peft.tuner import DropoutTuner, refuse

#: What PEFT adds to the number of ranks before it divides by it.
EPSILON = 1e-5


#: Named where a layer is refused.
SUPPORTED = "linear layers, transformers' Conv1D, and those of bitsandbytes"


class MasksOfSVD(HoldsMasks):
    """What PEFT's AdaLoRA layers are mixed with."""

    def factors_of(self, adapter: str) -> tuple[Tensor, ...]:
        """Q (r, d_in), P (d_out, r) and the diagonal of Lambda (r, 1)."""
        A, B, values = (entry_of(one, adapter) for one in (self.lora_A, self.lora_B, self.lora_E))
        return A, B, values

    def low_rank_of(self, adapter: str) -> tuple[Tensor, Tensor, float]:
        """A = Lambda Q, with what PEFT scales the update by inside; B = P."""
        A, B, values = self.factors_of(adapter)
        # The number of ranks is a tensor: kept one, so that no device waits for it.
        scaled = values * (self.scaling[adapter] / (entry_of(self.ranknum, adapter) + EPSILON))
        return A * scaled, B, 1.0

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As PEFT's forward pass, with masks.

        Args:
            x: input of the layer, (..., d_in).
            *args, **kwargs: passed on to the frozen layer.

        Returns:
            The output, (..., d_out).

        Raises:
            ValueError: adapters with and without LoRA Dropout are active together.
        """
        active = [name for name in self.active_adapters if name in self.lora_A]
        held = {name: self.masks_of(name) for name in active}
        masked = {
            name: one
            for name, one in held.items()
            if one is not None and not isinstance(one, UnaskedMasks)
        }
        if self.disable_adapters or self.merged or not masked:
            return super().forward(x, *args, **kwargs)
        if len(masked) < len(active):
            raise ValueError("adapters with and without LoRA Dropout cannot be active together")
        result = self.base_layer(x, *args, **kwargs)
        for name, masks in masked.items():
            x = self._cast_input_dtype(x, self.lora_A[name].dtype)
            result = masks.add_update(result, x, *self.low_rank_of(name)).to(result.dtype)
        return result


class SVDLinear(MasksOfSVD, PlainSVDLinear):
    """PEFT's AdaLoRA layer over ``nn.Linear``, or transformers' ``Conv1D``."""

    @classmethod
    def why_not(cls, base: nn.Module, config: Any) -> str | None:
        """Say why a layer is refused, as in :meth:`HoldsMasks.why_not`."""
        return None if is_conv1d(base) else super().why_not(base, config)


@cache
def quantized_layers() -> dict[type, type]:
    """Layers over 8-bit and 4-bit weights by their base layer, where bitsandbytes is installed.

    They have PEFT's names, and as PEFT's they are not merged.
    """
    layers: dict[type, type] = {}
    if is_bnb_available():
        import bitsandbytes
        from peft.tuners.adalora.bnb import SVDLinear8bitLt

        layers[bitsandbytes.nn.Linear8bitLt] = _mixed(SVDLinear8bitLt)
    if is_bnb_4bit_available():
        import bitsandbytes
        from peft.tuners.adalora.bnb import SVDLinear4bit

        layers[bitsandbytes.nn.Linear4bit] = _mixed(SVDLinear4bit)
    return layers


def _mixed(kind: type) -> type:
    return type(kind.__name__, (MasksOfSVD, kind), {})


class AdaLoraModel(DropoutTuner, PlainAdaLoraModel):
    """PEFT's AdaLoRA model; with a config of another kind it is that and nothing else."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model, and add the regularizer to its loss where an adapter is trained.

        Args:
            *args, **kwargs: passed on to the model.

        Returns:
            What the model returns.
        """
        if not hasattr(self, "trainable_adapter_name"):
            # PEFT asks for that of an adapter that was loaded for use too.
            return self.model.forward(*args, **kwargs)
        return super().forward(*args, **kwargs)

    def inject_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Put an adapter into the layers.

        Args:
            *args, **kwargs: passed on to PEFT's tuner.
        """
        with catch_warnings():
            # They name parameters, and are read where the factors are loaded.
            filterwarnings("ignore", r"The following rank_pattern keys .*lora_E", RuntimeWarning)
            super().inject_adapter(*args, **kwargs)

    @classmethod
    def _get_adapter_state_dict(cls, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        state = super()._get_adapter_state_dict(*args, **kwargs)
        _expect_layers_without_rank(state)
        return state

    @staticmethod
    def _create_new_module(
        lora_config: Any, adapter_name: str, target: Any, **kwargs: Any
    ) -> nn.Module:
        if isinstance(lora_config, DropoutFields):
            kind, reason = _layer_over(target, lora_config)
            if reason is None:
                vars(lora_config)["fan_in_fan_out"] = is_conv1d(target)
                return kind(target, adapter_name, config=lora_config, **kwargs)
        return PlainAdaLoraModel._create_new_module(lora_config, adapter_name, target, **kwargs)

    def _create_and_replace(
        self, lora_config: Any, adapter_name: str, target: Any, *args: Any, **kwargs: Any
    ) -> None:
        if isinstance(lora_config, DropoutFields):
            key = kwargs["current_key"]
            kind, reason = _layer_over(target, lora_config)
            if reason is not None and lora_config.of_layer(key).drops:
                refuse(target, key, reason, SUPPORTED)
            # A layer that PEFT made for an adapter without dropout takes masks too.
            if reason is None and kind.__bases__[1] is type(target):
                target.__class__ = kind
        super()._create_and_replace(lora_config, adapter_name, target, *args, **kwargs)


def _layer_over(target: nn.Module, config: Any) -> tuple[Any, str | None]:
    """The class of the layer that takes masks over this one, and the reason why it is refused."""
    base = base_layer(target)
    kind = quantized_layers().get(type(base))
    if kind is not None:
        return kind, None
    return SVDLinear, SVDLinear.why_not(base, config)


def _expect_layers_without_rank(state: dict[str, Tensor]) -> None:
    """Keep PEFT from saying that layers to which the allocator left no rank are saved by mistake.

    It takes them for shards of a model that was not gathered. Those have other shapes, and where
    there are any, PEFT counts more tensors than are expected here, and says so.
    """
    shapes = [tuple(one.shape) for name, one in state.items() if ".lora_A" in name]
    shapes += [tuple(one.shape[::-1]) for name, one in state.items() if ".lora_B" in name]
    count = sum(len(shape) == 2 and shape[0] == 0 and shape[1] > 0 for shape in shapes)
    if count:
        said = rf"Adapter .*: {count} LoRA tensor\(s\) have invalid shape"
        filterwarnings("ignore", said, PeftWarning)


def regularizer(model: Any) -> Tensor:
    """Compute what PEFT adds to the loss that a model with AdaLoRA returns, weight included.

    Args:
        model: of PEFT, with adapters of AdaLoRA in training.

    Returns:
        The regularizer, a scalar.
    """
    tuner = model.base_model
    zero = torch.zeros((), device=next(tuner.parameters()).device)
    # PEFT's formula stands in its forward pass: it is given a model whose loss is 0.
    lossless = SimpleNamespace(
        forward=lambda: SimpleNamespace(loss=zero), named_parameters=tuner.model.named_parameters
    )
    alone = SimpleNamespace(
        model=lossless,
        peft_config=tuner.peft_config,
        trainable_adapter_name=tuner.trainable_adapter_name,
    )
    return PlainAdaLoraModel.forward(alone).loss


@contextmanager
def regularizer_share(model: Any, share: float) -> Iterator[None]:
    """Within the block, the regularizer that PEFT adds to AdaLoRA's loss counts a part of itself.

    It does not depend on the examples: where a step adds up the losses of several parts of a batch,
    it would count once for each of them.

    Args:
        model: of PEFT, with any adapter.
        share: factor of the regularizer, positive.
    """
    configs = [
        one
        for one in getattr(model, "peft_config", {}).values()
        if share != 1 and isinstance(one, AdaLoraConfig)
    ]
    before = [one.orth_reg_weight for one in configs]
    try:
        for one, weight in zip(configs, before, strict=True):
            one.orth_reg_weight = weight * share
        yield
    finally:
        for one, weight in zip(configs, before, strict=True):
            one.orth_reg_weight = weight

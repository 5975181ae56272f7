"""AdaLoRA with dropout in PEFT: masks on Q's input columns and P's output rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import AdaLoraConfig
from peft.tuners.adalora import AdaLoraModel as PlainAdaLoraModel
from peft.tuners.adalora.layer import SVDLinear as PlainSVDLinear
from torch import Tensor, nn

from lora_dropout.adaptable import is_plain_linear
from lora_dropout.peft.adapters import DropoutTuner, HoldsMasks, is_conv1d, refuse
from lora_dropout.peft.config import DropoutFields

#: What PEFT adds to the number of ranks before it divides by it.
EPSILON = 1e-5


class SVDLinear(HoldsMasks, PlainSVDLinear):
    """PEFT's AdaLoRA layer over ``nn.Linear``, or transformers' ``Conv1D``."""

    def factors_of(self, adapter: str) -> tuple[Tensor, ...]:
        """Q (r, d_in), P (d_out, r) and the diagonal of Lambda (r, 1)."""
        return self.lora_A[adapter], self.lora_B[adapter], self.lora_E[adapter]

    def low_rank_of(self, adapter: str) -> tuple[Tensor, Tensor, float]:
        """A = Lambda Q, with what PEFT scales the update by inside; B = P."""
        A, B, values = self.factors_of(adapter)
        # The number of ranks is a tensor: kept one, so that no device waits for it.
        scaled = values * (self.scaling[adapter] / (self.ranknum[adapter] + EPSILON))
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
        masked = [name for name in active if self.masks_of(name) is not None]
        if self.disable_adapters or self.merged or not masked:
            return super().forward(x, *args, **kwargs)
        result = self.base_layer(x, *args, **kwargs)
        for name in active:
            x = self._cast_input_dtype(x, self.lora_A[name].dtype)
            masks = self.masks_of(name)
            if masks is None:
                raise ValueError("adapters with and without LoRA Dropout cannot be active together")
            result = masks.add_update(result, x, *self.low_rank_of(name)).to(result.dtype)
        return result


class AdaLoraModel(DropoutTuner, PlainAdaLoraModel):
    """PEFT's AdaLoRA model; with a config of another kind it is that and nothing else."""

    @staticmethod
    def _create_new_module(
        lora_config: Any, adapter_name: str, target: Any, **kwargs: Any
    ) -> nn.Module:
        if isinstance(lora_config, DropoutFields):
            if is_conv1d(target):
                vars(lora_config)["fan_in_fan_out"] = True
            if is_conv1d(target) or is_plain_linear(target):
                return SVDLinear(target, adapter_name, config=lora_config, **kwargs)
            if lora_config.drops:
                refuse(target)
        return PlainAdaLoraModel._create_new_module(lora_config, adapter_name, target, **kwargs)

    def _create_and_replace(
        self, lora_config: Any, adapter_name: str, target: Any, *args: Any, **kwargs: Any
    ) -> None:
        if isinstance(lora_config, DropoutFields) and type(target) is PlainSVDLinear:
            target.__class__ = SVDLinear
        super()._create_and_replace(lora_config, adapter_name, target, *args, **kwargs)


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

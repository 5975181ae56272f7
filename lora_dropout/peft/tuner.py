"""The models of PEFT that put adapters with masks into layers: one mask schedule an adapter."""

import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from lora_dropout.adaptable import held_twice, listed, refuse_wrapped
from lora_dropout.layer import LoRADropoutLinear
from lora_dropout.peft.adapted_layer import HoldsMasks, base_layer
from lora_dropout.peft.adapter_masks import AdapterMasks
from lora_dropout.peft.config import MEANING, DropoutFields
from lora_dropout.peft.refused import as_it_was_if_refused
from lora_dropout.schedule import MaskSchedule


class DropoutTuner:
    """What PEFT's models are mixed with: one mask schedule an adapter."""

    peft_config: dict[str, Any]
    prefix: str
    _held_twice: dict[nn.Module, list[str]]
    #: Names of layers that were adapted.
    _adapted: set[str]

    def inject_adapter(
        self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any
    ) -> None:
        """Put an adapter into the layers, and number their masks in the model's order.

        Args:
            model: the model whose layers are adapted.
            adapter_name: name of the adapter, whose config is in ``peft_config``.
            *args, **kwargs: passed on to PEFT's tuner.

        Raises:
            ValueError: the model is in DistributedDataParallel or FullyShardedDataParallel
                already, or has layers of ``inject``; the rate is above 0, and no layer would drop
                anything; a layer is held by several attributes of the model, of which PEFT would
                adapt one; layers that have masks would be replicated. The model is then as it was.
        """
        ours = isinstance(self.peft_config[adapter_name], DropoutFields)
        with as_it_was_if_refused(model, adapter_name, self.prefix) if ours else nullcontext():
            self._inject(model, adapter_name, *args, **kwargs)

    def _inject(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        self._held_twice, self._adapted = held_twice(model), set()
        self._refuse_model(model, self.peft_config[adapter_name])
        super().inject_adapter(model, adapter_name, *args, **kwargs)  # type: ignore[misc]
        config = self.peft_config[adapter_name]
        if isinstance(config, DropoutFields):
            # PEFT puts old names of experts together, and scales them by a pattern.
            config.check_patterns()
            self._number_masks(model, adapter_name, config)

    def _refuse_model(self, model: nn.Module, given: Any) -> None:
        """Raise ``ValueError`` where an adapter would be wrong in a model, or beside its others."""
        _refuse_arrow(self.peft_config.values())
        _refuse_within_an_ensemble(model)
        if getattr(given, "layer_replication", None):
            _refuse_masks_to_be_copied(model)
        if isinstance(given, DropoutFields):
            refuse_wrapped(model)
            _refuse_layers_of_inject(model)
        if isinstance(given, DropoutFields) and given.drops:
            _refuse_callers()
            vars(given)["_in_diffusers"] = type(model).__module__.partition(".")[0] == "diffusers"

    def _number_masks(self, model: nn.Module, adapter_name: str, config: DropoutFields) -> None:
        """Give the masks of a new adapter, if any, a schedule that watches the model's passes."""
        held = [
            one.masks_of(adapter_name) for one in model.modules() if isinstance(one, HoldsMasks)
        ]
        masks = [one for one in held if one is not None]
        if config.drops:
            _find_shared_weights(model, masks)
        if config.drops and not any(max(one.shape.p_in, one.shape.p_out) for one in masks):
            raise ValueError("a rate of dropout is above 0, and no layer would drop anything")
        unused = config.unused_patterns(self._adapted)
        if unused:
            warnings.warn(
                f"dropout_pattern names {listed(map(repr, unused))}, which is no adapted layer",
                stacklevel=2,
            )
        if not masks:
            return
        schedule = MaskSchedule(config.mask_seed)
        for one in masks:
            # Those of an adapter that was there would go on being written by their own.
            one.masks.leave(one)
            schedule.join(one)
            one.meaning = one.meaning or config.meaning
        # A PeftModel calls this tuner; a model that carries its adapters itself is called directly.
        for root in (self, model):
            schedule.attach(root)  # type: ignore[arg-type]
        schedule.seek(0)

    def _create_and_replace(
        self, lora_config: Any, adapter_name: str, target: Any, *args: Any, **kwargs: Any
    ) -> None:
        given = lora_config
        self._adapted.add(kwargs["current_key"])
        if isinstance(given, DropoutFields):
            lora_config = given.of_layer(kwargs["current_key"])
        if isinstance(target, HoldsMasks) and kwargs.get("parameter_name") is None:
            target.forget_masks(adapter_name)
        names = self._held_twice.get(target, [])
        if names and isinstance(lora_config, DropoutFields) and lora_config.drops:
            raise ValueError(
                f"the same layer is held as {listed(names)}, and PEFT adapts it under one name "
                "alone: take it out of target_modules, or use inject(), which adapts all"
            )
        super()._create_and_replace(  # type: ignore[misc]
            lora_config, adapter_name, target, *args, **kwargs
        )
        if lora_config is not given:
            # What PEFT finds out about a layer's weights belongs to the config.
            vars(given)["fan_in_fan_out"] = lora_config.fan_in_fan_out

    @classmethod
    def _get_adapter_state_dict(
        cls, model: nn.Module, config: Any, adapter_name: str, *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        if isinstance(config, DropoutFields):
            _check_that_the_config_holds(model, config, adapter_name)
        return super()._get_adapter_state_dict(  # type: ignore[misc]
            model, config, adapter_name, *args, **kwargs
        )

    def merge_adapter(
        self, adapter_names: list[str] | None = None, safe_merge: bool = False
    ) -> None:
        """Merge adapters into all layers, or, where one of them would lose its update, into none.

        Args:
            adapter_names: of the adapters; those in use if left out.
            safe_merge: whether what is not finite is refused.

        Raises:
            ValueError: as :meth:`HoldsMasks.check_mergeable`.
        """
        _check_mergeable(self, adapter_names)
        super().merge_adapter(adapter_names, safe_merge)  # type: ignore[misc]

    def _unload_and_optionally_merge(
        self, merge: bool = True, progressbar: bool = False, safe_merge: bool = False,
        adapter_names: list[str] | None = None,
    ) -> nn.Module:  # fmt: skip
        if merge:
            _check_mergeable(self, adapter_names)
        masks = [m for m in self.modules() if isinstance(m, AdapterMasks)]  # type: ignore[attr-defined]
        model = super()._unload_and_optionally_merge(  # type: ignore[misc]
            merge, progressbar, safe_merge, adapter_names
        )
        for one in masks:
            one.masks.leave(one, self, model)  # type: ignore[arg-type]
        return model


def _check_mergeable(tuner: Any, adapter_names: list[str] | None) -> None:
    for one in tuner.modules():
        if isinstance(one, HoldsMasks):
            one.check_mergeable(adapter_names)


def _check_that_the_config_holds(model: nn.Module, config: DropoutFields, adapter: str) -> None:
    """Raise ``ValueError`` where the config to be saved is not that of the model's masks."""
    held = [one for one in model.modules() if isinstance(one, AdapterMasks)]
    for one in (one for one in held if one.adapter == adapter):
        for name, made, now in zip(MEANING, one.meaning, config.meaning, strict=True):
            if made != now:
                raise ValueError(
                    f"{name} of adapter {adapter!r} is {now!r} in its config, and its masks were "
                    f"made with {made!r}: make a new adapter to change it"
                )
        if (one.shape, one.rescale) != one.made:
            raise ValueError(
                f"masks of adapter {adapter!r} were made with {one.made[0]} and "
                f"rescale={one.made[1]}, as its config says, and have {one.shape} and "
                f"rescale={one.rescale}: set them back before it is saved"
            )
        if (one.inference == "no masks") != (config.inference == "no masks"):
            raise ValueError(
                f"adapter {adapter!r} would be saved for inference={config.inference!r}, and its "
                f"layers have {one.inference!r}: set theirs back first"
            )


def _refuse_arrow(configs: Iterable[Any]) -> None:
    """Refuse PEFT's Arrow, which computes the updates of other adapters by a formula of its own."""
    every = list(configs)
    routed = any(getattr(config, "arrow_config", None) for config in every)
    if routed and any(isinstance(one, DropoutFields) and one.drops for one in every):
        raise ValueError(
            "PEFT's Arrow reads the factors of adapters with LoRA Dropout without their masks or "
            "(1-p)^2: route adapters that are loaded where lora_dropout is not imported"
        )


def _find_shared_weights(model: nn.Module, masks: list[AdapterMasks]) -> None:
    """Take note of the adapted layers whose frozen weight other layers hold too."""
    held = Counter(id(one) for part in model.modules() for one in part._parameters.values())
    for layer in (one.layer for one in masks):
        weight = layer.get_base_layer()._parameters.get(layer.name_of_weight)
        # Quantized ones have a type of their own, and are replaced where they are merged.
        layer.shares_weight = type(weight) is nn.Parameter and held[id(weight)] > 1


def _refuse_within_an_ensemble(model: nn.Module) -> None:
    """Refuse an adapter that comes too late to be what the other adapters are now."""
    if any(isinstance(one, AdapterMasks) and one.masks.lock.held for one in model.modules()):
        raise ValueError(
            "an adapter was added within ensemble_generation or inference_mode, whose mode it "
            "would not have: add it before"
        )


def _refuse_masks_to_be_copied(model: nn.Module) -> None:
    """Refuse to replicate layers whose masks would be none of the model's schedule, and stay."""
    if any(isinstance(one, AdapterMasks) for one in model.modules()):
        raise ValueError(
            "layer_replication would copy layers that have LoRA Dropout already, and the masks of "
            "the copies would never change: give it to the first adapter of a model"
        )


def _refuse_layers_of_inject(model: nn.Module) -> None:
    """Refuse a model that is adapted already, whose factors no adapter of PEFT is saved with."""
    names = [name for name, one in model.named_modules() if isinstance(one, LoRADropoutLinear)]
    if names:
        raise ValueError(
            f"the model has layers of inject() ({listed(names)}), whose factors PEFT would neither "
            "save nor merge: merge() it first, or take one of the two alone"
        )


def _refuse_callers() -> None:
    """Refuse the one function of PEFT that divides a deterministic update by its training scale."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == "peft.tuners.lora.intruders":
            raise ValueError(
                "reduce_intruder_dimension knows nothing of (1-p)^2, and its result would be that "
                "much too small: save the adapter, and apply it where lora_dropout is not imported"
            )


def refuse(target: nn.Module, name: str, reason: str, supported: str) -> None:
    """Refuse a layer whose rows and columns cannot be dropped here.

    Args:
        target: the layer, with or without adapters.
        name: of the layer in its model, for the message.
        reason: the end of a sentence that begins with the layer's name.
        supported: the layers that are supported.

    Raises:
        ValueError: always.
    """
    kind = type(base_layer(target)).__name__
    raise ValueError(
        f"LoRA Dropout does not support {kind}{' ' + name if name else ''}, which {reason}: take "
        f"it out of target_modules, or set dropout_rate=0 ({supported} are supported)"
    )

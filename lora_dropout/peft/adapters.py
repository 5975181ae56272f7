"""The masks of one adapter in one layer of PEFT, and the layers and models that have such."""

import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import TrainableTokensWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lora_dropout.adaptable import held_twice, listed, refuse_wrapped, why_refused
from lora_dropout.layer import LoRADropoutLinear, layer_shape
from lora_dropout.masked import MaskedUpdate
from lora_dropout.masks import LayerShape
from lora_dropout.peft.config import MEANING, DropoutFields
from lora_dropout.peft.factors import weight_of
from lora_dropout.peft.refused import as_it_was_if_refused
from lora_dropout.schedule import MaskSchedule

# For the interpreter no base: only then can a layer that PEFT has made become one of ours.
LayerOfPEFT: Any = BaseTunerLayer if TYPE_CHECKING else object
#: Where a layer keeps the masks of its adapters; no state dict holds them.
PLACE = "lora_masks"
#: Layers whose weight an update is added to where it is merged.
MERGED_INTO = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding, Conv1D)
#: Name that TRL gives to the frozen copy of an adapter that a preference loss compares with.
REFERENCE = "ref"


class AdapterMasks(MaskedUpdate):
    """The masks of one adapter in one layer.

    Args:
        layer: of PEFT, that the adapter is in.
        adapter: its name.
        sides: d_in and d_out of the update.
        config: of the adapter.

    Attributes:
        still: whether the update has no masks in training either, as that of a reference.
    """

    still = False
    #: Factor by which the update is in the frozen weight; None where it is not in it.
    merged_mask: float | None = None
    #: What the config said when the adapter was made.
    meaning: tuple[Any, ...] = ()
    #: Sides, rates and kind of the masks, and whether they are rescaled, as they were made.
    made: tuple[LayerShape, bool]

    def __init__(
        self, layer: "HoldsMasks", adapter: str, sides: tuple[int, int], config: DropoutFields
    ) -> None:
        super().__init__(
            layer_shape(
                *sides, config.dropout_rate or 0.0, config.dropout_rate_out, config.mask_kind
            ),
            rescale=config.rescale,
            inference=config.inference,
            like=next(layer.get_base_layer().parameters()),
        )
        self.made = self.shape, self.rescale
        # As the model: an adapter that is loaded into a model in use must not draw masks.
        self.train(layer.get_base_layer().training)
        self.adapter, self.place = adapter, f".{PLACE}.{adapter}"
        # Encoder layers of PyTorch read weights in eval(), and so leave updates out, unless some
        # module in them has a hook. This one is never called.
        self.register_forward_pre_hook(_no_fast_path)
        # In a tuple, as the layer is this module's parent and not its child.
        self._layer = (layer,)

    def train(self, mode: bool = True) -> Self:
        """Draw masks from now on, or not; those of a reference are never drawn.

        Args:
            mode: whether the model is in training.
        """
        return super().train(mode and not self.still)

    @property
    def layer(self) -> "HoldsMasks":
        """The layer of PEFT."""
        return self._layer[0]

    @property
    def rank(self) -> int:  # type: ignore[override]
        """r of the adapter in this layer."""
        return self.layer.r[self.adapter]

    @property
    def alpha(self) -> float:  # type: ignore[override]
        """alpha of the adapter in this layer."""
        return self.layer.lora_alpha[self.adapter]

    @property
    def factors(self) -> tuple[Tensor, ...]:
        """The trained tensors of the adapter in this layer."""
        return self.layer.factors_of(self.adapter)

    def low_rank(self) -> tuple[Tensor, Tensor, float]:
        """Return A, B and the factor of their product."""
        return self.layer.low_rank_of(self.adapter)

    @property
    def takes_groups(self) -> bool:  # type: ignore[override]
        """Whether groups of the batch can have masks of their own."""
        variant = getattr(self.layer, "lora_variant", {}).get(self.adapter)
        return getattr(variant, "takes_groups", True)

    @property
    def rows_name_adapters(self) -> bool:  # type: ignore[override]
        """Whether the pass that runs now names an adapter for each row of the batch."""
        # PEFT hangs the names on each layer for as long as the pass lasts.
        hooks = self.layer._forward_pre_hooks.values()
        return any("adapter_names" in getattr(hook, "keywords", ()) for hook in hooks)

    @property
    def in_use(self) -> bool:
        """Whether a forward pass adds the update, and it is not in the frozen weight already."""
        layer = self.layer
        return self.adapter in layer.active_adapters and not (
            layer.disable_adapters or layer.merged
        )


class UnaskedMasks(AdapterMasks):
    """Masks of rate 0 beside an update that PEFT computes by itself: DoRA, a bias, a variant."""

    # Nobody asks them, which does not mean that the layer took no part in a pass.
    used = property(lambda self: True, lambda self, value: None)


def _no_fast_path(module: nn.Module, arguments: Any) -> None:
    """Do nothing."""


class HoldsMasks(LayerOfPEFT):
    """What PEFT's layers are mixed with: masks beside each adapter that has LoRA Dropout.

    Attributes:
        over: the layer of PyTorch that is adapted.
        kind_of_masks: masks of an adapter.
        shares_weight: whether another layer of the model holds the frozen weight too, as an output
            layer that is tied to the embedding does. Merged, each has a weight of its own.
        holds_parameter: whether the frozen weight is a parameter at all times.
    """

    r: dict[str, int]
    lora_alpha: dict[str, float]
    scaling: dict[str, float]
    in_features: int
    out_features: int
    adapter_layer_names: tuple[str, ...]
    over: type[nn.Module] = nn.Linear
    kind_of_masks = AdapterMasks
    shares_weight = False
    holds_parameter = True
    #: In a tuple, so that it is no parameter of this layer: the weight that others hold too.
    _shared: tuple[nn.Parameter, ...] = ()
    #: Whether a merge is under way, which may take out updates and add them again (DoRA).
    _merging = False

    @property
    def name_of_weight(self) -> str:
        """What the adapted layer calls its frozen weight."""
        return "weight"

    @classmethod
    def why_not(cls, base: nn.Module, config: Any) -> str | None:
        """Say why a layer is refused, as the end of a sentence that begins with its name.

        Args:
            base: the layer, without adapters.
            config: of the adapter, with a rate above 0 for this layer.

        Returns:
            The reason; None where rows and columns can be dropped.
        """
        return why_refused(base, cls.over)

    def factors_of(self, adapter: str) -> tuple[Tensor, ...]:
        """The trained tensors of an adapter."""
        return weight_of(self.lora_A[adapter]), weight_of(self.lora_B[adapter])

    def low_rank_of(self, adapter: str) -> tuple[Tensor, Tensor, float]:
        """A (..., r, d_in), B (..., d_out, r) and the factor of their product."""
        A, B = self.factors_of(adapter)
        return A, B, self.scaling[adapter]

    def sides(self) -> tuple[int, int]:
        """d_in and d_out of an update."""
        return self.in_features, self.out_features

    def masks_of(self, adapter: str) -> AdapterMasks | None:
        """The masks of an adapter, None for one without LoRA Dropout."""
        held = getattr(self, PLACE, {})
        return held[adapter] if adapter in held else None  # noqa: SIM401, a ModuleDict has no get

    def update_layer(
        self, adapter_name: str, r: int, lora_alpha: float, config: Any, **kwargs: Any
    ) -> None:
        """Add an adapter, with masks where its config says so.

        Args:
            adapter_name: name of the adapter.
            r: rank of its factors, at least 1.
            lora_alpha: scaling numerator of its update.
            config: of the adapter; it gets masks if this is one of this package.
            **kwargs: passed on to PEFT's layer.
        """
        if isinstance(config, DropoutFields):
            self.make_place()
        super().update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config, **kwargs)
        # AdaLoRA adds an adapter anew when its rank changes: its masks stay.
        if isinstance(config, DropoutFields) and self.masks_of(adapter_name) is None:
            kind = UnaskedMasks if self._left_to_peft(adapter_name, config) else self.kind_of_masks
            getattr(self, PLACE)[adapter_name] = kind(self, adapter_name, self.sides(), config)

    def make_place(self) -> None:
        """Make the place in which masks of adapters are kept, if there is none yet."""
        if not hasattr(self, PLACE):
            setattr(self, PLACE, nn.ModuleDict())
            self.adapter_layer_names = (*self.adapter_layer_names, PLACE)

    def _left_to_peft(self, adapter_name: str, config: DropoutFields) -> bool:
        """Whether PEFT computes the update by itself, which it does at rate 0 alone."""
        variant = self.lora_variant.get(adapter_name)
        theirs = variant is not None and type(variant).__module__.partition(".")[0] == "peft"
        given: Any = config
        others = theirs or getattr(config, "lora_bias", False) or given.lora_dropout > 0
        return not config.drops and others

    def get_delta_weight(self, adapter_name: str, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the update as the deterministic network has it, or as it was merged.

        Args:
            adapter_name: name of the adapter.
            *args, **kwargs: passed on to PEFT's layer.

        Returns:
            The update, of the shape of the frozen weight.
        """
        delta = super().get_delta_weight(adapter_name, *args, **kwargs)
        masks = self.masks_of(adapter_name)
        if masks is None:
            return delta
        merged = masks.merged_mask
        return delta * (masks.deterministic_mask if merged is None else merged)

    def merge(self, *args: Any, **kwargs: Any) -> None:
        """Add the updates to the frozen weight, and to that of no other layer.

        Args:
            *args, **kwargs: passed on to PEFT's layer.

        Raises:
            ValueError: the frozen weight is computed for every pass, so that the sum would be lost.
        """
        self.check_mergeable()
        if self.shares_weight and not self._shared:
            base, name = self.get_base_layer(), self.name_of_weight
            self._shared = (base.get_parameter(name),)
            own = self._shared[0].detach().clone()
            setattr(base, name, nn.Parameter(own, requires_grad=False))
        outermost, self._merging = not self._merging, True
        try:
            super().merge(*args, **kwargs)
        finally:
            if outermost:
                self._merging = False
                self._settle_merge()

    def check_mergeable(self) -> None:
        """Raise ``ValueError`` where an update that is added to the frozen weight would be lost."""
        _refuse_trained_rows(self)
        if self.holds_parameter:
            _refuse_a_computed_weight(self.get_base_layer())

    def unmerge(self) -> None:
        """Take the updates out of the frozen weight."""
        super().unmerge()
        if not self._merging:
            self._settle_merge()

    def _settle_merge(self) -> None:
        """Keep the factors of merged updates until they are taken out, and then share the weight.

        They are taken out as they were put in, whatever mode or rate the masks have by then.
        """
        for name, masks in getattr(self, PLACE, {}).items():
            if name not in self.merged_adapters:
                masks.merged_mask = None
            elif masks.merged_mask is None:
                masks.merged_mask = masks.deterministic_mask
        if self._shared and not self.merged:
            setattr(self.get_base_layer(), self.name_of_weight, *self._shared)
            self._shared = ()

    def forget_masks(self, adapter: str) -> None:
        """Take away the masks of an adapter that is deleted, or made anew with other settings."""
        masks = self.masks_of(adapter)
        if masks is not None:
            masks.masks.leave(masks)
            del getattr(self, PLACE)[adapter]

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete an adapter and its masks."""
        self.forget_masks(adapter_name)
        super().delete_adapter(adapter_name)


def _refuse_a_computed_weight(base: nn.Module) -> None:
    """Refuse to merge into a weight that a layer computes anew for every pass."""
    if isinstance(base, MERGED_INTO) and "weight" not in base._parameters:
        raise ValueError(
            "the frozen weight is computed (weight_norm, pruning, a parametrization), and an "
            "update that is added to it would be lost: make it a parameter before merging"
        )


def _check_mergeable(tuner: Any) -> None:
    for one in tuner.modules():
        if isinstance(one, HoldsMasks):
            one.check_mergeable()


def _refuse_trained_rows(layer: Any) -> None:
    """Refuse to merge into a weight of which PEFT puts trained rows in the place of the sum."""
    if isinstance(layer.base_layer, TrainableTokensWrapper):
        raise ValueError(
            "trainable_token_indices replaces rows of the frozen weight, and an update that is "
            "added to them would be lost: take the layer that is tied to the embedding out of "
            "target_modules, or do not merge"
        )


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
        given = self.peft_config[adapter_name]
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
        super().inject_adapter(model, adapter_name, *args, **kwargs)  # type: ignore[misc]
        config = self.peft_config[adapter_name]
        if not isinstance(config, DropoutFields):
            return
        # PEFT puts old names of experts together, and scales them by a pattern.
        config.check_patterns()
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

    def merge_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Merge adapters into all layers, or, where one of them would lose its update, into none.

        Args:
            *args, **kwargs: passed on to PEFT's tuner.

        Raises:
            ValueError: as :meth:`HoldsMasks.merge`.
        """
        _check_mergeable(self)
        super().merge_adapter(*args, **kwargs)  # type: ignore[misc]

    def _unload_and_optionally_merge(
        self, merge: bool = True, *args: Any, **kwargs: Any
    ) -> nn.Module:
        if merge:
            _check_mergeable(self)
        masks = [m for m in self.modules() if isinstance(m, AdapterMasks)]  # type: ignore[attr-defined]
        model = super()._unload_and_optionally_merge(merge, *args, **kwargs)  # type: ignore[misc]
        for one in masks:
            one.masks.leave(one, self, model)  # type: ignore[arg-type]
        return model


def follow_seed(model: nn.Module, seed: int) -> None:
    """Take masks of a seed, but for adapters whose config gives one.

    Args:
        model: with adapters.
        seed: of a trainer, in [0, 2**64).
    """
    for one in model.modules():
        if isinstance(one, AdapterMasks) and not one.masks.seeded and one.masks.seed != seed:
            one.masks.reseed(seed, given=False)


def keep_reference_still(model: nn.Module) -> None:
    """Let the adapter that a trainer of TRL compares with have no masks, also in training.

    Direct preference optimization of a trained adapter compares it with a frozen copy of itself
    (Rafailov et al. 2023, arXiv 2305.18290, Eq. 7), in the middle of a training step. That is the
    network that evaluation sees, not one that is sampled.

    Args:
        model: with adapters; one of that name that is in use is trained itself, and has masks.
    """
    for one in model.modules():
        if isinstance(one, AdapterMasks) and one.adapter == REFERENCE:
            one.still = not one.in_use
            one.train(one.layer.training)


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


def base_layer(target: nn.Module) -> nn.Module:
    """Return the layer that a model had before any adapter."""
    return target.get_base_layer() if isinstance(target, BaseTunerLayer) else target


def is_conv1d(target: nn.Module) -> bool:
    """Whether a layer is transformers' ``Conv1D``, which holds its weight transposed."""
    return isinstance(base_layer(target), Conv1D)


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

"""The layers of PEFT that have masks beside their adapters, and how they are merged."""

from typing import TYPE_CHECKING, Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import TrainableTokensWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lora_dropout.adaptable import why_refused
from lora_dropout.peft.adapter_masks import PLACE, AdapterMasks, UnaskedMasks
from lora_dropout.peft.config import DropoutFields
from lora_dropout.peft.factors import weight_of

# For the interpreter no base: only then can a layer that PEFT has made become one of ours.
LayerOfPEFT: Any = BaseTunerLayer if TYPE_CHECKING else object
#: Layers whose weight an update is added to where it is merged.
MERGED_INTO = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding, Conv1D)


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

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add updates to the frozen weight, and to that of no other layer.

        Args:
            safe_merge: whether what is not finite is refused.
            adapter_names: of the updates; those in use if left out.

        Raises:
            ValueError: as :meth:`check_mergeable`.
        """
        self.check_mergeable(adapter_names)
        if self.shares_weight and not self._shared:
            base, name = self.get_base_layer(), self.name_of_weight
            self._shared = (base.get_parameter(name),)
            own = self._shared[0].detach().clone()
            setattr(base, name, nn.Parameter(own, requires_grad=False))
        outermost, self._merging = not self._merging, True
        try:
            super().merge(safe_merge=safe_merge, adapter_names=adapter_names)
        finally:
            if outermost:
                self._merging = False
                self._settle_merge()

    def check_mergeable(self, adapter_names: list[str] | None = None) -> None:
        """Refuse to merge where an update that is added to the frozen weight would be lost.

        Args:
            adapter_names: of the updates; those in use if left out.

        Raises:
            ValueError: the layer has one of them, and its frozen weight is computed for every pass,
                or has rows that are trained themselves.
        """
        names = self.active_adapters if adapter_names is None else adapter_names
        if not any(name in self.r for name in names):
            return
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

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        for one in self._shared:
            # Where all layers that share it are merged, nobody else casts or moves it.
            changed = fn(one.data)
            if not changed.is_meta:
                one.data = changed
        return self

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


def _refuse_trained_rows(layer: Any) -> None:
    """Refuse to merge into a weight of which PEFT puts trained rows in the place of the sum."""
    if isinstance(layer.base_layer, TrainableTokensWrapper):
        raise ValueError(
            "trainable_token_indices replaces rows of the frozen weight, and an update that is "
            "added to them would be lost: take the layer that is tied to the embedding out of "
            "target_modules, or do not merge"
        )


def base_layer(target: nn.Module) -> nn.Module:
    """Return the layer that a model had before any adapter."""
    return target.get_base_layer() if isinstance(target, BaseTunerLayer) else target


def is_conv1d(target: nn.Module) -> bool:
    """Whether a layer is transformers' ``Conv1D``, which holds its weight transposed."""
    return isinstance(base_layer(target), Conv1D)

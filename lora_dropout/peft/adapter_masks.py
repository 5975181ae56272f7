"""The masks of one adapter in one layer of PEFT."""

import weakref
from typing import Any, Self

from torch import Tensor, nn

from lora_dropout.layer import layer_shape
from lora_dropout.masked import MaskedUpdate
from lora_dropout.masks import LayerShape
from lora_dropout.peft.config import DropoutFields

#: Where a layer keeps the masks of its adapters; no state dict holds them.
PLACE = "lora_masks"
#: Name that TRL gives to the frozen copy of an adapter that a preference loss compares with.
REFERENCE = "ref"


class AdapterMasks(MaskedUpdate):
    """The masks of one adapter in one layer.

    Args:
        layer: of PEFT, that the adapter is in: a ``lora_dropout.peft.adapted_layer.HoldsMasks``.
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
        self, layer: Any, adapter: str, sides: tuple[int, int], config: DropoutFields
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
        # The layer holds this module, and not the other way round.
        self._layer = weakref.ref(layer)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_layer": (self.layer,)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        (layer,) = state["_layer"]
        super().__setstate__(state | {"_layer": weakref.ref(layer)})

    def train(self, mode: bool = True) -> Self:
        """Draw masks from now on, or not; those of a reference are never drawn.

        Args:
            mode: whether the model is in training.
        """
        return super().train(mode and not self.still)

    @property
    def layer(self) -> Any:
        """The layer of PEFT."""
        return self._layer()

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

"""Where the masks of a model's layers lie: side by side, so that one copy renews all of them."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.func import debug_unwrap

from lora_dropout.device_draw import PRECISIONS, DrawingTable, draws, side_by_side
from lora_dropout.functional import computed_in
from lora_dropout.masks import Described, LayerShape, smallest_step_masks
from lora_dropout.tracing import is_traced, with_values

#: The sample that layers hold outside of passes over N.
FIRST = range(1)


class HasMasks(Protocol):
    """What has masks here.

    Attributes:
        number: of the layer in its schedule.
        shape: sides and rates, and the kind of the masks.
        rescale: whether masks are divided by 1 - p.
        mask_in, mask_out: its masks, (d_in,) and (d_out,), or (G, d) for G groups of the batch; the
            device stays as it is.
    """

    number: int
    shape: LayerShape
    rescale: bool
    mask_in: Tensor
    mask_out: Tensor

    @property
    def factors(self) -> tuple[Tensor, ...]:
        """The trained tensors that the masks multiply, and whose precision they get."""


class MaskMemory:
    """Masks of layers as parts of one tensor a device and precision.

    A layer whose masks somebody else put elsewhere, as when the model is moved, gets new ones.
    """

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._views: list[tuple[Tensor, Tensor]] = []
        self._storages: list[int] = []
        self._roundings: list[torch.dtype | None] = []
        #: The latest masks of sample 0 that were drawn here, and what they are a function of.
        self._first: tuple[Any, Tensor] | None = None

    def renew(
        self,
        layers: Sequence[HasMasks],
        *,
        seed: int,
        step: int,
        samples: range,
        in_place: bool = False,
    ) -> None:
        """Draw masks, and write them into the layers.

        Args:
            layers: that hold them afterwards.
            seed, step, samples: as in :func:`lora_dropout.masks.stack_masks`.
            in_place: whether the layers' tensors stay, where they fit: a caller that passed them in
                for a pass (functional_call) puts them back after it.
        """
        if is_traced():
            # What is written down has masks of its own, to which nothing is written later.
            self._views, in_place = [], False
        with with_values():
            self._renew(layers, seed, step, samples, in_place)

    def _renew(
        self, layers: Sequence[HasMasks], seed: int, step: int, samples: range, in_place: bool
    ) -> None:
        described = [(layer.number, layer.shape, layer.rescale) for layer in layers]
        held = self._holds(layers, len(samples))
        if not held:
            self._lay_out(layers, len(samples))
        place = described, seed, step, samples
        # Within a transform of torch.func, what is made is wrapped, and a kernel takes it bare.
        with torch._C._DisableFuncTorch():
            here = [piece for piece in self._pieces if not piece.draw(*place)]
        if here:
            drawn = self._drawn(*place)
            for piece in here:
                piece.fill(drawn)
        if not held:
            self._hand_out(layers, in_place)

    def _drawn(
        self, described: Sequence[Described], seed: int, step: int, samples: range
    ) -> Tensor:
        """Draw masks, but for those of the first sample, to which every pass over N comes back."""
        key = seed, step, samples, described
        if self._first is not None and self._first[0] == key:
            return self._first[1]
        masks, _ = smallest_step_masks(described, seed=seed, step=step, samples=samples)
        # Within a transform of torch.func, what is made is wrapped.
        drawn = debug_unwrap(masks)
        if samples == FIRST:
            self._first = key, drawn
        return drawn

    def _holds(self, layers: Sequence[HasMasks], samples: int) -> bool:
        """Whether the layers' masks are the parts of this memory."""
        return (
            len(layers) == len(self._views)
            and all(len(piece.masks) == samples for piece in self._pieces)
            and all(
                layer.mask_in is mask_in and layer.mask_out is mask_out
                for layer, (mask_in, mask_out) in zip(layers, self._views, strict=True)
            )
            and all(_where(layers[piece.first]) == piece.where for piece in self._pieces)
            and _storages(self._views) == self._storages
            and _roundings(layers) == self._roundings
        )

    def _lay_out(self, layers: Sequence[HasMasks], samples: int) -> None:
        """Make memory for the layers' masks."""
        places = [_where(layer) for layer in layers]
        views: dict[int, tuple[Tensor, Tensor]] = {}
        self._pieces = []
        for where in dict.fromkeys(places):
            members = [index for index, place in enumerate(places) if place == where]
            piece = _Piece(layers, members, where, samples)
            views.update(zip(members, piece.views(), strict=True))
            self._pieces.append(piece)
        self._views = [views[index] for index in range(len(layers))]
        self._storages, self._roundings = _storages(self._views), _roundings(layers)

    def _hand_out(self, layers: Sequence[HasMasks], in_place: bool) -> None:
        """Make the layers hold parts of this memory, or what they hold have its entries."""
        for layer, (mask_in, mask_out) in zip(layers, self._views, strict=True):
            own, parts = [layer.mask_in, layer.mask_out], [mask_in, mask_out]
            fit = all(one.shape == other.shape for one, other in zip(own, parts, strict=True))
            if in_place and fit and not own[0].is_inference():
                torch._foreach_copy_(own, parts)
            else:
                layer.mask_in, layer.mask_out = parts


class _Piece:
    """Masks of the layers of one device and precision.

    Args:
        layers: of the model.
        members: indices of those that have their masks here.
        where: device and precision.
        samples: masks that each of them holds.

    Attributes:
        masks: (samples, entries).
        where: their device and precision.
        first: index of one of the layers.
    """

    def __init__(
        self, layers: Sequence[HasMasks], members: Sequence[int], where: "_Where", samples: int
    ) -> None:
        self.where, self.first, self._members = where, members[0], members
        self._sizes = [side for index in members for side in layers[index].shape[:2]]
        masks = torch.empty(samples, sum(self._sizes), device=where.device, dtype=where.dtype)
        self.masks = debug_unwrap(masks)
        self._columns = None if len(members) == len(layers) else _columns(layers, members)
        #: What the device draws by, and what that is a function of.
        self._table: tuple[Any, DrawingTable] | None = None

    def views(self) -> list[tuple[Tensor, Tensor]]:
        """Return the masks of every member."""
        masks = self.masks[0] if len(self.masks) == 1 else self.masks
        parts = masks.split(self._sizes, dim=-1)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def draw(self, described: Sequence[Described], seed: int, step: int, samples: range) -> bool:
        """Let the device draw the masks; return whether it can."""
        own = [described[index] for index in self._members]
        if not (
            type(self.masks) is Tensor
            and self.where.dtype in PRECISIONS
            and all(shape.kind == "bernoulli" for _, shape, _ in own)
            and draws(self.where.device)
        ):
            return False
        self._drawing_table(seed, own).draw(self.masks, range(step, step + 1), samples)
        return True

    def _drawing_table(self, seed: int, own: list[Described]) -> DrawingTable:
        if self._table is None or self._table[0] != (seed, own):
            layers, _ = side_by_side(own, seed)
            table = DrawingTable(layers, self.where.device, self.where.rounded_to)
            self._table = (seed, own), table
        return self._table[1]

    def fill(self, drawn: Tensor) -> None:
        """Write what was drawn for all layers; a GPU is not waited for.

        Args:
            drawn: (samples, total) on the CPU: d_in and d_out entries of the first layer, then of
                the next.
        """
        if self._columns is not None:
            drawn = drawn[:, self._columns]
        device = self.where.device
        if drawn.is_floating_point():
            drawn = drawn.to(self.where.rounded_to)
        if device.type == "cuda":
            drawn = drawn.pin_memory()
        # Bits take less time to get there than their precision does.
        drawn = drawn.to(device, non_blocking=device.type == "cuda")
        # Unlike copy_, this is let through within a transform of torch.func.
        torch._foreach_copy_([self.masks], [drawn])


def _storages(views: Sequence[tuple[Tensor, Tensor]]) -> list[int]:
    """Where masks lie; whoever sets a tensor's ``data``, as FSDP does, puts it elsewhere."""
    return [mask.untyped_storage()._cdata for pair in views for mask in pair]


def _roundings(layers: Sequence[HasMasks]) -> list[torch.dtype | None]:
    """Precisions of entries: that of one layer may change while its masks stay where they are."""
    return [getattr(layer, "rounded_to", None) for layer in layers]


class _Where(NamedTuple):
    """Device and precision of a layer's masks, and the precision that their entries have."""

    device: torch.device
    dtype: torch.dtype
    rounded_to: torch.dtype


def _where(layer: HasMasks) -> _Where:
    """Masks get the precision of the factors, so that no pass casts them."""
    mask = layer.mask_in
    dtype = next(iter(layer.factors), mask).dtype
    return _Where(mask.device, computed_in(dtype, mask.dtype),
                  getattr(layer, "rounded_to", mask.dtype))  # fmt: skip


def _columns(layers: Sequence[HasMasks], members: Sequence[int]) -> Tensor:
    """Where the masks of some layers lie in what is drawn for all."""
    starts = list(accumulate((sum(layer.shape[:2]) for layer in layers), initial=0))
    ends = ((starts[index], starts[index + 1]) for index in members)
    return torch.cat([torch.arange(*pair, device="cpu") for pair in ends])

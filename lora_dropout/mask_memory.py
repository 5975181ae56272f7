"""Where the masks of a model's layers lie: side by side, so that one copy renews all of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.func import debug_unwrap


class HasMasks(Protocol):
    """What has masks here.

    Attributes:
        mask_in, mask_out: its masks, of which the device stays as it is.
    """

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

    def put(self, layers: Sequence[HasMasks], drawn: Tensor, widths: list[int]) -> None:
        """Write masks into the layers.

        Args:
            layers: that hold them afterwards.
            drawn: (samples, total) on the CPU: d_in and d_out entries of the first layer, then of
                the next.
            widths: d_in and d_out of the first layer, then of the next.
        """
        if not self._holds(layers, len(drawn)):
            self._lay_out(layers, len(drawn), widths)
        for piece in self._pieces:
            piece.fill(drawn)

    def _holds(self, layers: Sequence[HasMasks], samples: int) -> bool:
        """Whether the layers' masks are the parts of this memory."""
        return (
            len(layers) == len(self._views)
            and all(len(piece.masks) == samples for piece in self._pieces)
            and all(
                layer.mask_in is mask_in and layer.mask_out is mask_out
                for layer, (mask_in, mask_out) in zip(layers, self._views, strict=True)
            )
            and all(_where(piece.first) == piece.where for piece in self._pieces)
            and _storages(self._views) == self._storages
        )

    def _lay_out(self, layers: Sequence[HasMasks], samples: int, widths: list[int]) -> None:
        """Make memory for the layers' masks, and make the layers hold parts of it."""
        places = [_where(layer) for layer in layers]
        views: dict[int, tuple[Tensor, Tensor]] = {}
        self._pieces = []
        for where in dict.fromkeys(places):
            members = [index for index, place in enumerate(places) if place == where]
            sizes = [widths[2 * index + side] for index in members for side in (0, 1)]
            masks = debug_unwrap(
                torch.empty(samples, sum(sizes), device=where.device, dtype=where.dtype)
            )
            parts = (masks[0] if samples == 1 else masks).split(sizes, dim=-1)
            views.update(zip(members, zip(parts[::2], parts[1::2], strict=True), strict=True))
            columns = None if len(members) == len(layers) else _columns(members, widths)
            self._pieces.append(_Piece(masks, where, layers[members[0]], columns))
        self._views = [views[index] for index in range(len(layers))]
        self._storages = _storages(self._views)
        for layer, (mask_in, mask_out) in zip(layers, self._views, strict=True):
            layer.mask_in, layer.mask_out = mask_in, mask_out


@dataclass(frozen=True)
class _Piece:
    """Masks of the layers of one device and precision.

    Attributes:
        masks: (samples, entries).
        where: their device and precision.
        first: one of the layers.
        columns: of what is drawn, (entries,); None for all.
    """

    masks: Tensor
    where: "_Where"
    first: HasMasks
    columns: Tensor | None

    def fill(self, drawn: Tensor) -> None:
        """Write what was drawn; a GPU is not waited for, and gets it before its precision."""
        if self.columns is not None:
            drawn = drawn[:, self.columns]
        device = self.where.device
        if drawn.is_floating_point():
            drawn = drawn.to(self.where.rounded_to)
        if device.type == "cuda":
            drawn = drawn.pin_memory()
        drawn = drawn.to(device, non_blocking=device.type == "cuda")
        # Unlike copy_, this is let through within a transform of torch.func.
        torch._foreach_copy_([self.masks], [drawn])


def _storages(views: Sequence[tuple[Tensor, Tensor]]) -> list[int]:
    """Where masks lie; whoever sets a tensor's ``data``, as FSDP does, puts it elsewhere."""
    return [mask.untyped_storage()._cdata for pair in views for mask in pair]


class _Where(NamedTuple):
    """Device and precision of a layer's masks, and the precision that their entries have."""

    device: torch.device
    dtype: torch.dtype
    rounded_to: torch.dtype


def _where(layer: HasMasks) -> _Where:
    """Masks get the precision of the factors, so that no pass casts them."""
    mask = layer.mask_in
    dtype = next(iter(layer.factors), mask).dtype
    return _Where(mask.device, dtype if dtype.is_floating_point else mask.dtype,
                  getattr(layer, "rounded_to", mask.dtype))  # fmt: skip


def _columns(members: Iterable[int], widths: Sequence[int]) -> Tensor:
    """Where the masks of some layers lie in what is drawn for all."""
    starts = torch.tensor([0, *widths]).cumsum(0).tolist()
    return torch.cat([torch.arange(*ends) for ends in _ends(members, starts)])


def _ends(members: Iterable[int], starts: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((starts[2 * index], starts[2 * index + 2]) for index in members)

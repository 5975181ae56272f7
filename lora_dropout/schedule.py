"""When the masks of a model change: once an optimizer step, and never in between."""

import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from lora_dropout.masks import LayerShape, step_masks

_schedules: "weakref.WeakSet[MaskSchedule]" = weakref.WeakSet()


class ScheduledLayer(Protocol):
    """What a schedule needs of a layer.

    Attributes:
        masks: the schedule that the layer belongs to.
        number: of the layer in its schedule.
        shape: sides and rates.
        rescale: whether survivors are divided by 1 - p.
        mask_in, mask_out: held masks, (d_in,) and (d_out,), or (G, d) for G groups of the batch.
    """

    masks: "MaskSchedule"
    number: int
    shape: LayerShape
    rescale: bool
    mask_in: Tensor
    mask_out: Tensor

    @property
    def factors(self) -> tuple[Tensor, ...]:
        """The trained tensors of the update."""


class MaskSchedule:
    """The masks of all adapted layers of one model, and the step that they belong to.

    Masks are a function of (seed, step, layer, sample number) and stay as they are within an
    optimizer step. So a pass recomputed by gradient checkpointing, a second forward pass before the
    backward pass and the micro-batches of gradient accumulation all see the same masks.

    They advance by themselves after a step of a ``torch.optim`` optimizer that holds the model's
    factors. Where the factors change in another way, the next training pass notices and advances.
    The one case that neither covers is a *compiled* model whose factors no ``torch.optim``
    optimizer updates: call :meth:`advance` after each update there.

    Attributes:
        seed: seed of the masks, in [0, 2**64).
        step: the step whose masks the layers hold. Set it with :meth:`seek`, to resume for example.
        samples: the sample numbers that the layers hold, one group of the batch for each.
        layers: the adapted layers, in the order that numbers them.
        frozen: the parameters that were trainable before the layers were adapted.
        stale: whether layers hold something else than their masks, such as new memory.
    """

    def __init__(self, seed: int = 0) -> None:
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must lie in [0, 2**64), got {seed}")
        self.seed = seed
        self.step = 0
        self.samples = range(1)
        self.layers: list[ScheduledLayer] = []
        self.frozen: list[nn.Parameter] = []
        self.stale = True
        self._waiting: weakref.WeakSet[_Waiting] = weakref.WeakSet()
        self._seen: _Seen | None = None
        self._handles: list[RemovableHandle] = []
        _schedules.add(self)

    def __getstate__(self) -> dict[str, Any]:
        transient = ("_waiting", "_seen", "_handles")
        return {key: value for key, value in vars(self).items() if key not in transient}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _waiting=weakref.WeakSet(), _seen=None, _handles=[])
        _schedules.add(self)

    def join(self, layer: ScheduledLayer) -> None:
        """Number a layer and make its masks those of this schedule, from the next draw on."""
        layer.masks, layer.number = self, len(self.layers)
        self.layers.append(layer)
        self.stale = True

    def leave(self, layer: ScheduledLayer) -> None:
        """Forget a layer; without layers, watch no model."""
        self.layers.remove(layer)
        if not self.layers:
            self.detach()

    def advance(self) -> None:
        """Draw the masks of the next step.

        Raises:
            RuntimeError: a forward pass is still waiting for its backward pass, which would be
                computed with other masks.
        """
        self.seek(self.step + 1, self.samples)

    def seek(self, step: int, samples: range | None = None) -> None:
        """Draw the masks of a given step.

        Args:
            step: the step, at least 0.
            samples: the sample numbers to hold; those held now if left out. More than one means
                that the batch consists of that many equal groups, one mask pair each.

        Raises:
            RuntimeError: a forward pass is still waiting for its backward pass.
        """
        samples = self.samples if samples is None else samples
        if (step, samples, self.stale) == (self.step, self.samples, False):
            return
        if self._waiting:
            raise RuntimeError(
                "the masks cannot change now: a training forward pass is still waiting for its "
                "backward pass, which must see the same masks"
            )
        self._draw(step, samples)

    def attach(self, root: nn.Module) -> None:
        """Watch the outermost training passes of ``root``."""
        self._handles += [
            root.register_forward_pre_hook(self._before),
            root.register_forward_hook(self._after),
        ]

    def detach(self) -> None:
        """Undo every :meth:`attach`."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def factors(self) -> list[Tensor]:
        """Return the trainable factors of all layers."""
        every = (factor for layer in self.layers for factor in layer.factors)
        return [factor for factor in every if factor.requires_grad]

    def _draw(self, step: int, samples: range) -> None:
        self.step, self.samples, self.stale, self._seen = step, samples, False, None
        layers = [(layer.number, layer.shape, layer.rescale) for layer in self.layers]
        flat, widths = step_masks(layers, seed=self.seed, step=step, samples=samples)
        for device in {layer.mask_in.device for layer in self.layers}:
            # All masks travel to a device in one piece, and are put in their places in one go.
            masks = [part.squeeze(0) for part in flat.to(device).split(widths, dim=1)]
            held, new = [], []
            for layer, mask_in, mask_out in zip(self.layers, masks[::2], masks[1::2], strict=True):
                if layer.mask_in.device != device:
                    continue
                if layer.mask_in.shape == mask_in.shape:
                    held += [layer.mask_in, layer.mask_out]
                    new += [mask_in, mask_out]
                else:
                    layer.mask_in = mask_in.to(layer.mask_in, copy=True)
                    layer.mask_out = mask_out.to(layer.mask_out, copy=True)
            if held:
                torch._foreach_copy_(held, new)

    def _before(self, root: nn.Module, arguments: Any) -> None:
        if torch.compiler.is_compiling() or not (root.training and self.layers):
            return
        if self.stale:
            self._draw(self.step, self.samples)
        seen, layer = self._seen, self.layers[0]
        # Other mask tensors than last time are masks that a caller passes in (functional_call), or
        # a model that was moved: neither says that the factors were updated.
        if seen is not None and seen.masks() is layer.mask_in and not seen.unchanged(layer):
            self._draw(self.step + 1, self.samples)
        self._seen = _Seen(layer)

    def _after(self, root: nn.Module, arguments: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or not (root.training and self.layers):
            return
        for tensor in _tensors(output):
            if tensor.requires_grad:
                tensor.register_hook(_Waiting(self._waiting))

    def _holds_factors(self, optimizer: Optimizer) -> bool:
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        factors = self.factors()
        # An optimizer that holds only some of them (one a parameter, stepped inside the backward
        # pass, or one a kind of factor) is not the step: the next training pass notices it.
        return bool(factors) and all(id(factor) in held for factor in factors)


class _Seen:
    """The tensors of a layer in a training pass, and how often they had been written in place.

    Held weakly and not by their id, which another tensor may have once they are gone.
    """

    def __init__(self, layer: ScheduledLayer) -> None:
        self.masks = weakref.ref(layer.mask_in)
        self.factors = [(weakref.ref(factor), factor._version) for factor in layer.factors]

    def unchanged(self, layer: ScheduledLayer) -> bool:
        """Whether the layer's factors are still these, as they were."""
        return all(
            held() is factor and version == factor._version
            for (held, version), factor in zip(self.factors, layer.factors, strict=True)
        )


class _Waiting:
    """A forward pass whose backward pass has not come: lives as long as the graph that holds it."""

    def __init__(self, waiting: "weakref.WeakSet[_Waiting]") -> None:
        self.waiting = waiting
        waiting.add(self)

    def __call__(self, grad: Tensor) -> None:
        self.waiting.discard(self)


def _follow(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    for schedule in list(_schedules):
        if schedule.layers and schedule._holds_factors(optimizer):
            schedule._draw(schedule.step + 1, schedule.samples)


register_optimizer_step_post_hook(_follow)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from _tensors(list(output.values()))
    elif isinstance(output, list | tuple):
        for item in output:
            yield from _tensors(item)

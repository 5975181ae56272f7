"""Whether the factors of a layer were updated since a training pass, by whatever means."""

import warnings
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: What to do where masks cannot follow the updates by themselves.
FROZEN = (
    "The factors of LoRA Dropout were updated, and their masks are still those of before: every "
    "step trains the same sub-network. The model's parts are called without the model, or no "
    "torch.optim optimizer takes the step. Call mask_schedule(model).advance() after each update."
)


class FactorWatch:
    """What was seen of one layer's factors while its masks were those of one step.

    PyTorch counts what is written to a tensor in place, but not through ``.data``. So where
    gradients were reset since they came, the values themselves are compared with those of before.

    Attributes:
        trusted: an optimizer reports its steps, so that no gradient need be watched.
    """

    def __init__(self) -> None:
        self.trusted = False
        self._seen: _Seen | None = None
        self._arrivals: dict[int, _Arrival] = {}
        self._listening: dict[int, weakref.ref[Tensor]] = {}
        self._by_value = self._warned = False

    def forget(self) -> None:
        """Begin anew: the masks are those of another step."""
        self._seen = None
        self._arrivals.clear()

    def remember(self, masks: Tensor, factors: Sequence[Tensor]) -> None:
        """Take down the factors of a training pass.

        Args:
            masks: a mask tensor that the pass uses.
            factors: the factors of the same layer.
        """
        self._seen = _Seen(masks, factors)

    def follow_masks(self, masks: Tensor) -> None:
        """Take note that the schedule put its masks into another tensor."""
        if self._seen is not None:
            self._seen.masks = weakref.ref(masks)

    def updated(self, masks: Tensor, factors: Sequence[Tensor]) -> bool:
        """Whether the factors were updated since the last pass.

        Args:
            masks, factors: of the same layer, as in :meth:`remember`.

        Returns:
            False also for masks that a caller passes in (functional_call) and for a model that was
            moved: neither says anything of an update.
        """
        if self._seen is None or self._seen.masks() is not masks:
            return False
        if not self._seen.unchanged(factors):
            return True
        if self.trusted:
            return False
        return any(
            (self._by_value or arrival.reset(factors[index])) and arrival.differs(factors[index])
            for index, arrival in self._arrivals.items()
        )

    def listen(self, factors: Sequence[Tensor], held: Callable[[], bool]) -> None:
        """Notice gradients as they come.

        Args:
            factors: of the layer.
            held: whether the masks are meant to stay as they are now.
        """
        for index, factor in enumerate(factors):
            known = self._listening.get(index)
            if known is not None and known() is factor:
                continue
            if factor.requires_grad and factor.is_leaf:
                self._listening[index] = weakref.ref(factor)
                factor.register_post_accumulate_grad_hook(_Hook(self, index, held))

    def arrived(self, index: int, factor: Tensor) -> None:
        """Take note of a gradient; warn, once, if the masks are those of before an update.

        Args:
            index: of the factor in its layer.
            factor: the factor, whose ``grad`` has just been written.
        """
        arrival = self._arrivals.get(index)
        if arrival is None:
            self._arrivals[index] = _Arrival(factor)
            return
        anew = arrival.reset(factor, writes=1)
        arrival.take_down(factor)
        if not (anew and arrival.differs(factor)):
            return
        # From now on passes of the model compare values. If none comes, nobody moves the masks.
        if arrival.late and not self._warned:
            self._warned = True
            warnings.warn(FROZEN, stacklevel=2)
        arrival.late = self._by_value = True


class _Seen:
    """The tensors of a layer in a training pass, and how often they had been written in place.

    Held weakly and not by their id, which another tensor may have once they are gone.
    """

    def __init__(self, masks: Tensor, factors: Sequence[Tensor]) -> None:
        self.masks = weakref.ref(masks)
        self.factors = [(weakref.ref(factor), factor._version) for factor in factors]

    def unchanged(self, factors: Sequence[Tensor]) -> bool:
        """Whether the factors are still these, as they were."""
        return all(
            held() is factor and version == factor._version
            for (held, version), factor in zip(self.factors, factors, strict=True)
        )


class _Arrival:
    """A factor's values when a gradient first came under its masks, and its latest gradient."""

    def __init__(self, factor: Tensor) -> None:
        self.values = factor.detach().clone()
        #: Whether another gradient came after an update.
        self.late = False
        self.take_down(factor)

    def take_down(self, factor: Tensor) -> None:
        """Take note of the gradient as it is now."""
        assert factor.grad is not None
        self.grad, self.version = weakref.ref(factor.grad), factor.grad._version

    def reset(self, factor: Tensor, writes: int = 0) -> bool:
        """Whether the gradient was reset, or written more often than gradients were added."""
        grad = factor.grad
        return grad is None or grad is not self.grad() or grad._version != self.version + writes

    def differs(self, factor: Tensor) -> bool:
        """Whether the factor holds other values. On a GPU this waits for it."""
        return factor.device != self.values.device or not torch.equal(self.values, factor.detach())


class _Hook:
    """Called by PyTorch after a gradient was added to a factor."""

    def __init__(self, watch: FactorWatch, index: int, held: Callable[[], bool]) -> None:
        self.watch, self.index, self.held = weakref.ref(watch), index, held

    def __call__(self, factor: Tensor) -> None:
        watch = self.watch()
        if watch is not None and not watch.trusted and not self.held() and factor.grad is not None:
            watch.arrived(self.index, factor)

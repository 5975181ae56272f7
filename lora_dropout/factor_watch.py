"""Whether the factors of a layer were updated since a training pass, by whatever means."""

import warnings
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import debug_unwrap
from torch.utils.hooks import RemovableHandle

from lora_dropout.tracing import is_traced

#: What to do where masks cannot follow the updates by themselves.
FROZEN = (
    "The factors of LoRA Dropout were updated, and their masks are still those of before: every "
    "step trains the same sub-network. The model's parts are called without the model, or no "
    "torch.optim optimizer takes the step. Call mask_schedule(model).advance() after each update."
)


class FactorWatch:
    """What was seen of the factors while their masks were those of one step.

    PyTorch counts what is written to a tensor in place, but not through ``.data``. So until an
    optimizer reports its steps, the values themselves are compared with those of the last pass.

    Attributes:
        trusted: an optimizer of all factors reports its steps, so that no value need be watched but
            those of one factor, whenever its gradient is reset without a step.
    """

    def __init__(self) -> None:
        self.trusted = False
        self._seen: _Seen | None = None
        self._arrivals: dict[int, _Arrival] = {}
        self._listening: dict[int, tuple[weakref.ref[Tensor], RemovableHandle]] = {}
        self._warned = self._partly = False

    def forget(self) -> None:
        """Begin anew: the masks are those of another step."""
        self._seen = None
        self._partly = False
        self._arrivals.clear()

    @property
    def idle(self) -> bool:
        """Whether neither a training pass nor a gradient came under these masks."""
        return self._seen is None and not self._arrivals

    def trust(self) -> None:
        """Take note that an optimizer of all factors reports its steps.

        From now on only the factors whose gradients came first and last are listened to: a hook in
        Python on every factor makes a backward pass that waits for the host longer.
        """
        if not self.trusted and self._arrivals:
            order = list(self._arrivals)
            for index in {*self._listening} - {order[0], order[-1]}:
                self._listening.pop(index)[1].remove()
        self.trusted = True

    def distrust(self) -> None:
        """Take note of an update of which no optimizer of all factors told."""
        self._partly = self.trusted and self._seen is not None
        self.trusted = False

    def remember(self, masks: Tensor, factors: Sequence[Tensor]) -> None:
        """Take down the factors of a training pass.

        Args:
            masks: a mask tensor that the pass uses.
            factors: of all layers; of one is enough where an optimizer is trusted.
        """
        factors = [debug_unwrap(factor) for factor in factors]
        if is_traced() or (self.trusted and not all(map(_is_own, factors))):
            return
        if self.trusted or self._seen is None or not self._seen.holds(masks, factors):
            self._seen = _Seen(masks, factors, by_value=not self.trusted)

    def settle(self, factors: Sequence[Tensor]) -> None:
        """Take note, at the end of a pass, of what was written to the factors within it.

        That is no update: a wrapper (``replicate``) may send the parameters of the first process to
        all others when it is first called.

        Args:
            factors: as in :meth:`remember`.
        """
        if self._seen is None or is_traced():
            return
        factors, masks = [debug_unwrap(factor) for factor in factors], self._seen.masks()
        if masks is not None and not self._seen.untouched(factors):
            self._seen = _Seen(masks, factors, by_value=not self.trusted)

    def follow_masks(self, masks: Tensor) -> None:
        """Take note that the schedule put its masks into another tensor."""
        if self._seen is not None:
            self._seen.masks = weakref.ref(masks)

    def updated(self, masks: Tensor, factors: Sequence[Tensor]) -> bool:
        """Whether the factors were updated since the last pass.

        Args:
            masks, factors: as in :meth:`remember`.

        Returns:
            False also for masks that a caller passes in (functional_call), for a model that was
            moved, and, where an optimizer is trusted, for factors that a caller passes in: none of
            these says anything of an update.
        """
        if self._seen is None or self._seen.masks() is not masks or is_traced():
            return False
        return self._partly or not self._seen.unchanged([debug_unwrap(one) for one in factors])

    def listen(self, factors: Sequence[Tensor], held: Callable[[], bool]) -> None:
        """Notice gradients as they come.

        Args:
            factors: of all layers.
            held: whether the masks are meant to stay as they are now.
        """
        for index, factor in enumerate(factors):
            known = self._listening.get(index)
            if known is not None and known[0]() is factor:
                continue
            if factor.requires_grad and not _is_part(factor) and factor.is_leaf:
                handle = factor.register_post_accumulate_grad_hook(_Hook(self, index, held))
                self._listening[index] = weakref.ref(factor), handle

    def asks(self, index: int) -> bool:
        """Whether a factor's gradients matter: that of the first to come, where one is trusted."""
        return not self.trusted or not self._arrivals or index in self._arrivals

    def arrived(self, index: int, factor: Tensor) -> None:
        """Take note of a gradient; warn, once, if the masks are those of before an update.

        Args:
            index: of the factor.
            factor: the factor, whose ``grad`` has just been written.
        """
        arrival = self._arrivals.get(index)
        if factor.grad is None:
            return
        if arrival is None:
            self._arrivals[index] = _Arrival(factor)
            return
        anew = arrival.reset(factor, writes=1)
        arrival.take_down(factor)
        if not (anew and arrival.differs(factor)):
            return
        if self.trusted:
            self.distrust()
            return
        # A pass of the model notices. If none comes until the next time, nobody moves the masks.
        if arrival.late and not self._warned:
            self._warned = True
            warnings.warn(FROZEN, stacklevel=2)
        arrival.late = True


class _Seen:
    """The factors in a training pass, how often they had been written in place, and their values.

    Held weakly and not by their id, which another tensor may have once they are gone. What a caller
    passes in (functional_call) is another tensor in every pass, and has its values alone. A factor
    that is sharded now and was gathered then (FSDP), or the reverse, says nothing of an update.
    """

    def __init__(self, masks: Tensor, factors: Sequence[Tensor], by_value: bool) -> None:
        self.masks = weakref.ref(masks)
        self.factors = [
            (weakref.ref(factor), type(factor), _written(factor)) if _is_own(factor) else None
            for factor in factors
        ]
        # Within a transform of torch.func, copies are wrapped too.
        self.values = [debug_unwrap(_copy(one)) for one in factors if by_value]

    def holds(self, masks: Tensor, factors: Sequence[Tensor]) -> bool:
        """Whether these very masks and factors were seen, as they are now."""
        same = self.masks() is masks and len(self.values) == len(factors)
        return same and self.unchanged(factors)

    def unchanged(self, factors: Sequence[Tensor]) -> bool:
        """Whether the factors are still these, as they were. On a GPU this waits for values."""
        return self.untouched(factors) and all(map(_equal, self.values, factors))

    def untouched(self, factors: Sequence[Tensor]) -> bool:
        """Whether the factors are still these, written to as often."""
        return all(map(_untouched, self.factors, factors))


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
        return not _equal(self.values, factor)


def _is_own(factor: Tensor) -> bool:
    """Whether a factor is the model's, and not one that a caller passes in for a pass."""
    return isinstance(factor, nn.Parameter)


def _is_part(factor: Tensor) -> bool:
    """Whether a factor is a view of what gets the gradient; of an old one no more can be asked."""
    return factor._base is not None and factor._base.requires_grad


def _is_freed(factor: Tensor) -> bool:
    """Whether FSDP has freed a factor's memory until its next pass."""
    plain = type(factor) in (Tensor, nn.Parameter)
    return plain and factor.numel() > 0 and factor.untyped_storage().size() == 0


def _copy(factor: Tensor) -> Tensor:
    """Copy a factor's values, where it has any now."""
    return factor.new_empty(0) if _is_freed(factor) else factor.detach().clone()


def _untouched(seen: "tuple[weakref.ref[Tensor], type, int] | None", factor: Tensor) -> bool:
    """Whether a factor of the model is still the one that was seen, written to as often."""
    if seen is None or not _is_own(factor):
        return True
    held, kind, version = seen
    if kind is not type(factor):
        return True
    return held() is factor and version == _written(factor)


def _written(factor: Tensor) -> int:
    """How often a factor was written to; of one made in inference mode nothing is counted."""
    return 0 if factor.is_inference() else factor._version


def _equal(values: Tensor, factor: Tensor) -> bool:
    """Whether a factor has its values of before; one moved, cast or sharded has no others."""
    freed = _is_freed(factor)
    factor = factor.detach()
    if any(getattr(values, name) != getattr(factor, name) for name in ("device", "dtype", "shape")):
        return True
    # On the device "meta" nothing has values.
    known = type(values) is type(factor) and not (values.is_meta or freed)
    return not known or torch.equal(values, factor)


class _Hook:
    """Called by PyTorch after a gradient was added to a factor."""

    def __init__(self, watch: FactorWatch, index: int, held: Callable[[], bool]) -> None:
        self.watch, self.index, self.held = weakref.ref(watch), index, held

    def __call__(self, factor: Tensor) -> None:
        watch = self.watch()
        if watch is not None and watch.asks(self.index) and not self.held():
            watch.arrived(self.index, factor)

"""Optimizers that take a step now."""

import sys
import weakref
from collections.abc import Sequence
from threading import get_ident

from torch import Tensor
from torch.optim.optimizer import Optimizer


class StepsUnderWay:
    """The optimizers of one model whose steps have begun.

    PyTorch says when a step begins and when it has ended, and nothing of one that failed.
    """

    def __init__(self) -> None:
        #: Whether an optimizer holds all factors, and the thread of its step.
        self._begun: weakref.WeakKeyDictionary[Optimizer, tuple[bool, int]] = (
            weakref.WeakKeyDictionary()
        )
        #: The state that an optimizer had when it first began, and the steps that it counted then.
        self._restored: weakref.WeakKeyDictionary[Optimizer, tuple[int, int]] = (
            weakref.WeakKeyDictionary()
        )

    def __len__(self) -> int:
        return len(self._begun)

    def begin(self, optimizer: Optimizer, everything: bool) -> None:
        """Take note of a step.

        Args:
            optimizer: that takes it.
            everything: whether it holds all factors.
        """
        self._begun[optimizer] = everything, get_ident()

    def see(self, optimizer: Optimizer, factors: Sequence[Tensor]) -> None:
        """Take note of an optimizer before its first step, and after its state was loaded.

        Args:
            optimizer: that takes a step next.
            factors: what it holds of the model.
        """
        state, _ = self._restored.get(optimizer, (None, 0))
        if state != id(optimizer.state):
            self._restored[optimizer] = id(optimizer.state), _counted(optimizer, factors)

    def restored(self, optimizer: Optimizer) -> int:
        """Return the steps that an optimizer brought along, 0 if it counts none.

        What it counts later says nothing more: it counts steps that failed too.
        """
        return self._restored[optimizer][1]

    def end(self, optimizer: Optimizer) -> bool | None:
        """Return what ``begin`` was told of a step that has ended, None where it was not called."""
        everything, _ = self._begun.pop(optimizer, (None, 0))
        return everything

    def drop_failed(self) -> bool:
        """Forget the steps of this thread that it is not within any more; return whether any."""
        if not self._begun:
            return False
        frame, within = sys._getframe(), set()
        while frame.f_back is not None:
            frame = frame.f_back
            within.add(id(frame.f_locals.get("self")))
        failed = [
            optimizer
            for optimizer, (_, thread) in self._begun.items()
            if thread == get_ident() and id(optimizer) not in within
        ]
        for optimizer in failed:
            del self._begun[optimizer]
        return bool(failed)


def moves_nothing(optimizer: Optimizer, factors: Sequence[Tensor]) -> bool:
    """Whether a step has rate 0 and gradients of 0.

    Such a one is taken by ``torch.distributed.checkpoint``, to make an optimizer's state, before it
    loads or saves it.

    Args:
        optimizer: that takes the step.
        factors: what it holds of the model.

    Returns:
        Whether nothing but the state can change.
    """
    if any(float(group.get("lr", 1)) != 0 for group in optimizer.param_groups):
        return False
    # Of gradients that are sharded, the part that is here.
    found = [getattr(one.grad, "_local_tensor", one.grad) for one in factors]
    return not any(bool(grad.any()) for grad in found if grad is not None)


def _counted(optimizer: Optimizer, factors: Sequence[Tensor]) -> int:
    """Steps that an optimizer counted for the factors, 0 if it counts none."""
    states = [optimizer.state.get(one, {}) for one in factors]
    if None in states:
        # ZeroRedundancyOptimizer has None for what another process keeps, maybe for all of these.
        states = list(optimizer.state.values())
    return max((int(state.get("step", 0)) for state in states if state), default=0)

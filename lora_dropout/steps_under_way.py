"""Optimizers that take a step now."""

import sys
import weakref
from threading import get_ident

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

    def __len__(self) -> int:
        return len(self._begun)

    def begin(self, optimizer: Optimizer, everything: bool) -> None:
        """Take note of a step.

        Args:
            optimizer: that takes it.
            everything: whether it holds all factors.
        """
        self.drop_failed()
        self._begun[optimizer] = everything, get_ident()

    def end(self, optimizer: Optimizer) -> bool | None:
        """Return what ``begin`` was told of a step that has ended, None where it was not called."""
        everything, _ = self._begun.pop(optimizer, (None, 0))
        return everything

    def drop_failed(self) -> None:
        """Forget the steps of this thread that it is not within any more."""
        if not self._begun:
            return
        frame, within = sys._getframe(), set()
        while frame.f_back is not None:
            frame = frame.f_back
            within.add(id(frame.f_locals.get("self")))
        for optimizer, (_, thread) in list(self._begun.items()):
            if thread == get_ident() and id(optimizer) not in within:
                del self._begun[optimizer]

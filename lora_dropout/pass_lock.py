"""Threads that share one model: many passes at once, or one thread that changes the masks' mode."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, get_ident


class PassLock:
    """Keeps passes of other threads out while one thread has the model as it needs it.

    An ensemble makes the model one sampled network after the other. What another thread computed
    meanwhile would be of such a network.
    """

    def __init__(self) -> None:
        self._free = Condition()
        self._passes: Counter[int] = Counter()
        self._changer: int | None = None

    def enter_pass(self) -> None:
        """Begin a pass; waits for another thread that changes the model."""
        me = get_ident()
        with self._free:
            # One within another, as of a model in a model, is let in: the outer one has waited.
            if not self._passes[me]:
                self._free.wait_for(lambda: self._changer in (None, me))
            self._passes[me] += 1

    def leave_pass(self) -> None:
        """End a pass, also one that failed."""
        me = get_ident()
        with self._free:
            self._passes[me] -= 1
            if self._passes[me] <= 0:
                del self._passes[me]
                self._free.notify_all()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Within the block, passes are of this thread alone; waits for those of others.

        Raises:
            RuntimeError: a pass of this thread would wait for that of another, and it for this.
        """
        me = get_ident()
        with self._free:
            if self._changer == me:
                outermost = False
            else:
                if self._passes[me] and len(+self._passes) > 1:
                    raise RuntimeError(
                        "a pass changes the model's masks while other threads compute with it"
                    )
                self._free.wait_for(lambda: self._changer is None and not self._others(me))
                self._changer, outermost = me, True
        try:
            yield
        finally:
            if outermost:
                with self._free:
                    self._changer = None
                    self._free.notify_all()

    def _others(self, me: int) -> bool:
        return any(count > 0 for thread, count in self._passes.items() if thread != me)

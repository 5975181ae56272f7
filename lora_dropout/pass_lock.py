"""Threads that share one model: many passes at once, or one thread that changes the masks' mode."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, get_ident
from typing import Any, TypeVar

import torch

T = TypeVar("T")
#: What PyTorch says of the backward pass that runs now, where none does.
NO_BACKWARD = -1
#: Seconds after which who waits for passes looks whether they were interrupted.
PATIENCE = 1.0


class PassLock:
    """Keeps passes of other threads out while one thread has the model as it needs it.

    An ensemble makes the model one sampled network after the other. What another thread computed
    meanwhile would be of such a network.
    """

    def __init__(self) -> None:
        self._free = Condition()
        self._passes: Counter[int] = Counter()
        self._changer: int | None = None

    def enter_pass(self, waits: bool = True) -> None:
        """Begin a pass.

        Args:
            waits: for another thread that changes the model; a replica's pass is that of the thread
                that waits for all replicas.
        """
        me = get_ident()
        with self._free:
            # One within another, as of a model in a model, is let in: the outer one has waited.
            if waits and not self._passes[me]:
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

    @property
    def held(self) -> bool:
        """Whether some thread has the model as it needs it."""
        return self._changer is not None

    def run_part(self, compute: Callable[..., T], *values: Any) -> T:
        """Let a part of the model compute; one that was called without the model is a pass itself.

        It waits for no other thread within a backward pass, which recomputes for the thread that
        called it and that may be the one that changes the model; nor where the model is compiled.

        Args:
            compute: called with the values.
            *values: of the part.

        Returns:
            What is computed.
        """
        if torch.compiler.is_compiling() or self._passes.get(get_ident(), 0) > 0:
            return compute(*values)
        if torch._C._current_graph_task_id() != NO_BACKWARD:
            return compute(*values)
        self.enter_pass(waits=not is_replica(getattr(compute, "__self__", None)))
        try:
            return compute(*values)
        finally:
            self.leave_pass()

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
                if self._passes[me] and self._others(me):
                    raise RuntimeError(
                        "a pass changes the model's masks while other threads compute with it"
                    )
                while self._changer is not None or self._others(me):
                    self._free.wait(PATIENCE)
                self._changer, outermost = me, True
        try:
            yield
        finally:
            if outermost:
                with self._free:
                    self._changer = None
                    self._free.notify_all()

    def _others(self, me: int) -> bool:
        """Whether other threads compute; PyTorch says of no pass that Ctrl-C has ended it."""
        others = [thread for thread, count in self._passes.items() if thread != me and count > 0]
        computing = [thread for thread in others if _is_in_a_module(thread)]
        for thread in {*others} - {*computing}:
            del self._passes[thread]
        return bool(computing)


def _is_in_a_module(thread: int) -> bool:
    """Whether a thread is, at this moment, in a call of some module or of a part of one."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        # Also where TorchDynamo has made code of its own of PyTorch's.
        if "_call_impl" in frame.f_code.co_name or frame.f_code is PassLock.run_part.__code__:
            return True
        frame = frame.f_back
    return False


def is_replica(part: Any) -> bool:
    """Whether a part of a model is a copy that ``nn.DataParallel`` made of it for one pass."""
    return hasattr(part, "_is_replica")

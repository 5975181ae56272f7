"""Ctrl-C that waits until what took long is kept."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


@contextmanager
def interrupt_put_off() -> Iterator[None]:
    """Put Ctrl-C off until the end of the block; a second one acts at once.

    For a block that takes little time, and without which what took much would be lost.

    Yields:
        While Ctrl-C waits. Where it is ignored, and in other threads than the main one, which it
        does not reach, nothing is changed.
    """
    before = signal.getsignal(signal.SIGINT)
    if current_thread() is not main_thread() or not callable(before):
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []

    def wait(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        waiting.append((number, frame))

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        before(*waiting[0])

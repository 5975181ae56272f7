"""A command line's process: while it is still importing its packages, and when it ends."""

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import NoReturn

#: The signal that ended this process, or that would be taken to have.
_signal = signal.SIGINT
#: Whether this process does nothing but answer a command line.
_brief = False
#: Exit status of this process, once its command line is answered.
_answered: int | None = None


def be_brief() -> None:
    """From now on, Ctrl-C ends the process at once, in one line and with status 130.

    An exception would not do: one that is raised within the initialization of a compiled package
    may abort the process. Nor is garbage collected, as imports make none: looking for it would take
    a fifth of their time.
    """
    global _brief
    _brief = True
    signal.signal(signal.SIGINT, _leave)
    gc.disable()
    # Registered before all others, it is called after them.
    atexit.register(_end)


def be_normal() -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt again, and what is not of use is collected.

    So does SIGTERM, by which a scheduler says that time is over: what is half written is removed,
    and workers end.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, partial(_interrupt, process=os.getpid()))
    if not gc.isenabled():
        # What was imported stays: it need not be looked at again.
        gc.freeze()
        gc.enable()


def status_of_interrupt() -> int:
    """Exit status of a command that a signal ended: 128 and its number, as shells report it."""
    return 128 + _signal


def ignore_signals() -> None:
    """From now on, Ctrl-C and SIGTERM change nothing: this process has only to say how it ends.

    A second one may come at once, as some programs send theirs to a process and to its group.
    """
    if _brief:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def finish(status: int) -> NoReturn:
    """Exit, all being said and written."""
    global _answered
    ignore_signals()
    _answered = status
    sys.exit(status)


def _end() -> None:
    """End the process without taking apart, module by module, what the system takes back at once.

    That would take a third of a second.
    """
    # Whatever went wrong after the answer, Python itself is to say.
    if _answered is None or hasattr(sys, "last_value"):
        return
    with suppress(OSError):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(_answered)


def _leave(number: int, frame: FrameType | None) -> None:
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(status_of_interrupt())


def _interrupt(number: int, frame: FrameType | None, process: int) -> None:
    if os.getpid() != process:
        # A fork, as libraries make them: they end it so, and expect no more of it.
        os._exit(128 + number)
    global _signal
    _signal = signal.Signals(number)
    raise KeyboardInterrupt

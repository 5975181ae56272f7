"""Ctrl-C while a command line is still importing its packages."""

import os
import signal
import sys
from types import FrameType

#: Exit status of a command that Ctrl-C ended: 128 + SIGINT, as shells report it.
STATUS = 130


def be_brief() -> None:
    """From now on, Ctrl-C ends the process at once, in one line and with status 130.

    An exception would not do: one that is raised within the initialization of a compiled package
    may abort the process.
    """
    signal.signal(signal.SIGINT, _leave)


def be_normal() -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> None:
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(STATUS)

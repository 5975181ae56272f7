"""Ctrl-C while a command line is still importing its packages."""

import os
import sys
from types import TracebackType

#: Exit status of a command that Ctrl-C ended: 128 + SIGINT, as shells report it.
STATUS = 130


def be_brief() -> None:
    """From now on, a KeyboardInterrupt that nobody catches ends in one line and status 130."""
    sys.excepthook = _hook


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(STATUS)

"""How the command lines behave: one line and a status for trouble."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from itertools import takewhile
from typing import NoReturn, TypeVar

import tyro

from probes.cli.early_interrupt import STATUS, be_normal
from probes.jobs.sweep import InterruptedSweepError

Settings = TypeVar("Settings")


def run(settings: type[Settings], main: Callable[[Settings], int | None]) -> NoReturn:
    """Parse the command line into settings, run the probe and exit.

    Exit status: what ``main`` returns, 0 if nothing; 2 for a bad value, with one line on standard
    error; 130 for Ctrl-C.
    """

    def known(values: Settings, rest: list[str]) -> int | None:
        if rest:
            raise ValueError(f"unknown arguments: {' '.join(rest)} (see --help)")
        return main(values)

    run_with_rest(settings, known)


def run_with_rest(
    settings: type[Settings], main: Callable[[Settings, list[str]], int | None]
) -> NoReturn:
    """As :func:`run`, with the arguments that are no settings left to ``main``."""
    be_normal()
    try:
        status = main(*_parse(settings)) or 0
    except (ValueError, OSError) as error:
        leave(f"error: {error}", 2)
    except InterruptedSweepError as stop:
        leave(
            f"interrupted: {stop.finished} of {stop.cells} cells are done and kept; "
            "the same command goes on from there",
            STATUS,
        )
    except KeyboardInterrupt:
        leave("interrupted", STATUS)
    sys.exit(status)


def _parse(settings: type[Settings]) -> tuple[Settings, list[str]]:
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(
                settings, config=(tyro.conf.FlagCreatePairsOff,), return_unknown_args=True
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    # The parser frames its message and repeats the help below a rule: one line is enough.
    lines = [line.strip("│╭╮╰╯ ") for line in complaint.getvalue().splitlines()[1:]]
    message = " ".join(takewhile(lambda line: line.strip("─"), lines))
    leave(f"error: {message} (see --help)", 2)


def leave(message: str, status: int) -> NoReturn:
    """Print one line on standard error, whatever a value in it holds, and exit."""
    line = " ".join(message.splitlines())
    print(line.encode(errors="backslashreplace").decode(), file=sys.stderr)
    sys.exit(status)

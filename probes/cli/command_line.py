"""How the command lines behave: flags are settings; one line and a status for trouble."""

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from itertools import takewhile
from typing import NoReturn, TypeVar

import tyro

from probes.cli.early_interrupt import STATUS, be_normal, finish
from probes.jobs.sweep import InterruptedSweepError

T = TypeVar("T")


def run_command_line(
    settings: type[T],
    main: Callable[[T, list[str]], int],
    arguments: Sequence[str] | None = None,
    program: str | None = None,
) -> NoReturn:
    """Parse the command line into settings, do what it asks for and exit.

    Exit status: what ``main`` returns; 2 for a bad value, with one line on standard error; 130 for
    Ctrl-C.

    Args:
        settings: dataclass of the settings.
        main: takes the settings, and the words that are no flags.
        arguments: words of the command line; those of the process if left out.
        program: module that ``--help`` names.
    """
    be_normal()
    try:
        status = main(*_parse(settings, arguments, program))
    except (ValueError, OSError) as error:
        leave(f"error: {error}", 2)
    except InterruptedSweepError as stop:
        leave(
            f"interrupted: {stop.finished} of {stop.jobs} cells are done and kept; "
            "the same command goes on from there",
            STATUS,
        )
    except KeyboardInterrupt:
        leave("interrupted", STATUS)
    finish(status)


def _parse(
    settings: type[T], arguments: Sequence[str] | None, program: str | None
) -> tuple[T, list[str]]:
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(
                settings,
                args=arguments,
                prog=program and f"python -m {program}",
                config=(tyro.conf.FlagCreatePairsOff,),
                return_unknown_args=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    # The parser frames its message and repeats the help below a rule: one line is enough.
    lines = [line.strip("│╭╮╰╯ ") for line in complaint.getvalue().splitlines()[1:]]
    message = " ".join(takewhile(lambda line: line.strip("─"), lines))
    leave(f"error: {message} (see --help)", 2)


def leave(message: str, status: int) -> NoReturn:
    """Print one line on standard error, whatever a value in it holds, and exit.

    Args:
        message: its lines are joined.
        status: of the process.
    """
    line = " ".join(message.splitlines())
    print(line.encode(errors="backslashreplace").decode(), file=sys.stderr)
    finish(status)

"""How the command lines behave: flags are settings; one line and a status for trouble."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import fields
from functools import partial, wraps
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar, get_type_hints

import tyro
from tyro.extras import subcommand_cli_from_dict

from probes.cli.early_interrupt import be_normal, finish, ignore_signals, status_of_interrupt
from probes.cli.help_text import asks_for_help, help_text
from probes.cli.refused_words import check_words, refusal
from probes.jobs.amounts import how_many
from probes.jobs.sweep import InterruptedSweepError
from probes.jobs.validation import did_you_mean

T = TypeVar("T")


def run_command_line(
    settings: type[T],
    main: Callable[[T, list[str]], int],
    arguments: Sequence[str] | None = None,
    program: str | None = None,
) -> NoReturn:
    """Parse the command line into settings, do what it asks for and exit.

    Exit status: what ``main`` returns; 2 for a bad value, with one line on standard error; 130 for
    Ctrl-C, 143 for SIGTERM.

    Args:
        settings: dataclass of the settings.
        main: takes the settings, and the words that are no flags.
        arguments: words of the command line; those of the process if left out.
        program: module that ``--help`` names.
    """

    def answer() -> int:
        words = sys.argv[1:] if arguments is None else arguments
        _answer_at_once(settings, words, program)
        declared = get_type_hints(settings)
        check_words(declared, words)
        parse = partial(
            tyro.cli, settings, args=arguments, prog=program and f"python -m {program}",
            config=(tyro.conf.FlagCreatePairsOff,), return_unknown_args=True,
        )  # fmt: skip
        return main(*_parse(parse, declared, words))

    _exit_with(answer)


def run_functions(*asked: Callable[..., object]) -> NoReturn:
    """Call the function whose arguments the command line has as flags, and exit likewise.

    Args:
        asked: the function, whose docstring describes it and its arguments; of several, the first
            word of the command line names one.
    """
    named = {one.__name__: _later(one) for one in asked}
    (only, *more) = named.values()

    def answer() -> int:
        words = sys.argv[1:]
        chosen = named.get(words[0] if more and words else "", only)
        declared = {} if asks_for_help(words) else get_type_hints(chosen)
        check_words(declared, words)
        parse = partial(subcommand_cli_from_dict, named) if more else partial(tyro.cli, only)
        _parse(parse, declared, words)()
        return 0

    _exit_with(answer)


def _later(function: Callable[..., object]) -> Callable[..., Callable[[], object]]:
    """The same function for the parser, that is called after what the parser says was read."""

    @wraps(function)
    def bind(*values: Any, **named: Any) -> Callable[[], object]:
        return partial(function, *values, **named)

    return bind


def _exit_with(answer: Callable[[], int]) -> NoReturn:
    """Exit with the status of an answer, or with one line and a status for trouble."""
    be_normal()
    # An answer is no error where the encoding of the output lacks one of its signs.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        status = answer()
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has read enough, as ``head`` does. What was asked for is done and written.
        _close_output()
        finish(0)
    except (ValueError, OSError) as error:
        leave(f"error: {error}", 2)
    except InterruptedSweepError as stop:
        cells = how_many(stop.jobs, "cell is", "cells are")
        future = (
            "done and kept; the same command goes on from there"
            if stop.kept
            else "done, and not kept; the same command starts again"
        )
        leave(f"interrupted: {stop.finished} of {cells} {future}", status_of_interrupt())
    except KeyboardInterrupt:
        leave("interrupted", status_of_interrupt())
    finish(status)


def _answer_at_once(settings: type[T], words: Sequence[str], program: str | None) -> None:
    """Answer what asks for help or for the version."""
    if "--version" in words:
        print(f"lora-dropout {version('lora-dropout')}")
    elif asks_for_help(words):
        print(help_text(settings, program or "probes"))
    else:
        return
    sys.stdout.flush()
    finish(0)


@contextmanager
def before_the_answer() -> Iterator[None]:
    """Let a closed pipe be an error while only messages are said: what was asked for is not done.

    Yields:
        While nothing of the answer is printed.

    Raises:
        OSError: nobody reads standard error.
    """
    try:
        yield
    except BrokenPipeError:
        raise OSError("standard error is a pipe that nobody reads") from None


def _close_output() -> None:
    """Send what is still waiting nowhere: the pipe is closed."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


def _parse(parse: Callable[[], T], declared: Mapping[str, Any], words: Sequence[str]) -> T:
    """Parse by tyro; what it complains of becomes one line."""
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            return parse()
    except SystemExit as stop:
        if not stop.code:
            raise
    leave(f"error: {refusal(declared, words, complaint.getvalue())} (see --help)", 2)


def check_no_words(settings: type[Any], words: Sequence[str]) -> None:
    """Refuse words that are no flags.

    Args:
        settings: dataclass of the flags.
        words: that nothing took.

    Raises:
        ValueError: there are any; the message names the nearest flag.
    """
    if not words:
        return
    flags = [f"--{field.name.replace('_', '-')}" for field in fields(settings)]
    unknown = next((word for word in words if word.startswith("--")), words[0])
    # Behind "--" a flag is none.
    hint = "" if unknown in flags else did_you_mean(unknown.partition("=")[0], flags)
    raise ValueError(f"unknown arguments: {' '.join(words)}{hint} (see --help)")


def print_document(document: str) -> None:
    """Print what another program reads: in UTF-8, whatever the encoding of the output.

    Args:
        document: of which nothing may be lost, such as JSON.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    print(document)


def leave(message: str, status: int) -> NoReturn:
    """Print one line on standard error, whatever a value in it holds, and exit.

    Args:
        message: its lines are joined.
        status: of the process.
    """
    ignore_signals()
    line = " ".join(message.splitlines())
    with suppress(BrokenPipeError):
        print(line.encode(errors="backslashreplace").decode(), file=sys.stderr)
    finish(status)

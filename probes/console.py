"""How the command lines behave: tables on standard output, one line and a status for trouble."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from itertools import takewhile
from typing import Literal, NoReturn, TypeVar

import pandas as pd
import tyro
from rich.console import Console
from rich.table import Table

from probes.interrupt import STATUS, be_normal
from probes.sweep import InterruptedSweepError
from probes.tails import SATURATED

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


def print_table(table: pd.DataFrame, title: str, caption: str = "", width: int = 160) -> None:
    """Print a table whose cells are text already; ``width`` is that of a pipe."""
    shown = Table(
        title=title, caption=caption or None, title_justify="left", caption_justify="left"
    )
    for column in table.columns:
        # Where it is narrow, what does not fit goes on in the next line: no digit is cut off.
        justify: Literal["left", "right"] = "left" if column in TEXT_COLUMNS else "right"
        shown.add_column(column, justify=justify, overflow="fold")
    for row in table.itertuples(index=False):
        shown.add_row(*(str(value) for value in row))
    # A pipe has no width: the table then fits, instead of being folded at 80 columns.
    console = Console() if sys.stdout.isatty() else Console(width=width)
    console.print(shown)


def train_losses(summary: pd.DataFrame) -> list[str]:
    """Format the column ``train_loss``; what is near 0 is marked, as beta then means little."""
    return [
        f"{loss:.4f}" + (" (near 0)" if loss < SATURATED else "") for loss in summary["train_loss"]
    ]


def with_interval(summary: pd.DataFrame, name: str) -> list[str]:
    """Format means with the half width of their interval, which is symmetric.

    Args:
        summary: with columns ``name`` and ``name_low``.
        name: of the quantity.
    """
    return [
        f"{mean:.4f}" if pd.isna(low) else f"{mean:.4f} ± {mean - low:.4f}"
        for mean, low in zip(summary[name], summary[f"{name}_low"], strict=True)
    ]


#: Columns of words, set to the left; all others are numbers.
TEXT_COLUMNS = (
    "inference", "statement", "reading", "data", "assumptions", "assumption", "found", "verdict",
    "control", "quantity", "how", "part", "arm", "method",
)  # fmt: skip

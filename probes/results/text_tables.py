"""Tables as text: how numbers are written, and how a table is printed."""

import sys
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from probes.metrics.change_statistics import SATURATED


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
    "control", "quantity", "how", "part", "variant", "method",
)  # fmt: skip

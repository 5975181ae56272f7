"""Where a benchmark keeps its table: a JSON file of rows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probes.jobs.atomic_files import write_whole
from probes.jobs.validation import require


def check_place(path: Path) -> None:
    """Refuse, before anything is measured, a file that could not be written.

    Args:
        path: of the file.

    Raises:
        ValueError: its folder is not there, or it is a folder itself.
    """
    there = path.parent.is_dir() and not path.is_dir()
    require(there, "json", "a file in a folder that is there", path)


def keep_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as :func:`keep` does.

    Args:
        path: of the file.
        rows: values that JSON knows, by column.
    """
    keep(path, json.dumps(rows, indent=1))


def keep(path: Path, text: str) -> None:
    """Write the file whole or not at all: the benchmark may run out of time now.

    Args:
        path: of the file.
        text: its contents.
    """
    write_whole(path, lambda whole: whole.write_text(text))

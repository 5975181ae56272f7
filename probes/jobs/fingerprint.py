"""What a kept cell depends on: its settings and the code that measures it."""

import hashlib
import json
from dataclasses import asdict
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


#: The packages whose code determines a cell's numbers.
MEASURING = ("lora_dropout", "probes")


def cell_key(cell: Any) -> str:
    """Name a cell by its settings and by the code that measures it.

    A cell that was measured by other code is not taken for this one: a change of the trainer would
    otherwise go unnoticed behind old files.
    """
    settings = json.dumps([type(cell).__name__, asdict(cell)], sort_keys=True)
    return hashlib.sha256(f"{settings} {code_fingerprint()}".encode()).hexdigest()[:24]


@cache
def code_fingerprint() -> str:
    """Hash of the source of the packages that determine a cell's numbers."""
    digest = hashlib.sha256()
    for package in MEASURING:
        folder = Path(next(iter(import_module(package).__path__)))
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.relative_to(folder).as_posix().encode() + source.read_bytes())
    return digest.hexdigest()[:16]

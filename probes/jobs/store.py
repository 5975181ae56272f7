"""A folder of finished cells: one Parquet file a cell and kind of table."""

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    pass
from probes.jobs.atomic_files import make_folder, write_whole
from probes.jobs.fingerprint import cell_key
from probes.jobs.sealed_tables import read_sealed, write_sealed


class Store:
    """A folder of finished cells.

    Args:
        folder: made if it is missing.

    Raises:
        ValueError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.cells = make_folder(folder), make_folder(folder / "cells")

    def path(self, cell: Any, kind: str = "") -> Path:
        """Where a cell's rows are kept, or another kind of table of it."""
        return self.cells / f"{cell_key(cell)}{kind}.parquet"

    def load(self, cell: Any, kind: str = "") -> pd.DataFrame | None:
        """Return a finished cell's rows, or another kind of table; None if there is none.

        A file that cannot be read is named on standard error and set aside, and its cell counts as
        not done.
        """
        path = self.path(cell, kind)
        try:
            return read_sealed(path)
        except FileNotFoundError:
            return None
        except ValueError:
            aside = path.with_suffix(".damaged")
            # Another sweep in this folder may have been faster.
            with suppress(FileNotFoundError):
                path.replace(aside)
                print(
                    f"{path} is damaged: set aside as {aside.name}, computed again",
                    file=sys.stderr,
                )
            return None

    def save(self, cell: Any, table: pd.DataFrame, kind: str = "") -> None:
        """Keep a cell's rows, or another kind of table.

        Raises:
            ValueError: the file cannot be written.
        """
        write_whole(self.path(cell, kind), partial(write_sealed, table))

"""A folder of finished jobs: one Parquet file a job and kind of table."""

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from probes.jobs.atomic_files import make_folder, write_whole
from probes.jobs.fingerprint import job_key
from probes.jobs.job import TableKind
from probes.jobs.sealed_tables import DamagedTableError, read_sealed, write_sealed

#: Folder of the files, within that of a run.
CELLS = "cells"


class Store:
    """A folder of finished jobs.

    Args:
        folder: made if it is missing.
        code: fingerprint of the code that runs the jobs.

    Raises:
        ValueError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, code: str) -> None:
        self.folder, self.cells = make_folder(folder), make_folder(folder / CELLS)
        self.code = code
        self._used: dict[str, None] = {}

    @property
    def used(self) -> list[str]:
        """Names of the files of rows that this store has read or written, in order, each once."""
        return list(self._used)

    def path(self, job: Any, kind: TableKind = TableKind.ROWS) -> Path:
        """Say where a table of a job is kept.

        Args:
            job: whose table.
            kind: of the table.

        Returns:
            Path of the Parquet file, whether it is there or not.
        """
        return self.cells / f"{job_key(job, self.code)}.{kind}.parquet"

    def load(self, job: Any, kind: TableKind = TableKind.ROWS) -> pd.DataFrame | None:
        """Return a table of a finished job.

        A file whose contents are damaged is named on standard error and set aside, and its job
        counts as not done.

        Args:
            job: whose table.
            kind: of the table.

        Returns:
            The table; None if there is none.

        Raises:
            ValueError: the file cannot be read for another reason, and is left as it is.
        """
        path = self.path(job, kind)
        try:
            table = read_sealed(path)
        except FileNotFoundError:
            return None
        except DamagedTableError:
            _set_aside(path)
            return None
        except (OSError, MemoryError) as error:
            memory = isinstance(error, MemoryError)
            reason = "not enough memory" if memory else getattr(error, "strerror", None) or error
            raise ValueError(f"{path} cannot be read ({reason}); it is left as it is") from None
        self._note(path, kind)
        return table

    def save(self, job: Any, table: pd.DataFrame, kind: TableKind = TableKind.ROWS) -> None:
        """Keep a table of a job.

        Args:
            job: whose table.
            table: what is kept.
            kind: of the table.

        Raises:
            ValueError: the file cannot be written.
        """
        path = self.path(job, kind)
        write_whole(path, partial(write_sealed, table))
        self._note(path, kind)

    def _note(self, path: Path, kind: TableKind) -> None:
        if kind is TableKind.ROWS:
            self._used[path.name] = None


def _set_aside(path: Path) -> None:
    aside = path.with_suffix(".damaged")
    # Another sweep in this folder may have been faster.
    with suppress(FileNotFoundError):
        path.replace(aside)
        print(f"{path} is damaged: set aside as {aside.name}, computed again", file=sys.stderr)

"""Rows on disk: one Parquet file a cell, written whole or not at all."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Name of the digest among the metadata of a Parquet file.
SEAL = b"lora-dropout-contents"
#: The packages whose code determines a cell's numbers.
MEASURING = ("lora_dropout", "probes")


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


def write_sealed(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, with a digest of its contents among the metadata."""
    content = pa.Table.from_pandas(table)
    # Of what Arrow makes of it, as a missing value may come back as another kind of nothing.
    seal = {SEAL: contents_digest(content.to_pandas()).encode()}
    pq.write_table(content.replace_schema_metadata((content.schema.metadata or {}) | seal), path)


def read_sealed(path: Path) -> pd.DataFrame:
    """Read what :func:`write_sealed` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not what was written.
    """
    try:
        content = pq.read_table(path)
        table = content.to_pandas()
        intact = (content.schema.metadata or {}).get(SEAL) == contents_digest(table).encode()
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a reader says of bytes that are no Parquet
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not intact:
        raise ValueError(f"{path} does not hold what was written")
    return table


def contents_digest(table: pd.DataFrame) -> str:
    """Hash the values, names and types of a table: what a reader gets of it."""
    digest = hashlib.sha256(repr([*zip(table.columns, table.dtypes, strict=True)]).encode())
    digest.update(pd.util.hash_pandas_object(table).to_numpy().tobytes())
    return digest.hexdigest()


def make_folder(folder: Path) -> Path:
    """Make a folder for output, if it is missing, and return it.

    Raises:
        ValueError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(
            f"out must be a folder that can be written; got {folder} ({reason})"
        ) from None
    return folder


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that nobody sees half of it.

    Raises:
        ValueError: it cannot be written, as on a full disk; what was there before still is.
    """
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".partial")
        os.close(handle)
        write(Path(name))
        os.chmod(name, ORDINARY_MODE)
        os.replace(name, path)
    except BaseException as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritten(path, error) from None
        raise


def unwritten(path: Path, error: Exception) -> ValueError:
    """Say that a path cannot be written, and why."""
    reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
    return ValueError(
        f"{path} cannot be written ({reason}); what is finished is kept, and the same command "
        "goes on from there"
    )


def _ordinary_mode() -> int:
    """Permissions of a file made in the ordinary way; temporary files are their owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


#: Read once: asking for the mask sets it, for all threads.
ORDINARY_MODE = _ordinary_mode()


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a figure as PNG, whole or not at all."""
    write_whole(path, partial(figure.savefig, format="png"))


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

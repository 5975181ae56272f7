"""Tables on disk with a digest of their contents, so that damage is noticed."""

import hashlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

#: Name of the digest among the metadata of a Parquet file.
SEAL = b"lora-dropout-contents"


class DamagedTableError(ValueError):
    """A file does not hold what was written."""


def write_sealed(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, with a digest of its contents among the metadata.

    Args:
        table: what is written.
        path: of the file.
    """
    content = pa.Table.from_pandas(table)
    # Of what Arrow makes of it, as a missing value may come back as another kind of nothing.
    seal = {SEAL: contents_digest(content.to_pandas()).encode()}
    pq.write_table(content.replace_schema_metadata((content.schema.metadata or {}) | seal), path)


def read_sealed(path: Path) -> pd.DataFrame:
    """Read what :func:`write_sealed` wrote.

    Raises:
        DamagedTableError: the file's contents are not what was written.
        OSError: the file is not there, or cannot be read; that says nothing of its contents.
        MemoryError: there is too little memory to read it; nor does that.
    """
    # Read first, then parsed: Arrow calls damaged contents an OSError, too.
    content = path.read_bytes()
    try:
        read = pq.read_table(pa.BufferReader(content))
        table = read.to_pandas()
        intact = (read.schema.metadata or {}).get(SEAL) == contents_digest(table).encode()
    except MemoryError:
        raise
    except Exception as error:  # whatever a reader says of bytes that are no Parquet
        raise DamagedTableError(f"{path} cannot be read: {error}") from None
    if not intact:
        raise DamagedTableError(f"{path} does not hold what was written")
    return table


def contents_digest(table: pd.DataFrame) -> str:
    """Hash the values, names and types of a table: what a reader gets of it."""
    digest = hashlib.sha256(repr([*zip(table.columns, table.dtypes, strict=True)]).encode())
    digest.update(pd.util.hash_pandas_object(table).to_numpy().tobytes())
    return digest.hexdigest()

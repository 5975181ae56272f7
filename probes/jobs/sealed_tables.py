"""Tables on disk with a digest of their contents, so that damage is noticed."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    pass


#: Name of the digest among the metadata of a Parquet file.
SEAL = b"lora-dropout-contents"


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

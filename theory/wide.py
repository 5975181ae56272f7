r"""Numbers whose exponent has no end, so that no step of a formula leaves the range of a double.

The square of 1e-170 is not a double, and 0 in its place would turn the largest bound into the
smallest. The formulas are therefore computed with numbers :math:`m\,2^e` whose exponent is an
integer of its own; only the result goes back to a double, 0 or ``inf`` where no double is near.
Scaling by powers of two is exact: where doubles do not overflow or underflow, the result is that of
doubles, to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.domain import Real

#: Exponent of the number that stands for an infinite count. It is beyond the exponent of every
#: formula of doubles, and a sum of two such exponents is still an integer of 64 bits.
_ENDLESS = 2**40
#: Shift beyond which a double is 0 or inf, whatever it was.
_FAR = 3000


class Wide:
    """An array of numbers with the arithmetic of bounds at 0 and at infinity.

    - 0 times ``inf`` is 0: what is absent stays absent, however little is known of the other.
    - 0 over anything is 0, also over 0: a loss that does not move has stability 0, however flat
      the objective is.
    - Anything else over 0 is ``inf``, and so is ``inf`` over ``inf``: the bound says nothing.

    So no operation makes a ``nan``, but for the sum of ``inf`` and ``-inf``. Divisors are at least
    0, arguments of roots and logarithms too.

    Args:
        value: a number or an array, without ``nan``.

    >>> tiny = Wide(1e-170)
    >>> float((2 * tiny.squared() / (tiny * 1e-170)).array())
    2.0
    """

    __array_ufunc__ = None  # an array times a Wide is a Wide
    __slots__ = ("exponent", "mantissa")

    def __init__(self, value: ArrayLike) -> None:
        mantissa, exponent = np.frexp(np.asarray(value, np.float64))
        self.mantissa: Real = np.asarray(mantissa)
        self.exponent: NDArray[np.int64] = np.asarray(exponent, np.int64)

    @classmethod
    def count(cls, value: ArrayLike) -> Wide:
        """Return a count; ``inf`` becomes a number beyond all others, so that limits come out.

        Args:
            value: at least 1; ``inf`` is allowed.

        Returns:
            The count.
        """
        found = cls(value)
        endless = np.isinf(found.mantissa)
        return _normal(np.where(endless, 0.5, found.mantissa),
                       np.where(endless, _ENDLESS, found.exponent))  # fmt: skip

    def array(self) -> Real:
        """Return the nearest doubles: ``inf`` above their range, 0 below it."""
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(self.mantissa, np.clip(self.exponent, -_FAR, _FAR).astype(np.int32))

    def __mul__(self, other: Wide | ArrayLike) -> Wide:
        right = _wide(other)
        absent = (self.mantissa == 0) | (right.mantissa == 0)
        with np.errstate(invalid="ignore"):
            mantissa = np.where(absent, 0.0, self.mantissa * right.mantissa)
        return _normal(mantissa, self.exponent + right.exponent)

    def __truediv__(self, other: Wide | ArrayLike) -> Wide:
        right = _wide(other)
        with np.errstate(divide="ignore", invalid="ignore"):
            mantissa = self.mantissa / np.abs(right.mantissa)
        unknown = (right.mantissa == 0) | (np.isinf(self.mantissa) & np.isinf(right.mantissa))
        mantissa = np.where(unknown, np.copysign(np.inf, self.mantissa), mantissa)
        mantissa = np.where(self.mantissa == 0, 0.0, mantissa)
        return _normal(mantissa, self.exponent - right.exponent)

    def __add__(self, other: Wide | ArrayLike) -> Wide:
        right = _wide(other)
        lowest = np.minimum(self.exponent, right.exponent)  # that of 0 does not count
        common = np.maximum(
            np.where(self.mantissa == 0, lowest, self.exponent),
            np.where(right.mantissa == 0, lowest, right.exponent),
        )
        return _normal(self._at(common) + right._at(common), common)

    def __sub__(self, other: Wide | ArrayLike) -> Wide:
        right = _wide(other)
        return self + _normal(-right.mantissa, right.exponent)

    def __rtruediv__(self, other: ArrayLike) -> Wide:
        return Wide(other) / self

    __rmul__ = __mul__
    __radd__ = __add__

    def magnitude(self) -> Wide:
        """Return the absolute values."""
        return _normal(np.abs(self.mantissa), self.exponent)

    def squared(self) -> Wide:
        """Return the squares."""
        return self * self

    def root(self) -> Wide:
        """Return the square roots."""
        odd = self.exponent % 2
        return _normal(np.sqrt(np.ldexp(self.mantissa, odd.astype(np.int32))),
                       (self.exponent - odd) // 2)  # fmt: skip

    def log(self) -> Real:
        """Return the natural logarithms of positive numbers, as doubles."""
        value = self.array()
        double = (value >= np.finfo(np.float64).tiny) & (value < np.inf)
        outside = np.log(self.mantissa) + self.exponent * np.log(2)
        return np.where(double, np.log(np.where(double, value, 1.0)), outside)

    def sum(self, axis: int | None = None) -> Wide:
        """Return the sum over an axis, or over all entries.

        Args:
            axis: the axis that is removed.

        Returns:
            The sums; 0 of nothing.
        """
        lowest = np.iinfo(np.int64).min
        exponent = np.where(self.mantissa == 0, lowest, self.exponent)
        common = np.max(exponent, axis=axis, initial=lowest, keepdims=True)
        common = np.where(common == lowest, 0, common)
        total = np.asarray(np.sum(self._at(common), axis=axis))
        return _normal(total, common.reshape(total.shape))

    def _at(self, exponent: NDArray[np.int64]) -> Real:
        """The mantissas with a given exponent, which is not below their own."""
        shift = np.where(self.mantissa == 0, 0, self.exponent - exponent)
        with np.errstate(under="ignore"):
            return np.ldexp(self.mantissa, np.maximum(shift, -_FAR).astype(np.int32))


def _normal(mantissa: Real, exponent: NDArray[np.int64]) -> Wide:
    made = Wide(mantissa)
    regular = (made.mantissa != 0) & np.isfinite(made.mantissa)
    made.exponent = np.where(regular, made.exponent + exponent, 0)
    return made


def _wide(value: Wide | ArrayLike) -> Wide:
    return value if isinstance(value, Wide) else Wide(value)

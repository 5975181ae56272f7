"""The divergence of one coin from another, and how far two coins can be apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.bisection import largest_where
from theory.domain import Real, nonnegative, rate, unwrap

#: |y| below which y - ln(1 + y) is computed by a series, and how many terms have an effect.
NEAR, TERMS = 0.2, 9


def binary_kl(p: ArrayLike, q: ArrayLike) -> float | Real:
    r"""Kullback-Leibler divergence of a coin from another one.

    .. math:: d(p\,\|\,q)=p\ln\frac pq+(1-p)\ln\frac{1-p}{1-q}

    With :math:`x=q-p` it is :math:`p\,\varphi(x/p)+(1-p)\,\varphi(-x/(1-p))`, where
    :math:`\varphi(y)=y-\ln(1+y)\ge0`: both terms are positive, so that nothing cancels where the
    coins are nearly equal.

    Args:
        p: chance of success of the one coin, in [0, 1].
        q: that of the other, in [0, 1].

    Returns:
        The divergence in nats, of the broadcast shape; ``inf`` where q is 0 or 1 and p is not q.

    Raises:
        ValueError: an argument is out of range.

    >>> binary_kl(0.5, 0.75)
    0.14384103622589045
    """
    first, second = np.broadcast_arrays(rate("p", p), rate("q", q))
    return unwrap(
        _part(first, second - first, second) + _part(1 - first, first - second, 1 - second)
    )


def largest_excess(p: ArrayLike, divergence: ArrayLike) -> float | Real:
    r"""How far above p a chance of success can be at a given divergence.

    .. math:: \max\{q-p:\ q\ge p,\ d(p\,\|\,q)\le b\}

    The difference is found to the last bit where :math:`q` itself would round to p; the upper
    inverse of d is p plus it.

    Args:
        p: chance of success, in [0, 1].
        divergence: b, at least 0, in nats; ``inf`` allowed.

    Returns:
        The largest difference, in [0, 1 - p], of the broadcast shape.

    Raises:
        ValueError: an argument is out of range.

    >>> round(0.5 + largest_excess(0.5, 0.14384103622589045), 12)
    0.75
    """
    chance, budget = np.broadcast_arrays(rate("p", p), nonnegative("divergence", divergence))
    rest = 1 - chance
    # Squares of the smallest differences are 0 as doubles, but the coins are not equal.
    return unwrap(
        largest_where(
            lambda x: _part(chance, x, chance + x) + _part(rest, -x, rest - x) <= budget,
            np.where(budget == 0, 0.0, rest),
        )
    )


def _part(weight: Real, x: Real, end: Real) -> Real:
    """x - w ln(1 + x/w), at least 0, with w + x = ``end``; x at w = 0, where x is not negative."""
    with np.errstate(all="ignore"):
        y = np.where(x == 0, 0.0, x / weight)
        small = np.abs(y) < NEAR
        near = weight * _excess_over_log(np.where(small, y, 0.0))
        # Near y = -1 the sum 1 + y has few digits, and a ratio below the normal doubles too.
        ratio = end / weight
        log = np.where(ratio < 1e-300, np.log(end) - np.log(weight), np.log(ratio))
        far = x - weight * np.where(y < -0.5, log, np.log1p(y))
        if np.isinf(y).any():  # x / w can exceed the largest double
            log = np.log(np.abs(x)) - np.log(weight)
            far = np.where(np.isinf(y), x - np.where(weight > 0, weight * log, 0.0), far)
    return np.where(small, near, far)


def _excess_over_log(y: Real) -> Real:
    """y - ln(1 + y) near 0, by the series of the logarithm in y / (2 + y)."""
    r = y / (2 + y)
    square = np.square(r)
    series = np.zeros_like(y)
    for k in range(TERMS, 0, -1):
        series = series * square + 1 / (2 * k + 1)
    return r * (y - 2 * square * series)

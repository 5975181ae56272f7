"""Uniform stability with a weak dependence on n: Bousquet, Klochkov & Zhivotovskiy 2020."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, probability, unwrap
from theory.wide import Wide


def moment_gap_bound(
    *, loss_bound: ArrayLike, gamma: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bousquet, Klochkov and Zhivotovskiy's bound, with explicit constants.

    .. math:: |R-\hat R|\le2\gamma+e\Bigl(24\sqrt2\,\gamma\lceil\log_2n\rceil\ln\tfrac1\delta
       +4C\sqrt{\tfrac{\ln(1/\delta)}n}\Bigr),\qquad\delta\le e^{-2}

    The :math:`h_i` of :mod:`theory.second_moment` vary by :math:`2\gamma` with each other
    example. In a dyadic partition with :math:`\lceil\log_2n\rceil` levels, the bounded-difference
    and the Marcinkiewicz-Zygmund inequality (moments of order p, constants 2 and
    :math:`3\sqrt2`) bound a level by :math:`12\sqrt2\,pn\cdot2\gamma`, and the parts that depend on
    :math:`z_i` alone by :math:`4C\sqrt{pn}`. Markov's inequality at :math:`p=\ln(1/\delta)\ge2`
    costs the factor e.

    Source: Bousquet, Klochkov & Zhivotovskiy 2020, Theorem 4; the constants as derived above.

    Assumes: losses in [0, C], independent examples, and uniform stability under *replacement*: the
    loss changes by :math:`\gamma` at most at every point, for every S and every example that is
    replaced. It is at most twice the uniform stability under deletion.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        gamma: uniform stability under replacement, at least 0, in units of the loss; ``inf``
            allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape, never ``nan``; ``inf``
        where ``delta`` exceeds e^-2, of which the statement does not speak, and where
        ``loss_bound`` or ``gamma`` is ``inf``.

    Raises:
        ValueError: an argument is out of range.

    >>> moment_gap_bound(loss_bound=1.0, gamma=0.004, n=10_000, delta=0.05) > 1
    True
    """
    stability = Wide(nonnegative("gamma", gamma))
    ceiling = Wide(nonnegative("loss_bound", loss_bound))
    examples = count("n", n)
    order = -np.log(probability("delta", delta))
    levels = _levels(examples)
    spread = (Wide(order) / Wide.count(examples)).root()
    deviation = 24 * np.sqrt(2) * stability * levels * order + 4 * ceiling * spread
    return unwrap(np.where(order >= 2, (2 * stability + np.e * deviation).array(), np.inf))


def _levels(examples: Real) -> Real:
    """The logarithm to base 2, rounded up: that of 2^50 + 1 as a double would be 50."""
    mantissa, exponent = np.frexp(examples)
    return np.where(np.isinf(examples), np.inf, exponent - (mantissa == 0.5))

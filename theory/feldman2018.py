"""The second moment of the gap of a uniformly stable algorithm: Feldman & Vondrak 2018."""

from __future__ import annotations

from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, probability, unwrap
from theory.wide import Wide


def feldman_vondrak_gap_bound(
    *, loss_bound: ArrayLike, gamma: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Feldman and Vondrak's second moment, with Chebyshev's inequality.

    .. math:: |R-\hat R|\le\sqrt{\frac{16\gamma^2+2C^2/n}{\delta}}

    Source: Feldman & Vondrak 2018 (arXiv 1812.09859), whose constants follow from
    :mod:`theory.second_moment` too.

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
        The bound on the gap in units of the loss, of the broadcast shape; ``inf`` where
        ``loss_bound`` or ``gamma`` is, never ``nan``.

    Raises:
        ValueError: an argument is out of range.

    >>> round(feldman_vondrak_gap_bound(loss_bound=1.0, gamma=0.004, n=10_000, delta=0.05), 4)
    0.0955
    """
    stability = Wide(nonnegative("gamma", gamma))
    ceiling = Wide(nonnegative("loss_bound", loss_bound))
    moment = 16 * stability.squared() + 2 * ceiling.squared() / Wide.count(count("n", n))
    return unwrap((moment / probability("delta", delta)).root().array())

"""The second moment of the gap of a uniformly stable algorithm, with small constants."""

from __future__ import annotations

from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, probability, unwrap
from theory.wide import Wide


def second_moment_gap_bound(
    *, loss_bound: ArrayLike, gamma: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bound from the second moment of the gap of a uniformly stable algorithm.

    .. math:: |R-\hat R|\le\frac{2\gamma+\sqrt{\gamma^2+C^2/(4n)}}{\sqrt\delta}

    Let :math:`h_i` be the risk less the loss at :math:`z_i` of the model with :math:`z_i` replaced
    by a fresh example, averaged over that. It is within :math:`2\gamma` of its value for the model
    itself, has mean 0 over :math:`z_i` and variance at most :math:`C^2/4`. As a function of another
    :math:`z_j` it varies by at most :math:`2\gamma`, so by at most :math:`\gamma^2` in variance.
    Mean 0 makes :math:`\mathbb E h_ih_j` the covariance of the parts of :math:`h_i` that vary with
    :math:`z_j` and of :math:`h_j` with :math:`z_i`, hence at most :math:`\gamma^2`. So the mean of
    the :math:`h_i` has second moment at most :math:`\gamma^2+C^2/(4n)`; Minkowski's and Chebyshev's
    inequalities give the statement.

    Source: derived here. It implies :math:`\mathbb E[\mathrm{gap}^2]\le16\gamma^2+2C^2/n`, the form
    of Feldman & Vondrak 2018; see :mod:`theory.feldman2018`.

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

    >>> round(second_moment_gap_bound(loss_bound=1.0, gamma=0.004, n=10_000, delta=0.05), 3)
    0.064
    """
    stability = Wide(nonnegative("gamma", gamma))
    ceiling = Wide(nonnegative("loss_bound", loss_bound))
    spread = (stability.squared() + ceiling.squared() / (4 * Wide.count(count("n", n)))).root()
    bound = (2 * stability + spread) / Wide(probability("delta", delta)).root()
    return unwrap(bound.array())

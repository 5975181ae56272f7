"""Uniform stability, with high probability: Bousquet & Elisseeff 2002."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, probability, unwrap
from theory.wide import Wide


def uniform_stability_gap_bound(
    *, loss_bound: ArrayLike, beta: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bousquet and Elisseeff's exponential bound.

    .. math:: R-\hat R\le 2\beta+(4n\beta+C)\sqrt{\frac{\ln(1/\delta)}{2n}}

    Source: Bousquet & Elisseeff 2002 (JMLR 2), Theorem 12.

    Assumes: losses in [0, C], independent examples, and *uniform* stability: the loss changes by
    :math:`\beta` at most at every point, for every S and every example that is deleted.
    Minimisers of a strongly convex objective have it: Proposition 4.2's bound holds at every point.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        beta: uniform stability under deletion, at least 0, in units of the loss; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape, never ``nan``; at
        delta = 1, where nothing is claimed, :math:`2\beta`.

    Raises:
        ValueError: an argument is out of range.

    >>> round(uniform_stability_gap_bound(loss_bound=1.0, beta=0.002, n=10_000, delta=0.05), 2)
    1.0
    """
    stability, examples = Wide(nonnegative("beta", beta)), Wide.count(count("n", n))
    spread = (Wide(-np.log(probability("delta", delta))) / (2 * examples)).root()
    ceiling = nonnegative("loss_bound", loss_bound)
    return unwrap((2 * stability + (4 * examples * stability + ceiling) * spread).array())

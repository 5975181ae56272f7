"""The mean of a bounded variable from a sample: Hoeffding 1963."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.binary_kl import largest_excess
from theory.domain import Real, count, probability, rate, unwrap
from theory.wide import Wide


def sample_mean_bound(*, mean: ArrayLike, n: ArrayLike, delta: ArrayLike) -> float | Real:
    r"""Bound on the expectation of a variable in [0, 1], from the mean of a sample.

    .. math:: d(\hat\mu\,\|\,\mu)\le\frac{\ln(1/\delta)}n\quad\text{where }\mu\ge\hat\mu

    with probability at least :math:`1-\delta` over the sample; d is ``theory.binary_kl``. It bounds
    the risk from a test set (any loss in [0, 1]; for the 0-1 loss ``theory.langford2005`` is exact)
    and the mean over a posterior from networks drawn from it.

    Source: Hoeffding 1963 (JASA 58), Theorem 1, first inequality.

    Assumes: independent values in [0, 1] with the same expectation, which were not used to choose
    what they are values of.

    Args:
        mean: :math:`\hat\mu`, in [0, 1].
        n: size of the sample, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound, in [mean, 1], of the broadcast shape.

    Raises:
        ValueError: an argument is out of range.

    Without a mistake among 100, the bound is :math:`1-\delta^{1/100}`:

    >>> round(sample_mean_bound(mean=0.0, n=100, delta=0.05), 4)
    0.0295
    """
    rarity = Wide(-np.log(probability("delta", delta))) / Wide.count(count("n", n))
    found = rate("mean", mean)
    return unwrap(np.asarray(found + largest_excess(found, np.maximum(rarity.array(), 0))))

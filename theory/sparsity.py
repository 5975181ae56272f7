"""The sparsity that LoRA Dropout puts on the weight update, and the penalty that it expects."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, finite, nonnegative, rate, unwrap
from theory.wide import Wide


def sparsity(p: ArrayLike, p_out: ArrayLike | None = None) -> float | Real:
    r"""Probability that an entry of the weight update is dropped.

    An entry of :math:`\Delta W = B A` survives when its input column and its output row both do:

    .. math:: s(p) = 1 - (1-p)^2 = 2p - p^2.

    Source: arXiv 2404.09610, Eq. 2 and the text of Section 4 ("2p - p^2").

    Assumes: rows and columns are dropped independently of each other.

    Args:
        p: dropout rate of A's input columns, in [0, 1]; any shape.
        p_out: dropout rate of B's output rows, in [0, 1]; equal to ``p`` if left out.

    Returns:
        s in [0, 1], of the broadcast shape; a float for scalar arguments. s(0) = 0, s(1) = 1.

    Raises:
        ValueError: a rate lies outside [0, 1].

    >>> sparsity(0.1)
    0.19
    >>> sparsity(0.5, 0.2)
    0.6
    """
    rate_in = rate("p", p)
    rate_out = rate_in if p_out is None else rate("p_out", p_out)
    # p + p' (1 - p) keeps its relative precision for tiny rates, 1 - (1-p)(1-p') does not.
    return unwrap(rate_in + rate_out * (1 - rate_in))


def expected_penalty(delta: ArrayLike, p: ArrayLike, strength: ArrayLike = 1.0) -> float | Real:
    r"""Expected squared norm of the dropped part of an update: the sparsity regularizer.

    .. math:: \lambda\,\mathbb E_d\|d\odot\Delta\|^2 = \lambda\,(2p-p^2)\,\|\Delta\|^2,
       \qquad d_{jk}\sim\mathrm{Bern}(2p-p^2).

    Only the marginal law of each entry of d counts (the expectation of a sum is the sum of the
    expectations), so the identity holds for the structured mask of whole rows and columns just as
    for independent entries.

    Source: arXiv 2404.09610, Eqs. 9-11.

    Args:
        delta: the update :math:`\theta-\theta_0`, finite, any shape; its norm runs over all
            entries.
        p: dropout rate in [0, 1]; any shape.
        strength: :math:`\lambda \ge 0`; broadcasts against ``p``; ``inf`` allowed.

    Returns:
        The penalty, of the broadcast shape of ``p`` and ``strength``, never ``nan``: 0 where p or
        the update is 0, otherwise ``inf`` where the strength is.

    Raises:
        ValueError: a rate outside [0, 1], a negative strength, or an update that is not finite.

    >>> expected_penalty([[3.0, 0.0], [0.0, 4.0]], p=0.5)
    18.75
    """
    squared_norm = Wide(finite("delta", delta)).squared().sum()
    penalty = Wide(nonnegative("strength", strength)) * np.asarray(sparsity(p)) * squared_norm
    return unwrap(penalty.array())

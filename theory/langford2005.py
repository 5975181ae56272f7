"""The error rate from a test set: Langford 2005."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.binomial import upper_limit
from theory.domain import Real, at_most, count, nonnegative, probability, unwrap, whole


def binomial_tail_bound(errors: ArrayLike, examples: ArrayLike, delta: ArrayLike) -> float | Real:
    r"""Bound on the error rate from a test set: the exact binomial tail.

    With k errors on m examples, with probability at least 1 - delta over the test set,

    .. math:: R\le\max\{r:\ \Pr(\mathrm{Bin}(m,r)\le k)\ge\delta\}

    It knows nothing of training.

    Source: Clopper & Pearson 1934; for learning, Langford 2005, "Tutorial on practical prediction
    theory for classification", the test set bound.

    Assumes: independent test examples that neither training nor the choice among networks has seen.

    Args:
        errors: number of wrong answers on the test set, a whole number from 0 to ``examples``.
        examples: its size, a whole number, at least 1.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the error rate, in [0, 1], of the broadcast shape; 1 where every answer is
        wrong.

    Raises:
        ValueError: an argument is out of range, or a count is not a whole number, or there are
            more errors than examples.

    >>> round(binomial_tail_bound(0, 100, 0.05), 4)
    0.0295
    """
    wrong = whole("errors", nonnegative("errors", errors))
    size = whole("examples", count("examples", examples))
    at_most("errors", wrong, "examples", size)
    limit = np.vectorize(upper_limit, otypes=[np.float64])
    return unwrap(limit(wrong, size, probability("delta", delta)))

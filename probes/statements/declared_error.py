r"""Tests of statements about the draw of S, with a declared error rate.

A bound that holds with probability exactly :math:`1-\delta` is exceeded in at least one of 20 draws
in 64 % of all runs, at :math:`\delta=0.05`. So it counts as violated only where an exact test
rejects that it fails with probability :math:`\delta` at most, at a level so small that true
statements fail a whole run with probability ``RUN_ERROR`` at most.
"""

import numpy as np

from probes.statements.linear_losses import Array

#: Probability that a run of the verifier reports any true statement about the draw as violated.
RUN_ERROR = 1e-3


def level(tests: int) -> float:
    """Level of each of so many tests: that of Bonferroni.

    Args:
        tests: at least 1.

    Returns:
        The level, at which all together err with probability ``RUN_ERROR`` at most.
    """
    return RUN_ERROR / tests


def mean_p_value(values: Array, largest: float, bound: float) -> float:
    r"""Return a p-value of "the expectation of bounded values is at most a bound".

    .. math:: \exp\bigl(-m\,d(\bar x\,\|\,b)\bigr)\ \text{for}\ \bar x>b,\quad\text{else }1,

    with values and bound in units of the largest, and d the relative entropy of two coins.

    Source: Hoeffding 1963, Theorem 1, in the form of Chernoff.

    Args:
        values: m independent values in [0, ``largest``].
        largest: positive.
        bound: on their expectation, at least 0.

    Returns:
        The p-value, in [0, 1].

    >>> mean_p_value(np.array([0.2, 0.4]), largest=1.0, bound=0.5)
    1.0
    """
    mean, limit = float(np.mean(values)) / largest, bound / largest
    if mean <= limit:
        return 1.0
    if limit == 0:
        return 0.0
    entropy = mean * np.log(mean / limit)
    if mean < 1:
        entropy += (1 - mean) * np.log((1 - mean) / (1 - limit))
    return float(np.exp(-len(values) * entropy))

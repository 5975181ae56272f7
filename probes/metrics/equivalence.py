"""Tests of equivalence: is a paired difference shown to be smaller than a margin?

A difference that is not significant may still be large. These tests reverse the hypotheses: the
null hypothesis is that the difference is at least as large as the margin. Rejecting it at 5 % shows
that the difference is smaller. The margin must be chosen before the differences are seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from probes.metrics.confidence_intervals import mean_p_value


def equivalence_p_value(
    differences: ArrayLike, margin: ArrayLike, *, overlap: float = 0.0
) -> float:
    r"""P-value of two one-sided tests (TOST) that the expected difference is within the margin.

    The hypothesis :math:`|\mathbb E d|\ge\mathbb E m` is rejected where Student's tests reject both
    :math:`\mathbb E[d-m]\ge0` and :math:`\mathbb E[d+m]\le0`. Where it is true, so is one of these
    two, and that one is rejected with a probability of at most the level: no correction is needed
    (an intersection-union test). With a margin that is a number, p is below 5 % where the 90 %
    interval of the difference lies within the margin.

    Source: Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power
    approach for assessing the equivalence of average bioavailability".

    Args:
        differences: d, one a draw, (draws,).
        margin: m, in units of the differences: a number above 0; or one a draw, which are then
            paired with the differences, so that what is not known of the margin counts.
        overlap: correlation of two draws, as for
            :func:`probes.metrics.confidence_intervals.mean_interval`.

    Returns:
        The p-value; NaN for fewer than two draws that are finite, 1 where nothing varies and the
        difference is as large as the margin.

    A value from the documentation of the package pingouin:

    >>> round(equivalence_p_value([-2, -1, 1, -4, -8, -7], 0.5), 6)
    0.954854
    """
    d, m = np.broadcast_arrays(np.asarray(differences, np.float64), margin)
    # An infinite margin belongs to a draw in which a network diverged: it is not known.
    m = np.where(np.isfinite(m), m, np.nan)
    return max(_below_zero(d - m, overlap), _below_zero(-d - m, overlap))


def relative_equivalence_p_value(
    differences: ArrayLike, effects: ArrayLike, share: float, *, overlap: float = 0.0
) -> float:
    r"""P-value of the test that a difference is within a share of an effect.

    The hypothesis is :math:`|\mathbb E d|\ge f\,|\mathbb E e|`, with an effect e that is measured
    on the same draws and whose sign is not known. For each sign s the margin :math:`f\,s\,e` is
    tested by :func:`equivalence_p_value`; the smaller p-value counts twice, for the two signs
    (Bonferroni). What is not known of the effect counts as what is not known of the difference. An
    effect that is 0 has no share within which anything could lie, and is rejected at the level at
    most.

    Source: derived here, from the test above.

    Args:
        differences: d, one a draw, (draws,).
        effects: e, of the same draws, (draws,), in units of the differences.
        share: f, in (0, 1).
        overlap: as for :func:`equivalence_p_value`.

    Returns:
        The p-value, in [0, 1]; NaN for fewer than two draws in which both are finite.

    >>> relative_equivalence_p_value([0.0, 0.1, -0.1], [-2.0, -2.1, -1.9], 0.25) < 0.05
    True
    """
    margin = share * np.asarray(effects, np.float64)
    p_values = [equivalence_p_value(differences, s * margin, overlap=overlap) for s in (1, -1)]
    return min(1.0, 2 * min(p_values)) if np.isfinite(p_values).all() else float("nan")


def _below_zero(values: np.ndarray, overlap: float) -> float:
    """One-sided p-value of Student's test against an expectation of at least 0."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return float("nan")
    p_value = mean_p_value(finite, overlap=overlap)
    if np.isnan(p_value):  # all of them are 0
        return 1.0
    return p_value / 2 if finite.mean() < 0 else 1 - p_value / 2

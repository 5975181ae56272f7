"""Test-time ensembles: Theorem 4.5 and the 1/N law."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, above_minus_infinity, count, entries_along, unwrap
from theory.wide import Wide


def ensemble_risk_bound(member_risks: ArrayLike, axis: int = 0) -> float | Real:
    r"""Bound of Theorem 4.5 on the risk of an averaged output: the average risk of its members.

    .. math:: \ell\Bigl(\frac1N\sum_k f_k(x), y\Bigr) \le \frac1N\sum_k \ell(f_k(x), y)

    Source: arXiv 2404.09610, Theorem 4.5 (Jensen's inequality).

    Assumes: the loss is convex in the activation that is averaged (cross-entropy in the logits and
    the squared error are, the 0-1 loss is not). The comparison is with the *average member*; it
    says nothing about the deterministic expected-weight network.

    Convexity in the parameters, which the appendix asks for (Theorem A.3), is not enough. The
    output θ² under the loss √f has the loss \|θ\|, convex in θ: of θ = 0 and 2 the members lose
    0 and 2, 1 on average, and their averaged output, 2, loses √2. What follows from it is a bound
    for another network, that of the mean parameters.

    Args:
        member_risks: loss or risk of each of the N sampled models, in units of the loss; ``inf``
            allowed.
        axis: the axis of the members.

    Returns:
        The bound, with ``axis`` removed; ``inf`` where a risk is, never ``nan``.

    Raises:
        ValueError: there is no member, or a risk is ``nan`` or ``-inf``.

    >>> ensemble_risk_bound([1.0, 0.5, 0.75])
    0.75
    """
    risks = above_minus_infinity("member_risks", member_risks)
    members = entries_along("the number of members", risks, axis)
    return unwrap((Wide(risks).sum(axis) / members).array())


def ensemble_cross_entropy(
    limit: ArrayLike, spread: ArrayLike, ensemble: ArrayLike
) -> float | Real:
    r"""Expected cross-entropy of an ensemble of N whose logits are averaged, to second order.

    .. math:: R_N \approx R_\infty + \frac{\mathrm{tr}(H\,\mathrm{Cov}\,z)}{2N},
       \qquad H=\mathrm{diag}\,\pi-\pi\pi^\top

    The averaged logits have the covariance Cov z / N; the cross-entropy's Hessian in the logits is
    H at their softmax :math:`\pi`. Good where the logits vary little beside 1, so for large N.

    Args:
        limit: :math:`R_\infty`, the cross-entropy of the mean logits, in nats; ``inf`` allowed.
        spread: mean over examples of :math:`\mathrm{tr}(H\,\mathrm{Cov}\,z)`, at the mean logits;
            ``inf`` allowed.
        ensemble: N, at least 1; ``inf`` stands for the limit.

    Returns:
        The prediction in nats, of the broadcast shape; ``inf`` where ``limit`` or ``spread`` is,
        never ``nan``.

    Raises:
        ValueError: ``ensemble`` is below 1, or another argument is ``nan`` or ``-inf``.

    >>> ensemble_cross_entropy(limit=0.5, spread=0.8, ensemble=4)
    0.6
    """
    return unwrap(_second_order(limit, "spread", spread, ensemble).array())


def ensemble_cross_entropy_of_probabilities(
    limit: ArrayLike, relative_variance: ArrayLike, ensemble: ArrayLike
) -> float | Real:
    r"""The same for averaged probabilities.

    .. math:: R_N \approx R_\infty + \frac{1}{2N}\,
       \mathbb E\,\frac{\mathrm{Var}(p_y)}{\bar p_y^2}

    The loss is :math:`-\log` of the averaged probability of the label, whose second derivative is
    :math:`1/\bar p_y^2`.

    Args:
        limit: :math:`R_\infty`, the mean of :math:`-\log\bar p_y`, in nats; ``inf`` allowed.
        relative_variance: mean over examples of :math:`\mathrm{Var}(p_y)/\bar p_y^2`; ``inf``
            allowed.
        ensemble: N, at least 1; ``inf`` stands for the limit.

    Returns:
        The prediction in nats, of the broadcast shape; ``inf`` where ``limit`` or
        ``relative_variance`` is, never ``nan``.

    Raises:
        ValueError: ``ensemble`` is below 1, or another argument is ``nan`` or ``-inf``.

    >>> ensemble_cross_entropy_of_probabilities(limit=0.5, relative_variance=0.8, ensemble=4)
    0.6
    """
    return unwrap(_second_order(limit, "relative_variance", relative_variance, ensemble).array())


def ensemble_risk(single: ArrayLike, limit: ArrayLike, ensemble: ArrayLike) -> float | Real:
    r"""Expected risk of an ensemble of N under squared loss: the 1/N law.

    .. math:: R_N = R_\infty + \frac{R_1 - R_\infty}{N}

    For independent masks the averaged output has the mean of one member and 1/N of its variance,
    and the expected squared error is squared bias plus variance, so the law is exact.

    Source: derived above; the paper states only that the ensemble tightens the bound.

    Args:
        single: :math:`R_1`, the average risk of one sampled member; ``inf`` allowed.
        limit: :math:`R_\infty`, the risk of the mean output, at most :math:`R_1` but for rounding.
        ensemble: N, at least 1; ``inf`` stands for the limit.

    Returns:
        :math:`R_N`, of the broadcast shape; ``inf`` where a risk is, never ``nan``.

    Raises:
        ValueError: ``ensemble`` is below 1, or a risk is ``nan`` or ``-inf``.

    >>> ensemble_risk(single=1.0, limit=0.5, ensemble=4)
    0.625
    """
    members = Wide.count(count("ensemble", ensemble))
    floor = above_minus_infinity("limit", limit)
    risk = above_minus_infinity("single", single)
    # An infinite limit is the answer already: no difference of two infinite risks is taken.
    excess = Wide(risk) - np.where(np.isinf(floor), 0.0, floor)
    return unwrap((floor + excess / members).array())


def _second_order(limit: ArrayLike, name: str, spread: ArrayLike, ensemble: ArrayLike) -> Wide:
    members = Wide.count(count("ensemble", ensemble))
    return above_minus_infinity("limit", limit) + Wide(above_minus_infinity(name, spread)) / (
        2 * members
    )

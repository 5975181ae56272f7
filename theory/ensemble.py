"""Test-time ensembles: Theorem 4.5 and the 1/N law."""

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, count, unwrap


def ensemble_risk_bound(member_risks: ArrayLike, axis: int = 0) -> float | Real:
    r"""Bound of Theorem 4.5 on the risk of an averaged output: the average risk of its members.

    .. math:: \ell\Bigl(\frac1N\sum_k f_k(x), y\Bigr) \le \frac1N\sum_k \ell(f_k(x), y)

    Source: arXiv 2404.09610, Theorem 4.5 (Jensen's inequality).

    Assumes: the loss is convex in the activation that is averaged (cross-entropy in the logits and
    the squared error are, the 0-1 loss is not). The comparison is with the *average member*; it
    says nothing about the deterministic expected-weight network.

    Args:
        member_risks: loss or risk of each of the N sampled models, in units of the loss.
        axis: the axis of the members.

    Returns:
        The bound, with ``axis`` removed.

    Raises:
        ValueError: there is no member.

    >>> ensemble_risk_bound([1.0, 0.5, 0.75])
    0.75
    """
    risks = np.asarray(member_risks, dtype=np.float64)
    count("the number of members", risks.shape[axis])
    return unwrap(risks.mean(axis=axis))


def ensemble_cross_entropy(
    limit: ArrayLike, spread: ArrayLike, ensemble: ArrayLike
) -> float | Real:
    r"""Expected cross-entropy of an ensemble of N whose logits are averaged, to second order.

    .. math:: R_N \approx R_\infty + \frac{\mathrm{tr}(H\,\mathrm{Cov}\,z)}{2N},
       \qquad H=\mathrm{diag}\,\pi-\pi\pi^\top

    The averaged logits have the covariance Cov z / N; the cross-entropy's Hessian in the logits is
    H at their softmax :math:`\pi`. Good where the logits vary little beside 1, so for large N.

    Args:
        limit: :math:`R_\infty`, the cross-entropy of the mean logits, in nats.
        spread: mean over examples of :math:`\mathrm{tr}(H\,\mathrm{Cov}\,z)`, at the mean logits.
        ensemble: N, at least 1.

    Returns:
        The prediction in nats, of the broadcast shape.

    Raises:
        ValueError: ``ensemble`` is below 1.

    >>> ensemble_cross_entropy(limit=0.5, spread=0.8, ensemble=4)
    0.6
    """
    members = count("ensemble", ensemble)
    return unwrap(np.asarray(limit, np.float64) + np.asarray(spread, np.float64) / (2 * members))


def ensemble_cross_entropy_of_probabilities(
    limit: ArrayLike, relative_variance: ArrayLike, ensemble: ArrayLike
) -> float | Real:
    r"""The same for averaged probabilities.

    .. math:: R_N \approx R_\infty + \frac{1}{2N}\,
       \mathbb E\,\frac{\mathrm{Var}(p_y)}{\bar p_y^2}

    The loss is :math:`-\log` of the averaged probability of the label, whose second derivative is
    :math:`1/\bar p_y^2`.

    Args:
        limit: :math:`R_\infty`, the mean of :math:`-\log\bar p_y`, in nats.
        relative_variance: mean over examples of :math:`\mathrm{Var}(p_y)/\bar p_y^2`.
        ensemble: N, at least 1.

    Returns:
        The prediction in nats, of the broadcast shape.

    Raises:
        ValueError: ``ensemble`` is below 1.

    >>> ensemble_cross_entropy_of_probabilities(limit=0.5, relative_variance=0.8, ensemble=4)
    0.6
    """
    return ensemble_cross_entropy(limit, relative_variance, ensemble)


def ensemble_risk(single: ArrayLike, limit: ArrayLike, ensemble: ArrayLike) -> float | Real:
    r"""Expected risk of an ensemble of N under squared loss: the 1/N law.

    .. math:: R_N = R_\infty + \frac{R_1 - R_\infty}{N}

    For independent masks the averaged output has the mean of one member and 1/N of its variance,
    and the expected squared error is squared bias plus variance, so the law is exact.

    Source: derived above; the paper states only that the ensemble tightens the bound.

    Args:
        single: :math:`R_1`, the average risk of one sampled member.
        limit: :math:`R_\infty \le R_1`, the risk of the mean output.
        ensemble: N, at least 1.

    Returns:
        :math:`R_N`, of the broadcast shape.

    Raises:
        ValueError: ``ensemble`` is below 1.

    >>> ensemble_risk(single=1.0, limit=0.5, ensemble=4)
    0.625
    """
    members = count("ensemble", ensemble)
    floor = np.asarray(limit, np.float64)
    return unwrap(floor + (np.asarray(single, np.float64) - floor) / members)

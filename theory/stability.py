"""Pointwise hypothesis stability: Definition 4.1 and Proposition 4.2."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import (
    Real,
    above_minus_infinity,
    count,
    entries_along,
    nonnegative,
    unwrap,
)
from theory.sparsity import sparsity
from theory.wide import Wide


def pointwise_stability(
    loss_left_out: ArrayLike, loss_kept: ArrayLike, axis: int = -1
) -> float | Real:
    r"""Empirical pointwise hypothesis stability of one training set.

    .. math:: \hat\beta = \frac1n\sum_{i=1}^n
       \bigl|\ell(M(S^i), z_i) - \ell(M(S), z_i)\bigr|.

    Definition 4.1 is the expectation of this over the draw of S; average it over draws.

    Source: arXiv 2404.09610, Definition 4.1; Bousquet & Elisseeff 2002, Definition 4.

    Args:
        loss_left_out: :math:`\ell(M(S^i), z_i)`, the loss on example i of the model trained
            without it; n values along ``axis``, n at least 1, ``inf`` allowed.
        loss_kept: :math:`\ell(M(S), z_i)`, of the same shape.
        axis: the axis of the examples.

    Returns:
        The mean absolute difference, with ``axis`` removed; ``inf`` where a loss is, never ``nan``.

    Raises:
        ValueError: there is no example, the shapes differ, or a loss is ``nan`` or ``-inf``.

    >>> pointwise_stability([1.0, 0.5], [0.5, 0.75])
    0.375
    """
    left_out = above_minus_infinity("loss_left_out", loss_left_out)
    kept = above_minus_infinity("loss_kept", loss_kept)
    if left_out.shape != kept.shape:
        raise ValueError(f"loss_kept must have the shape {left_out.shape}, got {kept.shape}")
    examples = entries_along("the number of examples", kept, axis)
    # Two infinite losses differ by an unknown amount, which counts as inf.
    change = Wide(left_out) - np.where(np.isinf(left_out), 0.0, kept)
    return unwrap((change.magnitude().sum(axis) / examples).array())


def stability_bound(
    *,
    lipschitz: ArrayLike,
    curvature: ArrayLike,
    strength: ArrayLike,
    p: ArrayLike,
    n: ArrayLike,
) -> float | Real:
    r"""Bound of Proposition 4.2 on the pointwise hypothesis stability.

    .. math:: \beta \le \frac{2\eta^2}{\bigl(\Lambda_{\min} + 2\lambda(2p-p^2)\bigr)\,n}

    Source: arXiv 2404.09610, Proposition 4.2 (the argument of Fu et al. 2023, arXiv 2211.15583).

    Assumes: the per-example loss whose change is bounded, penalty included, is
    :math:`\eta`-Lipschitz in the parameters between :math:`\theta(S)` and :math:`\theta(S^i)` (for
    the loss without penalty see :mod:`theory.readings`), the algorithm returns minimisers of
    :math:`L(\theta)+\lambda(2p-p^2)\|\theta-\theta_0\|^2` with :math:`\theta(S^i)` close to
    :math:`\theta(S)`, and the Hessian of L at :math:`\theta(S)` is positive semidefinite with
    smallest eigenvalue :math:`\Lambda_{\min}`. Training with masks is not minimising that
    objective: for the real algorithm this is a curve to compare with, not a theorem.

    Args:
        lipschitz: :math:`\eta \ge 0`, units of loss per unit of parameter; ``inf`` allowed.
        curvature: :math:`\Lambda_{\min}`, units of loss per squared unit of parameter, above
            ``-inf``.
        strength: :math:`\lambda \ge 0`, in the units of ``curvature``; ``inf`` allowed.
        p: dropout rate in [0, 1].
        n: number of training examples, at least 1; ``inf`` stands for the limit.

    Returns:
        The bound, of the broadcast shape, never ``nan``: 0 where ``lipschitz`` is 0; otherwise
        ``inf`` where the denominator is 0 (p = 0 on a flat loss, whatever the strength) or
        ``lipschitz`` is ``inf``; otherwise 0 where the strength is ``inf`` and p is not 0.

    Raises:
        ValueError: an argument out of range, or a negative ``curvature`` that
            :math:`2\lambda(2p-p^2)` does not outweigh: the assumption fails, and no bound holds.

    >>> round(stability_bound(lipschitz=1.0, curvature=0.0, strength=0.5, p=0.1, n=100), 6)
    0.105263
    >>> stability_bound(lipschitz=1.0, curvature=0.0, strength=0.5, p=0.0, n=100)
    inf
    """
    gradient = Wide(nonnegative("lipschitz", lipschitz))
    denominator = convexity(curvature, strength, p) * Wide.count(count("n", n))
    return unwrap((2 * gradient.squared() / denominator).array())


def regularized_curvature(
    *, curvature: ArrayLike, strength: ArrayLike, p: ArrayLike
) -> float | Real:
    r"""Smallest curvature of the regularized loss, :math:`\Lambda_{\min} + 2\lambda(2p-p^2)`.

    Source: the denominator of Proposition 4.2 and Theorem 4.4, arXiv 2404.09610.

    Args:
        curvature: :math:`\Lambda_{\min}`, units of loss per squared unit of parameter, above
            ``-inf``.
        strength: :math:`\lambda \ge 0`, in the units of ``curvature``; ``inf`` allowed.
        p: dropout rate in [0, 1].

    Returns:
        The curvature, at least 0, of the broadcast shape, in the units of ``curvature``; at p = 0
        it is :math:`\Lambda_{\min}`, also where the strength is ``inf``.

    Raises:
        ValueError: the sum is negative, or an argument is out of range.

    >>> regularized_curvature(curvature=-0.25, strength=1.0, p=0.5)
    1.25
    """
    return unwrap(convexity(curvature, strength, p).array())


def convexity(curvature: ArrayLike, strength: ArrayLike, p: ArrayLike) -> Wide:
    """Return :func:`regularized_curvature` before it is rounded to a double.

    Args:
        curvature: as there.
        strength: as there.
        p: as there.

    Returns:
        The curvature, at least 0, of the broadcast shape.

    Raises:
        ValueError: the sum is negative, or an argument is out of range.

    >>> float(convexity(0.0, 1e-200, 1e-200).root().array())
    2e-200
    """
    penalty = 2 * Wide(nonnegative("strength", strength)) * np.asarray(sparsity(p))
    total = above_minus_infinity("curvature", curvature) + penalty
    nonnegative(
        "curvature + 2 strength (2p - p^2), as the bound assumes a convex point,", total.array()
    )
    return total

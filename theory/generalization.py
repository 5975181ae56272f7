"""From stability to risk: Lemma 4.3 and Theorem 4.4."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.domain import (
    Real,
    above_minus_infinity,
    count,
    nonnegative,
    probability,
    unwrap,
)
from theory.stability import convexity
from theory.wide import Wide


def stability_gap_bound(
    *, loss_bound: ArrayLike, beta: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bound of Lemma 4.3 on the generalization gap, given the stability.

    With probability at least :math:`1-\delta` over the draw of S,

    .. math:: R - \hat R \le \sqrt{\frac{C^2 + 12\,C\,n\,\beta}{2\,n\,\delta}}.

    Source: arXiv 2404.09610, Lemma 4.3; Bousquet & Elisseeff 2002, Theorem 11 (deletion form).

    Assumes: :math:`0 \le \ell \le C`, independent examples, and stability :math:`\beta` in the
    sense of Definition 4.1 of the same loss: a mean over S, not that of one S. The paper asks
    :math:`|\ell(x)-\ell(x')| \le C` for all x, x'. A constant that is added to the loss changes
    neither gap nor stability, so that is the same, if C is the range over all examples and all
    parameters that occur.

    Pointwise hypothesis stability *alone* does not imply it: memorising all n examples and
    answering a constant when one is missing has :math:`\beta = 0`, :math:`\hat R = 0` and
    :math:`R = 1`. The proof also uses hypothesis stability (the loss at a fresh point), which exact
    minimisers of a strongly convex objective have with the same constant.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        beta: :math:`\beta \ge 0`, in units of the loss; ``inf`` is allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape, never ``nan``: 0 where
        ``loss_bound`` is 0, otherwise ``inf`` where it or ``beta`` is.

    Raises:
        ValueError: an argument is out of range.

    >>> round(stability_gap_bound(loss_bound=1.0, beta=0.01, n=100, delta=0.05), 6)
    1.140175
    """
    return _lemma(loss_bound, Wide(nonnegative("beta", beta)), n, delta)


def two_stabilities_gap_bound(
    *,
    loss_bound: ArrayLike,
    beta_pointwise: ArrayLike,
    beta_hypothesis: ArrayLike,
    n: ArrayLike,
    delta: ArrayLike,
) -> float | Real:
    r"""Lemma 4.3 with the second stability that its proof needs.

    .. math:: R - \hat R \le \sqrt{\frac{C^2 + 6\,C\,n\,(\beta_1+\beta_2)}{2\,n\,\delta}}.

    Bousquet & Elisseeff 2002, Lemma 9, bounds the second moment of the gap by
    :math:`C^2/(2n)+3C` times the mean change of :math:`\ell(M(S),z_i)` when :math:`z_i` is
    *replaced*. Through S without :math:`z_i`, that is at most :math:`\beta_2` (the loss at a point
    that was removed) plus :math:`\beta_1` (at a point that is in neither set); Chebyshev's
    inequality gives the statement. With :math:`\beta_1=\beta_2` it is Lemma 4.3.

    Source: Bousquet & Elisseeff 2002 (JMLR 2), the proof of Theorem 11, for algorithms that treat
    all examples alike.

    Assumes: :math:`0 \le \ell \le C`, independent examples, and both stabilities of the same loss,
    means over S and over the example that is left out.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        beta_pointwise: :math:`\beta_2 \ge 0`, pointwise hypothesis stability (Definition 4.1);
            ``inf`` allowed.
        beta_hypothesis: :math:`\beta_1 \ge 0`, hypothesis stability: the mean change of the loss
            at a fresh point when an example is left out (Bousquet & Elisseeff 2002, Definition 3);
            ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape, never ``nan``: 0 where
        ``loss_bound`` is 0, otherwise ``inf`` where it or a stability is.

    Raises:
        ValueError: an argument is out of range.

    >>> round(two_stabilities_gap_bound(loss_bound=1.0, beta_pointwise=0.0, beta_hypothesis=1.0,
    ...                                 n=100, delta=0.05), 4)
    7.7524
    """
    both = Wide(nonnegative("beta_pointwise", beta_pointwise)) + nonnegative(
        "beta_hypothesis", beta_hypothesis
    )
    return _lemma(loss_bound, both / 2, n, delta)


def sparsity_gap_bound(
    *,
    loss_bound: ArrayLike,
    lipschitz: ArrayLike,
    curvature: ArrayLike,
    strength: ArrayLike,
    p: ArrayLike,
    n: ArrayLike,
    delta: ArrayLike,
) -> float | Real:
    r"""Bound of Theorem 4.4 on the generalization gap of a model with LoRA Dropout.

    With probability at least :math:`1-\delta` over the draw of S,

    .. math:: R - \hat R \le \sqrt{\frac{C^2 + 24\,C\,\eta^2 /
       \bigl(\Lambda_{\min} + 2\lambda(2p-p^2)\bigr)}{2\,n\,\delta}}.

    Source: arXiv 2404.09610, Theorem 4.4, which is Lemma 4.3 at Proposition 4.2's bound.

    Assumes: what :func:`stability_gap_bound` and :func:`theory.stability_bound` assume, for every S
    with one :math:`\eta` and one :math:`\Lambda_{\min}`. Those of the one S at hand depend on the
    draw that the probability is over: at them it is a number to compare with, and no theorem.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        lipschitz: :math:`\eta \ge 0`, units of loss per unit of parameter; ``inf`` allowed.
        curvature: :math:`\Lambda_{\min}`, units of loss per squared unit of parameter, above
            ``-inf``.
        strength: :math:`\lambda \ge 0`, in the units of ``curvature``; ``inf`` allowed.
        p: dropout rate in [0, 1].
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape, never ``nan``: 0 where
        ``loss_bound`` is 0; otherwise ``inf`` where it is ``inf``, or where ``lipschitz`` is not 0
        and either is ``inf`` or the regularized curvature is 0.

    Raises:
        ValueError: an argument is out of range, or the regularized curvature is negative.

    >>> round(sparsity_gap_bound(loss_bound=1.0, lipschitz=1.0, curvature=0.0, strength=0.05 / 0.19,
    ...                          p=0.1, n=10_000, delta=0.05), 4)
    0.4909
    """
    ceiling = nonnegative("loss_bound", loss_bound)
    change = 24 * Wide(ceiling) * Wide(nonnegative("lipschitz", lipschitz)).squared()
    return _chebyshev(ceiling, change / convexity(curvature, strength, p), _count(n), delta)


def is_vacuous(bound: ArrayLike, loss_bound: ArrayLike) -> bool | NDArray[np.bool_]:
    """Whether a bound on the gap says nothing: a loss in [0, C] never has a gap above C.

    Args:
        bound: bound on the gap, in units of the loss; ``inf`` allowed.
        loss_bound: C, at least 0, in the same units; ``inf`` allowed.

    Returns:
        True where ``bound >= loss_bound``, of the broadcast shape.

    Raises:
        ValueError: an argument is out of range.

    >>> is_vacuous(1.14, loss_bound=1.0)
    True
    """
    ceiling = nonnegative("loss_bound", loss_bound)
    vacuous = above_minus_infinity("bound", bound) >= ceiling
    return bool(vacuous) if vacuous.ndim == 0 else vacuous


def _lemma(loss_bound: ArrayLike, beta: Wide, n: ArrayLike, delta: ArrayLike) -> float | Real:
    ceiling, examples = nonnegative("loss_bound", loss_bound), _count(n)
    return _chebyshev(ceiling, 12 * Wide(ceiling) * examples * beta, examples, delta)


def _chebyshev(ceiling: Real, variation: Wide, examples: Wide, delta: ArrayLike) -> float | Real:
    moment = (Wide(ceiling).squared() + variation) / (2 * examples * probability("delta", delta))
    return unwrap(moment.root().array())


def _count(n: ArrayLike) -> Wide:
    return Wide.count(count("n", n))

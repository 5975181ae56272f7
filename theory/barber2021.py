r"""Prediction intervals and sets from leave-one-out networks: Barber et al. 2021.

Residuals and scores are nonconformity scores: the larger, the less a value fits. Those of the n
training examples are taken where each was left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.domain import (
    Real,
    above_minus_infinity,
    entries_along,
    finite,
    nonnegative,
    probability,
    rate,
    single,
    unwrap,
)

#: Rounding of (1 - alpha)(n + 1), which is a whole number for usual levels: 0.9 * 10 is one.
_WHOLE = 1e-9


def jackknife_plus_coverage(alpha: ArrayLike) -> float | Real:
    r"""Guaranteed coverage of the jackknife+.

    .. math:: P\bigl(Y_{n+1}\in\hat C(X_{n+1})\bigr)\ge 1-2\alpha

    Source: Barber, Candès, Ramdas & Tibshirani 2021, "Predictive inference with the jackknife+"
    (arXiv 1905.02928, Annals of Statistics 49), Theorem 1; for classes Romano, Sesia & Candès 2020
    (arXiv 2006.02544), whose set is that of :func:`jackknife_plus_accepts`. Proof: call j of the
    n + 1 examples strange if it fits worse than i, in the network without both, for
    :math:`(1-\alpha)(n+1)` of the others i. Of two strange examples only one can win against the
    other, so that at most :math:`2\alpha(n+1)` are strange; being exchangeable, the new example is
    strange with probability :math:`2\alpha` at most, and only then is its value left out.

    Assumes: the n + 1 examples are exchangeable, and the algorithm treats its examples alike.
    Nothing of stability.

    Args:
        alpha: in (0, 1].

    Returns:
        The probability, at least 0, over the draw of S and of the new example together, of the
        shape of ``alpha``.

    Raises:
        ValueError: ``alpha`` is out of range.

    >>> jackknife_plus_coverage(0.1)
    0.8
    """
    return unwrap(np.maximum(1 - 2 * probability("alpha", alpha), 0))


def jackknife_coverage(alpha: ArrayLike, unstable: ArrayLike) -> float | Real:
    r"""Guaranteed coverage of the plain jackknife, widened by epsilon, of a stable algorithm.

    .. math:: P\bigl(Y_{n+1}\in\hat C^{\varepsilon}(X_{n+1})\bigr)\ge 1-\alpha-2\sqrt\nu,\qquad
       \nu=P\bigl(|\hat\mu(X_{n+1})-\hat\mu_{-i}(X_{n+1})|>\varepsilon\bigr)

    Source: Barber et al. 2021 (arXiv 1905.02928), Section 5, out-of-sample stability; derived here.
    Let :math:`R_j^*` be the residual of j in the network that has the n other ones of all n + 1;
    these are exchangeable. :math:`R_i` has one example less, so that
    :math:`|R_i-R_i^*|>\varepsilon` with probability :math:`\nu`, and by Markov's inequality for
    more than :math:`\sqrt\nu\,n` of the i with probability :math:`\sqrt\nu` at most. Otherwise, if
    :math:`R_{n+1}^*` exceeds :math:`(1-\alpha)(n+1)` of the :math:`R_i+\varepsilon`, it exceeds all
    but :math:`\alpha+\sqrt\nu` of the :math:`R_j^*`, which has no larger probability than that.

    Assumes: exchangeable examples, an algorithm that treats them alike, and :math:`\nu` of this
    algorithm and law, which nobody knows: an estimate makes the guarantee an estimate. Without
    stability the coverage can be 0. Scores in the place of residuals are meant in the same way.

    Args:
        alpha: in (0, 1].
        unstable: :math:`\nu`, in [0, 1].

    Returns:
        The probability, at least 0, over the draw of S and of the new example together, of the
        broadcast shape.

    Raises:
        ValueError: an argument is out of range.

    >>> round(jackknife_coverage(0.1, 0.0025), 6)
    0.8
    """
    chance = rate("unstable", unstable)
    return unwrap(np.maximum(1 - probability("alpha", alpha) - 2 * np.sqrt(chance), 0))


def jackknife_interval(
    prediction: ArrayLike, residuals: ArrayLike, alpha: ArrayLike, widening: ArrayLike = 0.0
) -> tuple[Real, Real]:
    r"""Interval of the plain jackknife, widened by epsilon.

    .. math:: \hat\mu(x)\pm\bigl(\hat q^+_{n,\alpha}\{R_i\}+\varepsilon\bigr)

    with :math:`\hat q^+_{n,\alpha}` the :math:`\lceil(1-\alpha)(n+1)\rceil`-th smallest of n
    values, infinite if there are not so many.

    Source: Barber et al. 2021 (arXiv 1905.02928), Section 1.1. Its coverage:
    :func:`jackknife_coverage`.

    Args:
        prediction: of the network trained on S, finite, of any shape.
        residuals: :math:`R_i=|y_i-\hat\mu_{-i}(x_i)|`, at least 0, (n,), in units of the
            prediction.
        alpha: one number in (0, 1].
        widening: :math:`\varepsilon`, one finite number, at least 0.

    Returns:
        Lower and upper ends, of the shape of ``prediction``, never ``nan``.

    Raises:
        ValueError: an argument is out of range.

    >>> low, high = jackknife_interval(1.0, [0.1, 0.4, 0.2, 0.3], 0.4)
    >>> round(float(low), 6), round(float(high), 6)
    (0.7, 1.3)
    """
    centre, errors = finite("prediction", prediction), nonnegative("residuals", residuals)
    entries_along("residuals", errors, 0)
    more = single("widening", finite("widening", nonnegative("widening", widening)))
    level = single("alpha", probability("alpha", alpha))
    with np.errstate(over="ignore"):
        half = _upper(errors, level) + more
        return np.asarray(centre - half), np.asarray(centre + half)


def jackknife_plus_interval(
    left_out: ArrayLike, residuals: ArrayLike, alpha: ArrayLike
) -> tuple[Real, Real]:
    r"""Interval of the jackknife+.

    .. math:: \bigl[\hat q^-_{n,\alpha}\{\hat\mu_{-i}(x)-R_i\},\;
       \hat q^+_{n,\alpha}\{\hat\mu_{-i}(x)+R_i\}\bigr]

    with :math:`\hat q^+_{n,\alpha}` the :math:`\lceil(1-\alpha)(n+1)\rceil`-th smallest value,
    :math:`\hat q^-_{n,\alpha}` the :math:`\lfloor\alpha(n+1)\rfloor`-th, infinite if there are not
    so many.

    Source: Barber et al. 2021 (arXiv 1905.02928), Section 1.2. Its coverage:
    :func:`jackknife_plus_coverage`.

    Args:
        left_out: predictions :math:`\hat\mu_{-i}(x)` of the networks without example i, finite,
            (n,) or (n, points).
        residuals: :math:`R_i=|y_i-\hat\mu_{-i}(x_i)|`, at least 0, (n,), in units of the
            predictions.
        alpha: one number in (0, 1].

    Returns:
        Lower and upper ends, () or (points,), never ``nan``. The lower one may be above the upper
        one where alpha is above 1/2: the interval is then empty.

    Raises:
        ValueError: an argument is out of range, or the two differ in n.

    >>> low, high = jackknife_plus_interval([1.0, 1.1, 0.9, 1.0], [0.1, 0.4, 0.2, 0.3], 0.4)
    >>> round(float(low), 6), round(float(high), 6)
    (0.7, 1.3)
    """
    centres, errors = finite("left_out", left_out), nonnegative("residuals", residuals)
    entries_along("residuals", errors, 0)
    if centres.ndim == 0 or errors.shape != centres.shape[:1]:
        raise ValueError(f"residuals must be {centres.shape[:1]}, got {errors.shape}")
    level = single("alpha", probability("alpha", alpha))
    reach = errors.reshape(-1, *[1] * (centres.ndim - 1))
    with np.errstate(over="ignore"):
        # The lower quantile is minus the upper one of what is turned round.
        return -_upper(reach - centres, level), _upper(centres + reach, level)


def jackknife_accepts(
    scores: ArrayLike, left_out: ArrayLike, alpha: ArrayLike, widening: ArrayLike = 0.0
) -> NDArray[np.bool_]:
    r"""Which values are in the set of the plain jackknife, widened by epsilon.

    .. math:: \hat C(x)=\bigl\{y:\ s(x,y;\hat\mu)\le\hat q^+_{n,\alpha}\{s_i\}+\varepsilon\bigr\}

    Source: :func:`jackknife_interval`, with a score in the place of the residual. Its coverage:
    :func:`jackknife_coverage`, with :math:`\nu` of the score.

    Args:
        scores: of the candidates in the network trained on S, of any shape.
        left_out: :math:`s_i`, scores of the training examples, each in the network without it,
            (n,), in the same units.
        alpha: one number in (0, 1].
        widening: :math:`\varepsilon`, one finite number, at least 0.

    Returns:
        Whether a candidate is in the set, of the shape of ``scores``.

    Raises:
        ValueError: an argument is out of range.

    >>> jackknife_accepts([0.25, 0.35], [0.1, 0.4, 0.2, 0.3], 0.4).tolist()
    [True, False]
    """
    own, known = above_minus_infinity("scores", scores), above_minus_infinity("left_out", left_out)
    entries_along("left_out", known, 0)
    more = single("widening", finite("widening", nonnegative("widening", widening)))
    with np.errstate(over="ignore"):
        limit = _upper(known, single("alpha", probability("alpha", alpha))) + more
    return np.asarray(own <= limit)


def jackknife_plus_accepts(
    scores: ArrayLike, left_out: ArrayLike, alpha: ArrayLike
) -> NDArray[np.bool_]:
    r"""Which values are in the set of the jackknife+, by scores of any kind.

    .. math:: \hat C(x)=\Bigl\{y:\ \sum_{i=1}^n 1\bigl[s_i<s(x,y;\hat\mu_{-i})\bigr]
       <(1-\alpha)(n+1)\Bigr\}

    Source: Romano, Sesia & Candès 2020, "Classification with valid and adaptive coverage" (arXiv
    2006.02544), jackknife+ for classes; Barber et al. 2021 (arXiv 1905.02928), whose proof of
    Theorem 1 is about this set. With residuals as scores it lies within
    :func:`jackknife_plus_interval`. Its coverage: :func:`jackknife_plus_coverage`.

    Args:
        scores: :math:`s(x,y;\hat\mu_{-i})` of the candidates in the networks without example i,
            (n, ...).
        left_out: :math:`s_i`, scores of the training examples, each in the network without it,
            (n,), in the same units.
        alpha: one number in (0, 1].

    Returns:
        Whether a candidate is in the set, of the shape of ``scores`` without its first axis.

    Raises:
        ValueError: an argument is out of range, or the two differ in n.

    >>> scores = [[0.2, 0.9], [0.2, 0.8], [0.3, 0.9]]
    >>> jackknife_plus_accepts(scores, [0.1, 0.4, 0.2], 0.25).tolist()
    [True, False]
    """
    own, known = above_minus_infinity("scores", scores), above_minus_infinity("left_out", left_out)
    entries_along("left_out", known, 0)
    if known.ndim != 1 or own.shape[:1] != known.shape:
        raise ValueError(f"left_out must be {own.shape[:1]}, got {known.shape}")
    level = single("alpha", probability("alpha", alpha))
    beaten = (known.reshape(-1, *[1] * (own.ndim - 1)) < own).sum(0)
    return np.asarray(beaten < _rank(level, len(known)))


def _rank(alpha: float, n: int) -> int:
    """The smallest whole number that is at least (1 - alpha)(n + 1)."""
    return int(np.ceil((1 - alpha) * (n + 1) - _WHOLE))


def _upper(values: Real, alpha: float) -> Real:
    """The upper quantile over the first axis; infinite if there are not so many values."""
    n, rank = len(values), _rank(alpha, len(values))
    if rank > n:
        return np.full(values.shape[1:], np.inf)
    if rank < 1:
        return np.full(values.shape[1:], -np.inf)
    return np.asarray(np.partition(values, rank - 1, axis=0)[rank - 1])

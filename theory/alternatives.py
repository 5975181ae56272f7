r"""Other bounds on the generalization gap, to set beside Lemma 4.3 and Theorem 4.4.

*Uniform* stability bounds the change of the loss at every point, not on average: ``beta`` when an
example is deleted, ``gamma`` when it is replaced, at most twice as much. Minimisers of a strongly
convex objective have it: Proposition 4.2's bound holds at every point.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory.binomial import upper_limit
from theory.domain import (
    Real,
    at_most,
    count,
    finite,
    nonnegative,
    positive,
    probability,
    rate,
    single,
    unwrap,
    whole,
)
from theory.wide import Wide


def uniform_stability_gap_bound(
    *, loss_bound: ArrayLike, beta: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bousquet and Elisseeff's exponential bound.

    .. math:: R-\hat R\le 2\beta+(4n\beta+C)\sqrt{\frac{\ln(1/\delta)}{2n}}

    Source: Bousquet & Elisseeff 2002, Theorem 12.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        beta: uniform stability under deletion, at least 0, in units of the loss; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape, never ``nan``; at
        delta = 1, where nothing is claimed, :math:`2\beta`.

    Raises:
        ValueError: an argument is out of range.

    >>> round(uniform_stability_gap_bound(loss_bound=1.0, beta=0.002, n=10_000, delta=0.05), 2)
    1.0
    """
    stability, examples = Wide(nonnegative("beta", beta)), Wide.count(count("n", n))
    spread = (Wide(-np.log(probability("delta", delta))) / (2 * examples)).root()
    ceiling = nonnegative("loss_bound", loss_bound)
    return unwrap((2 * stability + (4 * examples * stability + ceiling) * spread).array())


def second_moment_gap_bound(
    *, loss_bound: ArrayLike, gamma: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bound from the second moment of the gap of a uniformly stable algorithm.

    .. math:: |R-\hat R|\le\frac{2\gamma+\sqrt{\gamma^2+C^2/(4n)}}{\sqrt\delta}

    Let :math:`h_i` be the risk less the loss at :math:`z_i` of the model with :math:`z_i` replaced
    by a fresh example, averaged over that. It is within :math:`2\gamma` of its value for the model
    itself, has mean 0 over :math:`z_i` and variance at most :math:`C^2/4`. As a function of another
    :math:`z_j` it varies by at most :math:`2\gamma`, so by at most :math:`\gamma^2` in variance.
    Mean 0 makes :math:`\mathbb E h_ih_j` the covariance of the parts of :math:`h_i` that vary with
    :math:`z_j` and of :math:`h_j` with :math:`z_i`, hence at most :math:`\gamma^2`. So the mean of
    the :math:`h_i` has second moment at most :math:`\gamma^2+C^2/(4n)`; Minkowski's and Chebyshev's
    inequalities give the statement.

    Source: derived here. It implies :math:`\mathbb E[\mathrm{gap}^2]\le16\gamma^2+2C^2/n`, the form
    of Feldman & Vondrak 2018; see :func:`feldman_vondrak_gap_bound`.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        gamma: uniform stability under replacement, at least 0, in units of the loss; ``inf``
            allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape; ``inf`` where
        ``loss_bound`` or ``gamma`` is, never ``nan``.

    Raises:
        ValueError: an argument is out of range.

    >>> round(second_moment_gap_bound(loss_bound=1.0, gamma=0.004, n=10_000, delta=0.05), 3)
    0.064
    """
    stability, ceiling = _stability_and_ceiling(gamma, loss_bound)
    spread = (stability.squared() + ceiling.squared() / (4 * Wide.count(count("n", n)))).root()
    bound = (2 * stability + spread) / Wide(probability("delta", delta)).root()
    return unwrap(bound.array())


def feldman_vondrak_gap_bound(
    *, loss_bound: ArrayLike, gamma: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Feldman and Vondrak's second moment, with Chebyshev's inequality.

    .. math:: |R-\hat R|\le\sqrt{\frac{16\gamma^2+2C^2/n}{\delta}}

    Source: Feldman & Vondrak 2018 (arXiv 1812.09859), whose constants follow from
    :func:`second_moment_gap_bound` too.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        gamma: uniform stability under replacement, at least 0, in units of the loss; ``inf``
            allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape; ``inf`` where
        ``loss_bound`` or ``gamma`` is, never ``nan``.

    Raises:
        ValueError: an argument is out of range.

    >>> round(feldman_vondrak_gap_bound(loss_bound=1.0, gamma=0.004, n=10_000, delta=0.05), 4)
    0.0955
    """
    stability, ceiling = _stability_and_ceiling(gamma, loss_bound)
    moment = 16 * stability.squared() + 2 * ceiling.squared() / Wide.count(count("n", n))
    return unwrap((moment / probability("delta", delta)).root().array())


def moment_gap_bound(
    *, loss_bound: ArrayLike, gamma: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bousquet, Klochkov and Zhivotovskiy's bound, with explicit constants.

    .. math:: |R-\hat R|\le2\gamma+e\Bigl(24\sqrt2\,\gamma\lceil\log_2n\rceil\ln\tfrac1\delta
       +4C\sqrt{\tfrac{\ln(1/\delta)}n}\Bigr),\qquad\delta\le e^{-2}

    The :math:`h_i` of :func:`second_moment_gap_bound` vary by :math:`2\gamma` with each other
    example. In a dyadic partition with :math:`\lceil\log_2n\rceil` levels, the bounded-difference
    and the Marcinkiewicz-Zygmund inequality (moments of order p, constants 2 and
    :math:`3\sqrt2`) bound a level by :math:`12\sqrt2\,pn\cdot2\gamma`, and the parts that depend on
    :math:`z_i` alone by :math:`4C\sqrt{pn}`. Markov's inequality at :math:`p=\ln(1/\delta)\ge2`
    costs the factor e.

    Source: Bousquet, Klochkov & Zhivotovskiy 2020, Theorem 4; the constants as derived above.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        gamma: uniform stability under replacement, at least 0, in units of the loss; ``inf``
            allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape, never ``nan``; ``inf``
        where ``delta`` exceeds e^-2, of which the statement does not speak, and where
        ``loss_bound`` or ``gamma`` is ``inf``.

    Raises:
        ValueError: an argument is out of range.

    >>> moment_gap_bound(loss_bound=1.0, gamma=0.004, n=10_000, delta=0.05) > 1
    True
    """
    stability, ceiling = _stability_and_ceiling(gamma, loss_bound)
    examples = count("n", n)
    order = -np.log(probability("delta", delta))
    levels = np.ceil(np.log2(examples))
    spread = (Wide(order) / Wide.count(examples)).root()
    deviation = 24 * np.sqrt(2) * stability * levels * order + 4 * ceiling * spread
    return unwrap(np.where(order >= 2, (2 * stability + np.e * deviation).array(), np.inf))


def masked_gaussian_divergence(update: ArrayLike, p: float, deviation: float) -> float:
    r"""Bound on the divergence of a masked update with Gaussian noise from noise alone.

    The posterior draws a mask of rows and columns and adds :math:`N(0,\sigma^2I)`, the prior is
    :math:`N(\theta_0,\sigma^2I)`. The divergence is convex, so that of the mixture is at most the
    mean over masks, :math:`\mathbb E\|m\odot\Delta\|^2/(2\sigma^2)=
    (1-p)^2\|\Delta\|^2/(2\sigma^2)`: it falls as p grows.

    Args:
        update: :math:`\Delta`, finite, any shape; its norm runs over all entries.
        p: dropout rate in [0, 1].
        deviation: :math:`\sigma > 0`, in the units of the update, chosen without looking at the
            data; ``inf`` allowed.

    Returns:
        The bound on the divergence, in nats.

    Raises:
        ValueError: an argument is out of range, or p or ``deviation`` is not one number.

    >>> masked_gaussian_divergence([[2.0]], p=0.5, deviation=1.0)
    0.5
    """
    squared_norm = Wide(finite("update", update)).squared().sum()
    keep = Wide(1 - single("p", rate("p", p)))
    noise = Wide(single("deviation", positive("deviation", deviation)))
    return float((keep.squared() * squared_norm / (2 * noise.squared())).array())


def pac_bayes_gap_bound(
    *, loss_bound: ArrayLike, divergence: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bound on the gap of a randomized predictor drawn from a posterior.

    .. math:: \mathbb E_QR-\mathbb E_Q\hat R\le
       C\sqrt{\frac{\mathrm{KL}(Q\|P)+\ln(2\sqrt n/\delta)}{2n}}

    Source: McAllester 1999 in the form of Maurer 2004 (arXiv cs/0411099), with Pinsker's
    inequality. The proof has :math:`\xi(n)=\sum_{k=0}^n\binom nk(k/n)^k(1-k/n)^{n-k}` in the place
    of :math:`2\sqrt n`, for every n. Maurer shows :math:`\xi(n)\le2\sqrt n` for n at least 8; for
    n = 1, ..., 7 the seven sums show it (equality at n = 1), so the bound holds there too.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        divergence: KL(Q || P), at least 0, in nats; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape, never ``nan``: 0 where
        ``loss_bound`` is 0, otherwise ``inf`` where it or ``divergence`` is.

    Raises:
        ValueError: an argument is out of range.

    >>> round(pac_bayes_gap_bound(loss_bound=1.0, divergence=0.5, n=1000, delta=0.05), 4)
    0.0618
    """
    examples, ceiling = Wide.count(count("n", n)), Wide(nonnegative("loss_bound", loss_bound))
    rarity = (2 * examples.root() / probability("delta", delta)).log()
    complexity = nonnegative("divergence", divergence) + rarity
    return unwrap((ceiling * (Wide(complexity) / (2 * examples)).root()).array())


def binomial_tail_bound(errors: ArrayLike, examples: ArrayLike, delta: ArrayLike) -> float | Real:
    """Bound on the error rate from a test set: the exact binomial tail.

    With probability at least 1 - delta over the test set. It needs examples that training did not
    see and knows nothing of training.

    Source: Clopper & Pearson 1934; for learning, Langford 2005, "Tutorial on practical prediction
    theory for classification", the test set bound.

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


def _stability_and_ceiling(gamma: ArrayLike, loss_bound: ArrayLike) -> tuple[Wide, Wide]:
    return Wide(nonnegative("gamma", gamma)), Wide(nonnegative("loss_bound", loss_bound))

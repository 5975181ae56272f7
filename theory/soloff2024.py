r"""Bagging on subsets is stable whatever the algorithm does: Soloff, Barber & Willett 2024."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, at_most, count, finite, nonnegative, single, unwrap, whole


def subbagging_stability_bound(
    *, n: ArrayLike, m: ArrayLike, value_range: ArrayLike = 1.0
) -> float | Real:
    r"""Bound on the change of a subbagged prediction when an example is left out.

    The prediction :math:`\bar f` is the mean of :math:`f(r)` over all subsets r of m of the n
    examples, and :math:`\bar f^{-i}` that over the subsets without example i, which is the
    subbagged prediction of the other n - 1 examples. At every point of prediction

    .. math:: \sqrt{\frac1n\sum_{i=1}^n\bigl(\bar f^{-i}-\bar f\bigr)^2}
       \;\le\;\frac{b-a}2\sqrt{\frac{m}{(n-m)(n-1)}},

    for halves :math:`(b-a)/(2\sqrt{n-1})`, whatever the algorithm, the data and the dimension.

    Source: Soloff, Barber & Willett 2024, "Bagging provides assumption-free stability" (arXiv
    2301.12600, JMLR 25:131), where a change above :math:`\varepsilon` has at most the share
    :math:`\delta` of examples as soon as :math:`\delta\varepsilon^2` reaches a multiple of
    :math:`\frac1n\frac{m/n}{1-m/n}`. The mean square with its constant is derived here. Let
    :math:`Z_i=1[i\in r]` and :math:`q=m/n`. Then
    :math:`\bar f^{-i}-\bar f=-\mathrm{Cov}(f,Z_i)/(1-q)`, and the covariance matrix of Z,
    :math:`q(1-q)\frac n{n-1}(I-\frac1n 11^\top)`, has the largest eigenvalue
    :math:`q(1-q)\frac n{n-1}`, so that by Cauchy and Schwarz
    :math:`\sum_i\mathrm{Cov}(f,Z_i)^2\le\mathrm{Var}(f)\,q(1-q)\frac n{n-1}`. At last
    :math:`\mathrm{Var}(f)\le(b-a)^2/4` (Popoviciu).

    Assumes: predictions in [a, b]; all subsets of m examples with equal weight, of S and of S
    without an example alike; the prediction of a subset does not depend on which examples are not
    in it, nor on the order of those that are. It bounds a mean over the left-out examples: leaving
    out the one example that a network has memorised changes its prediction by :math:`(b-a)\,m/n`.
    At :math:`m=n/2` this network reaches the bound, for every n.

    Args:
        n: number of examples, whole, at least 2.
        m: examples of a subset, whole, from 1 to n - 1.
        value_range: b - a, at least 0, in units of the prediction; ``inf`` allowed.

    Returns:
        The bound on the root mean square, in units of the prediction, of the broadcast shape, never
        ``nan``; ``inf`` where ``value_range`` is.

    Raises:
        ValueError: an argument is out of range.

    With two examples and subsets of one, a network that answers 1 if it has seen the first, and 0
    otherwise, changes by 1/2 whichever is left out:

    >>> subbagging_stability_bound(n=2, m=1)
    0.5
    >>> round(subbagging_stability_bound(n=64, m=32), 4)
    0.063
    """
    examples, size = whole("n", count("n", n)), whole("m", count("m", m))
    at_most("m", size, "n - 1", examples - 1)
    # Whole numbers differ by 1 at least, also where doubles no longer tell them apart.
    left_out = np.maximum(examples - size, 1)
    ratio = np.sqrt(size / left_out) / np.sqrt(np.maximum(examples - 1, 1))
    return unwrap(np.asarray(nonnegative("value_range", value_range) / 2 * ratio))


def drawn_bags_stability_bound(bags: ArrayLike, *, value_range: ArrayLike = 1.0) -> float:
    r"""The same for the bags that were drawn, few or many, without any probability.

    With B bags, :math:`\hat f` the mean of their predictions and :math:`\hat f^{-i}` that of the
    bags without example i,

    .. math:: \sqrt{\frac1n\sum_{i=1}^n\bigl(\hat f^{-i}-\hat f\bigr)^2}
       \;\le\;\frac{b-a}2\sqrt{\frac{\lambda_{\max}(D\,\hat\Sigma\,D)}n},

    :math:`\hat\Sigma` the covariance matrix (over the B bags, divided by B) of their indicators,
    :math:`D` the diagonal matrix of :math:`1/(1-\hat q_i)`, :math:`\hat q_i` the share of bags with
    example i.

    Source: derived here, as :func:`subbagging_stability_bound`: every step of its proof holds for
    the uniform distribution over the B bags. With all subsets of m examples it is that bound.

    Assumes: predictions in [a, b]; nothing else.

    Args:
        bags: 1 where a bag holds an example and 0 elsewhere, (B, n).
        value_range: b - a, one number, at least 0, in units of the prediction; ``inf`` allowed.

    Returns:
        The bound on the root mean square, in units of the prediction, never ``nan``: ``inf`` where
        ``value_range`` is, unless all bags are alike.

    Raises:
        ValueError: an argument is out of range, or every bag holds some example, so that nothing is
            known of the prediction without it.

    >>> drawn_bags_stability_bound([[1, 0], [0, 1]])
    0.5
    """
    inside = _indicators(bags)
    largest = single("value_range", nonnegative("value_range", value_range))
    share = inside.mean(0)
    scaled = (inside - share) / (1 - share)
    # The largest eigenvalue of a matrix of which scaled / sqrt(B) is a root.
    norm = np.linalg.norm(scaled, 2) / np.sqrt(scaled.size)
    return 0.0 if norm == 0 else float(largest / 2 * norm)


def leave_one_out_changes(predictions: ArrayLike, bags: ArrayLike) -> Real:
    r"""Change of the mean prediction of all bags when an example is left out.

    .. math:: \hat f^{-i}-\hat f=\frac1{B_i}\sum_{b:\,i\notin r_b} f_b-\frac1B\sum_b f_b

    Source: Soloff, Barber & Willett 2024 (arXiv 2301.12600): the bags without example i, of which
    there are :math:`B_i`, are bags of the other examples, so that nothing is trained again.

    Args:
        predictions: of every bag's network, finite, (B,) or (B, points).
        bags: 1 where a bag holds an example and 0 elsewhere, (B, n).

    Returns:
        The changes, (n,) or (n, points), in units of the prediction.

    Raises:
        ValueError: an argument is out of range, the two differ in B, or every bag holds some
            example.

    >>> leave_one_out_changes([0.0, 1.0], [[1, 0], [0, 1]]).tolist()
    [0.5, -0.5]
    """
    inside, values = _indicators(bags), finite("predictions", predictions)
    if values.ndim == 0 or len(values) != len(inside):
        raise ValueError(f"predictions must be {len(inside)}, one a bag, got {values.shape}")
    mean = values.mean(0)
    without = 1 - inside
    averaged = np.tensordot(without / without.sum(0), values, axes=(0, 0))
    return np.asarray(averaged - mean, np.float64)


def _indicators(bags: ArrayLike) -> Real:
    """Check which examples the bags hold: (B, n)."""
    inside = finite("bags", bags)
    if inside.ndim != 2 or inside.size == 0:
        raise ValueError(f"bags must be a table of bags and examples, got {inside.shape}")
    if not np.isin(inside, (0, 1)).all():
        raise ValueError("bags must be 0 or 1 everywhere")
    always = np.flatnonzero(inside.all(0))
    if len(always):
        raise ValueError(f"bags must be such that one is without example {always[0]}")
    return inside

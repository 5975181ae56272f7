r"""What dropping rows and columns does to a linear model under squared loss, in closed form.

With independent mask entries of mean :math:`\mu` and variance :math:`v`, and
:math:`u=D_B\Delta D_A x`: the square of
:math:`t_k-u_k=t_k-b_k\sum_j\Delta_{kj}x_ja_j` holds each entry :math:`b_k` and :math:`a_j` at most
squared. So its expectation depends on the law of the masks through :math:`\mu` and :math:`v` alone.
The masks' mean gives :math:`\mathbb E u=\mu^2\Delta x`, and
:math:`\mathbb E\|u\|^2=(\mu^2+v)\sum_k[\mu^2(\Delta x)_k^2+v\sum_j\Delta_{kj}^2x_j^2]`. Hence

.. math:: \mathbb E\|t-u\|^2=\|t-\mu^2\Delta x\|^2
   + v\mu^2\|\Delta x\|^2+(\mu^2+v)\,v\sum_jx_j^2\|\Delta_{:j}\|^2.

With keep rate :math:`q=1-p` LoRA Dropout's masks have :math:`\mu=q` and :math:`v=pq`, with
rescaling 1 and :math:`p/q`. In terms of a scale :math:`c` (1 as in the paper, :math:`q^{-2}` with
rescaling) that is

.. math:: \mathbb E\|t-cD_B\Delta D_Ax\|^2=\|t-cq^2\Delta x\|^2
   + c^2q^2p\Bigl[q\|\Delta x\|^2+\sum_jx_j^2\|\Delta_{:j}\|^2\Bigr].

**Zeros or noise?** Gaussian masks :math:`N(q,pq)`, and masks that are :math:`q\pm\sqrt{pq}` with
probability 1/2 each, have the same two moments. Here they have the same expected objective, the
same explicit regularizer and the same optimum as LoRA Dropout, though they drop nothing. The
argument needs the squared loss and an output that is linear in each mask entry. So it holds for any
number of linear layers one upon the other, each with masks of its own, whatever the rank, and not
behind a nonlinear activation or for another loss. It says nothing of the gradient's noise, whose
variance depends on the fourth moment of the masks: :math:`q` for Bernoulli ones,
:math:`q^4+6pq^3+3p^2q^2` for Gaussian ones and :math:`q^4+6pq^3+p^2q^2` for those of two points.
Gaussian masks are the "multiplicative Gaussian noise" of Srivastava et al. 2014, "Dropout: a simple
way to prevent neural networks from overfitting"; the proof is made here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import (
    Real,
    count,
    finite,
    matrix,
    nonnegative,
    rate,
    rate_below_one,
    shaped,
    single,
    unwrap,
    whole,
)
from theory.wide import Wide


def expected_dropout_loss(
    residual: ArrayLike, features: ArrayLike, update: ArrayLike, p: float, rescale: bool = False
) -> Real:
    """Expected squared loss of every example under LoRA Dropout's masks.

    Source: derived at the top of this module.

    Args:
        residual: t = y - W0 x, (m, d_out), finite.
        features: x, (m, d_in), finite.
        update: the weight update, (d_out, d_in), finite.
        p: dropout rate of rows and of columns, in [0, 1]; with ``rescale`` 1 is excluded.
        rescale: whether survivors are divided by 1 - p.

    Returns:
        The expectation over the masks of the sum of squares, (m,); at p = 1 it is that of t.

    Raises:
        ValueError: p lies outside [0, 1], or is 1 with ``rescale``, an array is not finite or no
            matrix, or shapes do not fit.

    >>> expected_dropout_loss([[1.0]], [[1.0]], [[1.0]], p=0.5).tolist()
    [0.75]
    """
    terms = list(dropout_loss_terms(residual, features, update, p, rescale).values())
    with np.errstate(over="ignore"):  # inf is then what is meant
        return np.sum(terms, axis=0)


def dropout_loss_terms(
    residual: ArrayLike, features: ArrayLike, update: ArrayLike, p: float, rescale: bool = False
) -> dict[str, Real]:
    """Split :func:`expected_dropout_loss` into its three terms.

    They are those of :func:`masked_loss_terms` at the mean and variance of the masks.

    Source: derived at the top of this module.

    Args:
        residual: t = y - W0 x, (m, d_out), finite.
        features: x, (m, d_in), finite.
        update: the weight update, (d_out, d_in), finite.
        p: dropout rate of rows and of columns, in [0, 1]; with ``rescale`` 1 is excluded.
        rescale: whether survivors are divided by 1 - p.

    Returns:
        The terms by name, (m,) each, in units of the squared loss; at p = 1 the last two are 0.

    Raises:
        ValueError: p lies outside [0, 1], or is 1 with ``rescale``, an array is not finite or no
            matrix, or shapes do not fit.
    """
    drop = single("p", rate_below_one("p", p) if rescale else rate("p", p))
    keep = 1 - drop
    mean, variance = (1.0, drop / keep) if rescale else (keep, drop * keep)
    return masked_loss_terms(residual, features, update, mean, variance)


def masked_loss_terms(
    residual: ArrayLike, features: ArrayLike, update: ArrayLike, mean: float, variance: float
) -> dict[str, Real]:
    r"""Expected squared loss under any masks of independent entries, in three terms.

    .. math:: \|t-\mu^2\Delta x\|^2,\quad v\mu^2\|\Delta x\|^2,\quad
       (\mu^2+v)\,v\sum_jx_j^2\|\Delta_{:j}\|^2

    ``mean`` is the loss of the expected-weight network, ``rows`` and ``columns`` are what the noise
    of B's rows and of A's columns adds. The mean and the variance of the masks say it all: whether
    entries are ever 0 does not matter.

    Source: derived at the top of this module.

    *Assumes* one linear layer and the squared loss (there: any number of linear layers). With a
    logistic loss or a ReLU, masks of equal mean and variance differ.

    Args:
        residual: t = y - W0 x, (m, d_out), finite.
        features: x, (m, d_in), finite.
        update: the weight update, (d_out, d_in), finite.
        mean: :math:`\mu`, of every entry of both masks, finite.
        variance: :math:`v`, of every entry, at least 0 and finite.

    Returns:
        The terms by name, (m,) each, in units of the squared loss.

    Raises:
        ValueError: the variance is negative, an argument is not finite or no matrix, or shapes do
            not fit.

    >>> terms = masked_loss_terms([[1.0]], [[1.0]], [[2.0]], mean=0.5, variance=0.25)
    >>> {name: term.tolist() for name, term in terms.items()}
    {'mean': [0.25], 'rows': [0.25], 'columns': [0.5]}
    """
    known, x = _examples(residual, features)
    t, delta = Wide(known), matrix("update", update)
    shaped("update", delta, (known.shape[1], x.shape[1]))
    squared = Wide(single("mean", finite("mean", mean))).squared()
    spread = Wide(single("variance", finite("variance", nonnegative("variance", variance))))
    output = _product(x, delta)
    rows = spread * squared * output.squared().sum(1)
    columns = (Wide(x).squared() * Wide(delta).squared().sum(0)).sum(1)
    return {
        "mean": (t - squared * output).squared().sum(1).array(),
        "rows": rows.array(),
        "columns": ((squared + spread) * spread * columns).array(),
    }


def elementwise_difference(covariance: ArrayLike, update: ArrayLike, p: float) -> float:
    r"""How much more rows and columns add to the loss than independent entries of equal sparsity.

    .. math:: \tfrac{p}{q}\,\mathrm{tr}\bigl(\Delta(\Sigma-\mathrm{diag}\,\Sigma)\Delta^\top\bigr)

    with rescaled masks. Independent entries survive with probability :math:`q^2` and add
    :math:`c^2q^2(1-q^2)\sum_jx_j^2\|\Delta_{:j}\|^2`; the difference follows. It vanishes for
    uncorrelated features, which is where the elementwise picture of the paper is right.

    Args:
        covariance: mean of x x^T, (d_in, d_in), finite.
        update: the weight update, (d_out, d_in), finite.
        p: dropout rate, in [0, 1).

    Returns:
        The difference of the mean squared losses; negative where independent entries add more.

    Raises:
        ValueError: p lies outside [0, 1), an array is not finite or no matrix, or shapes do not
            fit.
    """
    sigma, delta = matrix("covariance", covariance), matrix("update", update)
    shaped("covariance", sigma, (delta.shape[1], delta.shape[1]))
    drop = single("p", rate_below_one("p", p))
    off = sigma - np.diag(np.diag(sigma))
    return float((drop / (1 - drop) * _quadratic_form(delta, off)).array())


def effective_strength(variance: ArrayLike, p: ArrayLike) -> float | Real:
    r"""The lambda at which the paper's penalty is what rescaled dropout adds, for white features.

    For :math:`\Sigma=\sigma^2I` the terms that rescaled masks add are
    :math:`\sigma^2\frac{2p-p^2}{(1-p)^2}\|\Delta\|^2`, so
    :math:`\lambda_{\mathrm{eff}}=\sigma^2/(1-p)^2`: it depends on p and diverges as p tends to 1,
    while the paper's penalty with a fixed lambda stays finite. For masks without rescaling see
    :func:`unscaled_effective_strength`.

    Source: derived here, from the top of this module.

    Args:
        variance: :math:`\sigma^2`, of every feature, at least 0; ``inf`` allowed.
        p: dropout rate, in [0, 1).

    Returns:
        :math:`\lambda_{\mathrm{eff}}`, of the broadcast shape.

    Raises:
        ValueError: an argument is out of range.

    >>> effective_strength(1.0, 0.5)
    4.0
    """
    keep = Wide(1 - rate_below_one("p", p))
    return unwrap((nonnegative("variance", variance) / keep.squared()).array())


def unscaled_effective_strength(variance: ArrayLike, p: ArrayLike) -> float | Real:
    r"""The same lambda for masks without rescaling: it vanishes where that of the others diverges.

    At c = 1 and :math:`\Sigma=\sigma^2I` the added terms are
    :math:`q^2p(q+1)\sigma^2\|\Delta\|^2=\sigma^2(1-p)^2(2p-p^2)\|\Delta\|^2`, as
    :math:`p(1+q)=2p-p^2`. The mean loss is then

    .. math:: \mathbb E\|t-q^2\Delta x\|^2+\lambda(2p-p^2)\|\Delta\|^2,
       \qquad\lambda=\sigma^2(1-p)^2.

    This lambda stands before the norm of :math:`\Delta`, the update that is trained, of which the
    network without masks at its expected weight uses :math:`\Delta'=q^2\Delta`. Said of
    :math:`\Delta'`, the same terms are
    :math:`\frac{\sigma^2}{(1-p)^2}(2p-p^2)\|\Delta'\|^2`, with the lambda of
    :func:`effective_strength`: unscaled training of :math:`\Delta` is rescaled training of
    :math:`\Delta'`.

    Source: derived here, from the top of this module.

    Args:
        variance: :math:`\sigma^2`, of every feature, at least 0; ``inf`` allowed.
        p: dropout rate, in [0, 1].

    Returns:
        :math:`\lambda` in the variable :math:`\Delta`, of the broadcast shape; 0 at p = 1, where
        nothing is left of the update.

    Raises:
        ValueError: an argument is out of range.

    >>> unscaled_effective_strength(1.0, 0.5)
    0.25
    """
    keep = Wide(1 - rate("p", p))
    return unwrap((nonnegative("variance", variance) * keep.squared()).array())


def optimal_update(
    residual: ArrayLike, features: ArrayLike, p: float, rank: int, rescale: bool = False
) -> Real:
    r"""The rank-r update that minimises the mean expected squared loss.

    With :math:`\Sigma` and :math:`C` the means of :math:`xx^\top` and :math:`tx^\top`,
    :math:`G=\Sigma/q+(p/q^2)\,\mathrm{diag}\,\Sigma`: the rescaled objective is
    :math:`\mathrm{tr}\,\Delta G\Delta^\top-2\,\mathrm{tr}\,C\Delta^\top` plus a constant, that is
    :math:`\|\Delta G^{1/2}-CG^{-1/2}\|_F^2` plus another. The best approximation of rank r is the
    truncated singular value decomposition (Eckart & Young 1936), so
    :math:`\Delta^*=\mathrm{SVD}_r(CG^{-1/2})G^{-1/2}`. Without rescaling it is the same function of
    the masks at :math:`\Delta^*/q^2`.

    Args:
        residual: t = y - W0 x, (m, d_out), finite, m at least 1.
        features: x, (m, d_in), finite, such that G is regular: for p above 0 no feature is 0
            throughout, and at p = 0 their second moment is regular.
        p: dropout rate, in [0, 1).
        rank: r, a whole number, at least 1; beyond min(d_out, d_in) it does not restrict.
        rescale: whether survivors are divided by 1 - p.

    Returns:
        The update, (d_out, d_in).

    Raises:
        ValueError: an argument is out of range or no matrix, shapes do not fit, or G is singular to
            the precision of a double.
    """
    (t, raised), (x, lifted) = map(_near_one, _examples(residual, features))
    drop = single("p", rate_below_one("p", p))
    largest = min(t.shape[1], x.shape[1])
    r = int(min(single("rank", whole("rank", count("rank", rank))), largest))
    keep = 1 - drop
    count("the number of examples", len(x))
    sigma = x.T @ x / len(x)
    metric = sigma / keep + drop / keep**2 * np.diag(np.diag(sigma))
    values, vectors = np.linalg.eigh(metric)
    if not values[0] > values[-1] * len(values) * np.finfo(np.float64).eps:
        raise ValueError(
            "features must have a regular second moment (for p above 0: no feature that is always "
            "0), got one that is singular to the precision of a double"
        )
    inverse_root = vectors / np.sqrt(values) @ vectors.T
    U, singular, V = np.linalg.svd(t.T @ x / len(x) @ inverse_root, full_matrices=False)
    best = U[:, :r] * singular[:r] @ V[:r] @ inverse_root
    with np.errstate(over="ignore"):
        return np.ldexp(best if rescale else best / keep**2, raised - lifted)


def _examples(residual: ArrayLike, features: ArrayLike) -> tuple[Real, Real]:
    t, x = matrix("residual", residual), matrix("features", features)
    shaped("features", x, (len(t), x.shape[1]))
    return t, x


def _product(features: Real, update: Real) -> Wide:
    """``features @ update.T``, also where its sums are not doubles."""
    with np.errstate(over="ignore", invalid="ignore"):
        direct = features @ update.T
    if np.isfinite(direct).all():
        return Wide(direct)
    return (Wide(features[:, None]) * update).sum(-1)


def _quadratic_form(update: Real, form: Real) -> Wide:
    """``trace(update @ form @ update.T)``, also where its sums are not doubles."""
    with np.errstate(over="ignore", invalid="ignore"):
        direct = np.trace(update @ form @ update.T)
    if np.isfinite(direct):
        return Wide(direct)
    return (Wide(update[:, :, None]) * form * update[:, None]).sum()


def _near_one(array: Real) -> tuple[Real, int]:
    """An array over a power of two, and its exponent: 0 unless squares might not be doubles."""
    _, exponents = np.frexp(np.abs(array).max(initial=0.0))
    exponent = int(exponents) if abs(int(exponents)) > 400 else 0
    return np.ldexp(array, -exponent), exponent

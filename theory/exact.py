r"""What dropping rows and columns does to a linear model under squared loss, in closed form.

With keep rate :math:`q=1-p`, independent masks :math:`D_B, D_A`, a scale :math:`c` (1 as in the
paper, :math:`q^{-2}` with rescaling) and :math:`u=D_B\Delta D_A x`: the masks' mean gives
:math:`\mathbb E u=q^2\Delta x`; as :math:`\mathbb E m_k^2=q` and different columns are independent,
:math:`\mathbb E\|u\|^2=q\sum_k[q^2(\Delta x)_k^2+qp\sum_j\Delta_{kj}^2x_j^2]`. Hence

.. math:: \mathbb E\|t-cu\|^2=\|t-cq^2\Delta x\|^2
   + c^2q^2p\Bigl[q\|\Delta x\|^2+\sum_jx_j^2\|\Delta_{:j}\|^2\Bigr].
"""

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, rate


def expected_dropout_loss(
    residual: ArrayLike, features: ArrayLike, update: ArrayLike, p: float, rescale: bool = False
) -> Real:
    """Expected squared loss of every example under LoRA Dropout's masks.

    Source: derived at the top of this module.

    Args:
        residual: t = y - W0 x, (m, d_out).
        features: x, (m, d_in).
        update: the weight update, (d_out, d_in).
        p: dropout rate of rows and of columns, in [0, 1]; with ``rescale`` 1 is excluded.
        rescale: whether survivors are divided by 1 - p.

    Returns:
        The expectation over the masks of the sum of squares, (m,).

    Raises:
        ValueError: p lies outside [0, 1].

    >>> expected_dropout_loss([[1.0]], [[1.0]], [[1.0]], p=0.5).tolist()
    [0.75]
    """
    return np.sum(list(dropout_loss_terms(residual, features, update, p, rescale).values()), axis=0)


def dropout_loss_terms(
    residual: ArrayLike, features: ArrayLike, update: ArrayLike, p: float, rescale: bool = False
) -> dict[str, Real]:
    """Split :func:`expected_dropout_loss` into its three terms.

    ``mean`` is the loss of the expected-weight network, ``rows`` and ``columns`` are what the
    dropping of rows and of columns adds.

    Source: derived at the top of this module.

    Args:
        residual: t = y - W0 x, (m, d_out).
        features: x, (m, d_in).
        update: the weight update, (d_out, d_in).
        p: dropout rate of rows and of columns, in [0, 1]; with ``rescale`` 1 is excluded.
        rescale: whether survivors are divided by 1 - p.

    Returns:
        The terms by name, (m,) each, in units of the squared loss.

    Raises:
        ValueError: p lies outside [0, 1].
    """
    t, x, delta = (np.asarray(a, np.float64) for a in (residual, features, update))
    keep = 1 - float(rate("p", p))
    scale = keep**-2 if rescale else 1.0
    output = x @ delta.T
    spread = scale**2 * keep**2 * (1 - keep)
    return {
        "mean": np.square(t - scale * keep**2 * output).sum(1),
        "rows": spread * keep * np.square(output).sum(1),
        "columns": spread * (np.square(x) * np.square(delta).sum(0)).sum(1),
    }


def elementwise_difference(covariance: ArrayLike, update: ArrayLike, p: float) -> float:
    r"""How much more rows and columns add to the loss than independent entries of equal sparsity.

    .. math:: \tfrac{p}{q}\,\mathrm{tr}\bigl(\Delta(\Sigma-\mathrm{diag}\,\Sigma)\Delta^\top\bigr)

    with rescaled masks. Independent entries survive with probability :math:`q^2` and add
    :math:`c^2q^2(1-q^2)\sum_jx_j^2\|\Delta_{:j}\|^2`; the difference follows. It vanishes for
    uncorrelated features, which is where the elementwise picture of the paper is right.

    Args:
        covariance: mean of x x^T, (d_in, d_in).
        update: the weight update, (d_out, d_in).
        p: dropout rate, in [0, 1).

    Returns:
        The difference of the mean squared losses; negative where independent entries add more.
    """
    sigma, delta = np.asarray(covariance, np.float64), np.asarray(update, np.float64)
    off = sigma - np.diag(np.diag(sigma))
    return float(p / (1 - p) * np.trace(delta @ off @ delta.T))


def effective_strength(variance: ArrayLike, p: ArrayLike) -> float | Real:
    r"""The lambda at which the paper's penalty is what rescaled dropout adds, for white features.

    For :math:`\Sigma=\sigma^2I` the added terms are
    :math:`\sigma^2\frac{2p-p^2}{(1-p)^2}\|\Delta\|^2`, so
    :math:`\lambda_{\mathrm{eff}}=\sigma^2/(1-p)^2`: it depends on p and diverges at p = 1, while
    the paper's penalty with a fixed lambda stays finite.

    Args:
        variance: :math:`\sigma^2`, of every feature.
        p: dropout rate, in [0, 1).

    Returns:
        :math:`\lambda_{\mathrm{eff}}`, of the broadcast shape.

    Raises:
        ValueError: p lies outside [0, 1].

    >>> effective_strength(1.0, 0.5)
    4.0
    """
    result = np.asarray(variance, np.float64) / (1 - rate("p", p)) ** 2
    return float(result) if result.ndim == 0 else result


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
        residual: t = y - W0 x, (m, d_out).
        features: x, (m, d_in), whose second moment must be regular.
        p: dropout rate, in [0, 1).
        rank: r, at least 1.
        rescale: whether survivors are divided by 1 - p.

    Returns:
        The update, (d_out, d_in).
    """
    t, x = np.asarray(residual, np.float64), np.asarray(features, np.float64)
    keep = 1 - p
    sigma = x.T @ x / len(x)
    metric = sigma / keep + p / keep**2 * np.diag(np.diag(sigma))
    values, vectors = np.linalg.eigh(metric)
    inverse_root = vectors / np.sqrt(values) @ vectors.T
    U, singular, V = np.linalg.svd(t.T @ x / len(x) @ inverse_root, full_matrices=False)
    best = U[:, :rank] * singular[:rank] @ V[:rank] @ inverse_root
    return best if rescale else best / keep**2

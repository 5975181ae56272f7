r"""What dropout adds to the squared loss of a low-rank update, wherever it drops.

The update of a linear layer is :math:`BAx`. Entries of the input (columns of A), of the rank
dimension, and of the output (rows of B) are multiplied by independent masks of mean 1 and variance
:math:`\lambda=p/(1-p)`, each place at its own rate. For masks m of mean 1 and independent of u,
:math:`\mathbb E\|W(m\odot u)\|^2=\mathbb E\|Wu\|^2+\lambda\sum_k\|W_{:k}\|^2\,\mathbb Eu_k^2`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, matrix, rate_below_one, single
from theory.wide import Wide


def dropout_regularizer(
    features: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    *,
    p_in: float = 0.0,
    p_rank: float = 0.0,
    p_out: float = 0.0,
) -> Real:
    r"""Explicit regularizer of rescaled dropout at the inputs, the rank and the outputs.

    .. math:: \mathbb E\|t-D_oBD_rAD_ix\|^2=\|t-BAx\|^2+\Omega,\qquad
       \Omega=(1+\lambda_o)(M+\lambda_rK)-\|BAx\|^2,

    .. math:: M=\|BAx\|^2+\lambda_i\sum_jx_j^2\|(BA)_{:j}\|^2,\qquad
       K=\sum_k\|B_{:k}\|^2\Bigl[(Ax)_k^2+\lambda_i\sum_jA_{kj}^2x_j^2\Bigr]

    Alone, the inputs add :math:`\lambda_i\sum_jx_j^2\|(BA)_{:j}\|^2`, the rank
    :math:`\lambda_r\sum_k\|B_{:k}\|^2(Ax)_k^2` and the outputs :math:`\lambda_o\|BAx\|^2`. The
    rank's is the product of what goes into and out of a hidden unit, as for any layer that is
    linear from there on.

    Source: Arora, Bartlett, Mianjy & Srebro 2021, "Dropout: Explicit Forms and Capacity Control"
    (arXiv 2003.03397), for masks on hidden units (``p_rank``); the other places and their
    combinations derived here, by the identity at the top of this module applied to the outputs, the
    rank and the inputs in turn.

    Assumes: squared loss, no nonlinearity after the masks, and masks that are independent, of mean
    1 (divided by 1 - p) and variance p/(1-p), whatever their law. Unscaled training of the update
    is rescaled training of the update times the product of the 1 - p. For other losses it is the
    second term of an expansion.

    Args:
        features: x, (m, d_in), finite.
        A: (r, d_in), finite.
        B: (d_out, r), finite.
        p_in: rate at the inputs, in [0, 1).
        p_rank: rate in the rank dimension, in [0, 1).
        p_out: rate at the outputs, in [0, 1).

    Returns:
        What masks add to every example's expected loss, (m,), at least 0, in squared units of the
        output.

    Raises:
        ValueError: a rate lies outside [0, 1), an array is not finite or no matrix, or shapes do
            not fit.

    A single hidden unit at rate 1/2 has twice its output or none, each half of the time:

    >>> dropout_regularizer([[1.0]], [[1.0]], [[3.0]], p_rank=0.5).tolist()
    [9.0]
    """
    x, down, up = _matrices(features, A, B)
    inputs, rank, outputs = (
        _variance(name, p) for name, p in (("p_in", p_in), ("p_rank", p_rank), ("p_out", p_out))
    )
    squares, columns = Wide(x).squared(), Wide(up).squared().sum(0)
    hidden = _product(x, down)
    plain = _product_of(hidden, up).squared().sum(1)
    merged = _product(down.T, up)
    by_input = inputs * (squares * merged.squared().sum(1)).sum(1)
    # (m, r): the mean square of every hidden unit under masks of the inputs.
    entries = _expand(squares, 1) * _expand(Wide(down).squared(), 0)
    spread = hidden.squared() + inputs * entries.sum(2)
    by_rank = rank * (columns * spread).sum(1)
    added = by_input + by_rank
    return (added + outputs * (plain + added)).array()


def _matrices(features: ArrayLike, A: ArrayLike, B: ArrayLike) -> tuple[Real, Real, Real]:
    x, down, up = matrix("features", features), matrix("A", A), matrix("B", B)
    if down.shape[1] != x.shape[1]:
        raise ValueError(f"A must have {x.shape[1]} columns, got {down.shape[1]}")
    if up.shape[1] != down.shape[0]:
        raise ValueError(f"B must have {down.shape[0]} columns, got {up.shape[1]}")
    return x, down, up


def _variance(name: str, p: float) -> Wide:
    drop = single(name, rate_below_one(name, p))
    return Wide(drop) / (1 - drop)


def _product(x: Real, rows: Real) -> Wide:
    """x rows^T, (m, rows), without overflow on the way."""
    return _product_of(Wide(x), rows)


def _product_of(x: Wide, rows: Real) -> Wide:
    return (_expand(x, 1) * rows[None]).sum(2)


def _expand(value: Wide, axis: int) -> Wide:
    """The same with an axis of one entry more."""
    made = Wide(np.expand_dims(value.mantissa, axis))
    made.exponent = made.exponent + np.expand_dims(value.exponent, axis)
    return made

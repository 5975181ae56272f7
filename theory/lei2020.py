r"""On-average model stability: Lei & Ying 2020.

An algorithm is stable on average if its *parameters* move little when an example is replaced by a
fresh one, in the mean over examples and draws:

.. math:: \varepsilon_1=\mathbb E\,\frac1n\sum_i\|A(S^{(i)})-A(S)\|,\qquad
   \varepsilon_2^2=\mathbb E\,\frac1n\sum_i\|A(S^{(i)})-A(S)\|^2

:math:`z_i` is a fresh example for :math:`A(S^{(i)})`, so that the expected gap is
:math:`\mathbb E\frac1n\sum_i[f(A(S^{(i)});z_i)-f(A(S);z_i)]`.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from theory.domain import Real, nonnegative, unwrap
from theory.wide import Wide


def lipschitz_gap_bound(*, lipschitz: ArrayLike, stability: ArrayLike) -> float | Real:
    r"""Bound on the expected gap of a Lipschitz loss.

    .. math:: |\mathbb E[R-\hat R]|\le L\,\varepsilon_1

    Source: Lei & Ying 2020 (arXiv 2006.08157), Theorem 2, part a. Every difference in the expected
    gap, at the top of this module, is at most L times the distance.

    Assumes: independent examples, and a loss that is L-Lipschitz in the parameters, at least on the
    segments between :math:`A(S)` and :math:`A(S^{(i)})`.

    Args:
        lipschitz: L, at least 0, in units of the loss per unit of parameter; ``inf`` allowed.
        stability: :math:`\varepsilon_1\ge0`, in units of parameter; ``inf`` allowed.

    Returns:
        The bound in units of the loss, of the broadcast shape, never ``nan``: 0 where an argument
        is 0, otherwise ``inf`` where one is.

    Raises:
        ValueError: an argument is out of range.

    >>> lipschitz_gap_bound(lipschitz=2.0, stability=0.125)
    0.25
    """
    slope = Wide(nonnegative("lipschitz", lipschitz))
    return unwrap((slope * nonnegative("stability", stability)).array())


def smooth_gap_bound(
    *, train_loss: ArrayLike, smoothness: ArrayLike, stability: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap of a smooth loss, small where the training loss is.

    .. math:: \mathbb E[R-\hat R]\le
       \varepsilon_2\sqrt{2G\,\mathbb E\hat R}+\frac{G\,\varepsilon_2^2}2

    Source: Lei & Ying 2020 (arXiv 2006.08157), Theorem 2, part b, whose free constant
    :math:`\gamma` is put at its best, :math:`\sqrt{2G\,\mathbb E\hat R}/\varepsilon_2`, here. A
    smooth loss lies below its tangent plus :math:`G/2` times the squared distance; a smooth
    loss that is never negative has :math:`\|\nabla f\|^2\le2Gf`. Both in the expected gap, at the
    top of this module, with Cauchy and Schwarz's inequality, give the statement.

    Assumes: independent examples, and a loss that is G-smooth in the parameters (its gradient is
    G-Lipschitz) and at least 0 *everywhere*: a linear loss has G = 0, and its gap need not be 0.

    Args:
        train_loss: :math:`\mathbb E\hat R\ge0`, in units of the loss; ``inf`` allowed.
        smoothness: G, at least 0, in units of the loss per squared unit of parameter; ``inf``
            allowed.
        stability: :math:`\varepsilon_2\ge0`, in units of parameter; ``inf`` allowed.

    Returns:
        The bound in units of the loss, of the broadcast shape, never ``nan``: 0 where
        ``smoothness`` or ``stability`` is 0, otherwise ``inf`` where one of them is.

    Raises:
        ValueError: an argument is out of range.

    >>> smooth_gap_bound(train_loss=0.5, smoothness=4.0, stability=0.25)
    0.625
    """
    bend, moved = Wide(nonnegative("smoothness", smoothness)), nonnegative("stability", stability)
    slope = (2 * bend * nonnegative("train_loss", train_loss)).root()
    return unwrap((slope * moved + bend * Wide(moved).squared() / 2).array())

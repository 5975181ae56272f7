r"""Wang & Mao 2023 (arXiv 2302.02432): information of the difference of losses, and of each loss.

"Tighter information-theoretic generalization bounds from supersamples". Constants and constraints
were compared with the authors' code, https://github.com/ZiqiaoWangGeothe/ld-single-CMI; the proofs
are given here, conditional on the supersample (:mod:`theory.information`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.bisection import largest_where
from theory.domain import Real, unwrap
from theory.information import (
    information_gap_bound,
    interpolating_bound,
    mean_information,
    train_share,
    wide_mean_information,
)
from theory.wide import Wide


def loss_difference_gap_bound(*, information: ArrayLike, loss_bound: ArrayLike) -> float | Real:
    r"""Bound on the expected gap from the information of the selection with the loss difference.

    .. math:: \bigl|\mathbb E_U\,\mathrm{gap}\bigr|\le\frac Cn\sum_{i=1}^n
       \sqrt{2\,I(\Delta_i;U_i)},\qquad\Delta_i=\ell_{i,1}-\ell_{i,0}

    In expectation over U, not for each U.

    Source: arXiv 2302.02432 (ld-CMI); proof at
    :func:`theory.information.information_gap_bound`.

    Assumes: losses in [0, C]; fair coins U, and start, masks and all other randomness independent
    of U.

    Args:
        information: :math:`I(\Delta_i;U_i)`, at least 0, in nats, (..., n); ``inf`` allowed.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape of (...) and
        ``loss_bound``, never ``nan``; ``inf`` only where an argument is.

    Raises:
        ValueError: an argument is out of range, or there are no pairs.

    >>> loss_difference_gap_bound(information=[0.02, 0.0], loss_bound=1.0)
    0.1
    """
    return information_gap_bound(information=information, loss_bound=loss_bound)


def interpolating_gap_bound(
    *, information: ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap of an algorithm that fits its examples perfectly.

    .. math:: \mathbb E_U\,\mathrm{gap}\le\frac C{n\ln2}\sum_{i=1}^nI(\Delta_i;U_i)
       \qquad\text{where the train loss is 0 for every }U

    Then :math:`\Delta_i` tells :math:`U_i` unless it is 0, so that
    :math:`I(\Delta_i;U_i)\ge\ln2\;P(\Delta_i\ne0)`, and the loss is at most C times that
    probability. For a loss of 0 or C it is an equality where :math:`U_i` is a fair coin given
    :math:`\Delta_i=0`; so it is, by symmetry, for information that is not given the supersample,
    which makes it the authors' equality.

    Source: arXiv 2302.02432, the interpolating setting; the factor as in the authors' code.

    Assumes: losses in [0, C]; train loss 0 for every U; fair coins U, and start, masks and all
    other randomness independent of U.

    Args:
        information: :math:`I(\Delta_i;U_i)`, at least 0, in nats, (..., n); ``inf`` allowed.
        train_loss: mean over U, from 0 to ``loss_bound``, in units of the loss.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape of (...) and the
        others, never ``nan``; ``inf`` where ``train_loss`` is not 0, of which the statement does
        not speak, and otherwise only where an argument is.

    Raises:
        ValueError: an argument is out of range, the train loss exceeds ``loss_bound``, or there are
            no pairs.

    >>> round(interpolating_gap_bound(information=[0.1, 0.3], train_loss=0.0, loss_bound=1.0), 6)
    0.288539
    """
    return interpolating_bound(
        wide_mean_information(information) / np.log(2), train_loss, loss_bound
    )


def fast_rate_gap_bound(
    *, information: ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap from the single losses, of order 1/n where the train loss is 0.

    .. math:: \mathbb E_U\,\mathrm{gap}\le\min_{0<t\le\ln2}\Bigl\{c_t\hat L+\frac Ct\,
       \frac1n\sum_{i=1}^n\bigl(I(\ell_{i,0};U_i)+I(\ell_{i,1};U_i)\bigr)\Bigr\},\qquad
       e^t+e^{-t(1+c_t)}=2

    In expectation over U, not for each U.

    Let C = 1. Loss :math:`\ell_{i,0}` counts :math:`a=1` where it is a test loss and
    :math:`-(1+c_t)` where it is a train loss. With a fair coin in place of :math:`U_i`, independent
    of the loss, :math:`\mathbb Ee^{ta\ell}\le1`: it is convex in the loss, 1 at 0, and at 1 by the
    choice of :math:`c_t`. So (Donsker & Varadhan 1975)
    :math:`t\,\mathbb E[a\,\ell_{i,0}]\le I(\ell_{i,0};U_i)`; the sum over both losses and the mean
    over pairs give the statement. The pair of losses has such a moment too, so its information may
    replace the sum. With that, the bound is below :func:`theory.hellstrom2022.binary_kl_gap_bound`
    for a small train loss and above it for a large one.

    The best t gives the L, gap above :math:`\hat L`, of (derived here)

    .. math:: \hat L\ln\frac{\hat L}m+L\ln\frac Lm=\frac1n\sum_{i=1}^n
       \bigl(I(\ell_{i,0};U_i)+I(\ell_{i,1};U_i)\bigr),\qquad m=\frac{\hat L+L}2,

    in which form it is computed.

    Source: arXiv 2302.02432, the fast-rate bound with constants :math:`C_1=c_t`, :math:`C_2=t/2`
    and the same constraint, there for information that is not given the supersample.

    Assumes: losses in [0, C]; fair coins U, and start, masks and all other randomness independent
    of U.

    Args:
        information: :math:`I(\ell_{i,0};U_i)+I(\ell_{i,1};U_i)`, or :math:`I` of the pair of
            losses, at least 0, in nats, (..., n); ``inf`` allowed.
        train_loss: mean over U, from 0 to ``loss_bound``, in units of the loss.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape of (...) and the
        others, never ``nan``; 0 where ``loss_bound`` or all information is 0, otherwise ``inf``
        where an argument is.

    Raises:
        ValueError: an argument is out of range, the train loss exceeds ``loss_bound``, or there are
            no pairs.

    >>> round(fast_rate_gap_bound(information=[0.1, 0.3], train_loss=0.0, loss_bound=1.0), 6)
    0.288539
    """
    share, budget = np.broadcast_arrays(
        train_share(train_loss, loss_bound), mean_information(information)
    )
    largest = np.where(budget == 0, 0.0, np.finfo(np.float64).max)
    gap = largest_where(lambda gap: _cost(share, gap) <= budget, largest)
    ceiling = Wide(np.asarray(loss_bound, np.float64))
    return unwrap((ceiling * np.where(np.isinf(budget), np.inf, gap)).array())


@np.errstate(under="ignore")
def _cost(share: Real, gap: Real) -> Real:
    """p ln(p/m) + L ln(L/m), for L = p + gap and m the mean of both: m times a function of s.

    With s = gap / (2m) it is (1+s) ln(1+s) + (1-s) ln(1-s), of which 1 - s is p/m.
    """
    middle = share + gap / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        s, left = gap / 2 / middle, share / middle
    small = np.where(s < 0.5, s, 0.0)
    near = 2 * small * np.arctanh(small) + np.log1p(-np.square(small))
    far = (1 + s) * np.log1p(s) + left * np.log(np.where(left > 0, left, 1.0))
    return np.where(gap == 0, 0.0, middle * np.where(s < 0.5, near, far))

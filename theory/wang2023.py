"""Wang & Mao 2023 (arXiv 2302.02432): information of the difference of losses, and of each loss."""

import numpy as np
from numpy.typing import ArrayLike

from theory.bisection import largest_where
from theory.domain import Real, nonnegative, unwrap
from theory.information import information_gap_bound, mean_information, share_of_loss
from theory.wide import Wide


def loss_difference_gap_bound(*, information: ArrayLike, loss_bound: ArrayLike) -> float | Real:
    """ld-CMI (rough)."""
    return information_gap_bound(information=information, loss_bound=loss_bound)


def fast_rate_gap_bound(
    *, information: ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    """Fast rate (rough). information: I(l_i0;U_i) + I(l_i1;U_i), or that of the pair."""
    share, ceiling = share_of_loss(train_loss, loss_bound)
    share, budget = np.broadcast_arrays(share, mean_information(information).array())
    largest = np.full(share.shape, np.finfo(np.float64).max)
    gap = largest_where(lambda gap: _cost(share, gap) <= budget, largest)
    return unwrap((Wide(ceiling) * np.where(np.isinf(budget), np.inf, gap)).array())


def interpolating_gap_bound(
    *, information: ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    """Train loss 0 (rough). inf where train_loss is not 0."""
    share, ceiling = share_of_loss(train_loss, loss_bound)
    bound = (Wide(ceiling) * mean_information(information) / np.log(2)).array()
    return unwrap(np.where(nonnegative("train_loss", train_loss) > 0, np.inf, bound))


def _cost(share: Real, gap: Real) -> Real:
    """p ln(p/m) + L ln(L/m), for L = p + gap and m the mean of p and L."""
    middle = share + gap / 2
    with np.errstate(all="ignore"):
        s, left = gap / 2 / middle, share / middle
        near = 2 * s * np.arctanh(np.minimum(s, 0.5)) + np.log1p(-np.square(np.minimum(s, 0.5)))
        far = (1 + s) * np.log1p(s) + np.where(left > 0, left * np.log(left), 0.0)
    return np.where(gap == 0, 0.0, middle * np.where(s < 0.5, near, far))

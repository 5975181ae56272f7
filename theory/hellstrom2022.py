"""Hellström & Durisi 2022 (arXiv 2210.06422): samplewise evaluated CMI, binary-kl form.

"A new family of generalization bounds using samplewise evaluated CMI".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.binary_kl import largest_excess
from theory.domain import Real, unwrap
from theory.information import mean_information, train_share
from theory.wide import Wide


def binary_kl_gap_bound(
    *, information: ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap from the pairs of losses, by the divergence of two coins.

    With train loss :math:`\hat L` and loss L on the examples that were not chosen, both means over
    U in units of C,

    .. math:: d\Bigl(\hat L\,\Big\|\,\frac{\hat L+L}2\Bigr)\le
       \frac1n\sum_{i=1}^nI(\ell_{i,0},\ell_{i,1};U_i)=b,

    so that the gap is at most :math:`2C\max\{q-\hat L:d(\hat L\,\|\,q)\le b\}`. In expectation over
    U, not for each U.

    Toss a coin of chance :math:`\ell_{i,U_i}`. Its mean is that of the train loss of pair i; with a
    fair coin :math:`U'` in place of U, independent of the losses, it is the mean of both losses.
    Processing does not raise a divergence, so d of these two means is at most
    :math:`I(\ell_{i,0},\ell_{i,1};U_i)`. d is jointly convex: that gives the mean over pairs, and
    over supersamples too. There the mean of the bounds is below the bound at the means.

    The information of the *difference* of losses is enough too (derived here). Less the smaller
    one, or plus what the larger one lacks to 1, the losses are functions of their difference, and
    the gap is as before. So :math:`d(\hat L\,\|\,\hat L+\mathrm{gap}/2)` is at most the mean of
    :math:`I(\ell_{i,1}-\ell_{i,0};U_i)` for a smaller train loss and for a larger one; it is convex
    in :math:`\hat L`, so it is for this one. The smaller one, the mean of max(0, train less test
    loss), may stand for the train loss.

    Source: arXiv 2210.06422, for pairs of losses: the samplewise average bound with the binary KL
    divergence (Seeger's form); the inequality is that of the authors' code, ``kl(Rhat, Rhat/2 +
    R/2)``. Proof as above.

    Assumes: losses in [0, C]; fair coins U, and start, masks and all other randomness independent
    of U.

    Args:
        information: :math:`I(\ell_{i,0},\ell_{i,1};U_i)`, at least 0, in nats, (..., n); ``inf``
            allowed. That of the predictions, or of the difference of losses, does too.
        train_loss: mean over U, from 0 to ``loss_bound``, in units of the loss.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape of (...) and the
        others, at most :math:`2(C-\hat L)`, never ``nan``; 0 where all information is 0, otherwise
        ``inf`` where ``loss_bound`` is and the train loss is finite.

    Raises:
        ValueError: an argument is out of range, the train loss exceeds ``loss_bound``, or there are
            no pairs.

    >>> round(binary_kl_gap_bound(information=[0.1, 0.3], train_loss=0.0, loss_bound=1.0), 6)
    0.362538
    """
    share, mean = np.broadcast_arrays(
        train_share(train_loss, loss_bound), mean_information(information)
    )
    ceiling = Wide(np.asarray(loss_bound, np.float64))
    return unwrap((2 * ceiling * np.asarray(largest_excess(share, mean))).array())

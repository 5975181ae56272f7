"""Steinke & Zakynthinou 2020 (arXiv 2001.09122): evaluated CMI.

"Reasoning about generalization via conditional mutual information". They state it for the losses of
all pairs with the whole of U. The form here takes pair by pair, as Hellström & Durisi 2022 (arXiv
2210.06422) do, and is given the supersample (:mod:`theory.information`).
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from theory.domain import Real
from theory.information import information_gap_bound, interpolating_bound, wide_mean_information


def evaluated_information_gap_bound(
    *, information: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap from the information of the selection with the pair of losses.

    .. math:: \bigl|\mathbb E_U\,\mathrm{gap}\bigr|\le\frac Cn\sum_{i=1}^n
       \sqrt{2\,I(\ell_{i,0},\ell_{i,1};U_i)}

    In expectation over U, not for each U.

    Source: arXiv 2001.09122 (evaluated CMI), pair by pair as in arXiv 2210.06422; proof at
    :func:`theory.information.information_gap_bound`.

    Assumes: losses in [0, C]; fair coins U, and start, masks and all other randomness independent
    of U.

    Args:
        information: :math:`I(\ell_{i,0},\ell_{i,1};U_i)`, at least 0, in nats, (..., n); ``inf``
            allowed.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape of (...) and
        ``loss_bound``, never ``nan``; ``inf`` only where an argument is.

    Raises:
        ValueError: an argument is out of range, or there are no pairs.

    >>> evaluated_information_gap_bound(information=[0.02, 0.02], loss_bound=3.0)
    0.6000000000000001
    """
    return information_gap_bound(information=information, loss_bound=loss_bound)


def interpolating_evaluated_gap_bound(
    *, information: ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap of an algorithm that fits its examples perfectly.

    .. math:: \mathbb E_U\,\mathrm{gap}\le\frac{3C}{2n}\sum_{i=1}^nI(\ell_{i,0},\ell_{i,1};U_i)
       \qquad\text{where the train loss is 0 for every }U

    The constant 3/2 is above :math:`1/\ln2`: :func:`theory.wang2023.interpolating_gap_bound` is
    tighter, and its proof holds here.

    Source: arXiv 2001.09122, the bound for train loss 0 with 1.5 CMI / n, here pair by pair.

    Assumes: losses in [0, C]; train loss 0 for every U; fair coins U, and start, masks and all
    other randomness independent of U.

    Args:
        information: :math:`I(\ell_{i,0},\ell_{i,1};U_i)`, at least 0, in nats, (..., n); ``inf``
            allowed.
        train_loss: mean over U, from 0 to ``loss_bound``, in units of the loss.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape of (...) and the
        others, never ``nan``; ``inf`` where ``train_loss`` is not 0, of which the statement does
        not speak, and where an argument is.

    Raises:
        ValueError: an argument is out of range, or there are no pairs.

    >>> interpolating_evaluated_gap_bound(information=[0.02, 0.06], train_loss=0.0, loss_bound=1.0)
    0.06
    """
    return interpolating_bound(1.5 * wide_mean_information(information), train_loss, loss_bound)

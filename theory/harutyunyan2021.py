"""Harutyunyan, Raginsky, Ver Steeg & Galstyan 2021 (arXiv 2110.01584): f-CMI.

"Information-theoretic generalization bounds for black-box learning algorithms". f stands for the
functions that are learned: what counts is their predictions, not the parameters.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from theory.domain import Real
from theory.information import information_gap_bound


def prediction_information_gap_bound(
    *, information: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap from the information of the selection with the predictions.

    .. math:: \bigl|\mathbb E_U\,\mathrm{gap}\bigr|\le\frac Cn\sum_{i=1}^n
       \sqrt{2\,I\bigl(F_{i,0},F_{i,1};U_i\bigr)}

    :math:`F_{i,0},F_{i,1}` are the predictions at the two examples of pair i, and everything is
    given the supersample (:mod:`theory.information`). In expectation over U, not for each U.

    Source: arXiv 2110.01584, the bound from subsets of m = 1 pair; its constant is that of the
    authors' code, ``sqrt(2 * mi)``, the proof that of
    :func:`theory.information.information_gap_bound`.

    Assumes: losses in [0, C] that are functions of prediction and example; fair coins U, and
    start, masks and all other randomness independent of U.

    Args:
        information: :math:`I(F_{i,0},F_{i,1};U_i)`, at least 0, in nats, (..., n); ``inf`` allowed.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape of (...) and
        ``loss_bound``, never ``nan``; ``inf`` only where an argument is.

    Raises:
        ValueError: an argument is out of range, or there are no pairs.

    >>> prediction_information_gap_bound(information=[0.02, 0.08], loss_bound=1.0)
    0.30000000000000004
    """
    return information_gap_bound(information=information, loss_bound=loss_bound)

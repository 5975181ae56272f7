r"""Information of a selection that something observed has, and the inequality of all that use it.

A *supersample* is n pairs :math:`(z_{i,0},z_{i,1})`. A *selection* :math:`U\in\{0,1\}^n` is uniform;
training takes :math:`z_{i,U_i}` of every pair, the other one is a fresh test example. Everything else
(the pairs, the start, the masks) is fixed: what is said here is conditional on it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.domain import Real, at_most, entries_along, nonnegative, unwrap
from theory.wide import Wide

#: Information of one fair selection with what determines it, in nats: the largest there is.
LARGEST_INFORMATION = float(np.log(2))


def plug_in_information(selections: ArrayLike, codes: ArrayLike) -> Real:
    r"""Information of each pair's selection with what was observed of the pair, in nats.

    .. math:: \hat I_i=\ln2-\hat H(U_i\mid X_i),\qquad \hat H(U_i\mid X_i)=
       \sum_x\frac{K_x}K\,h\Bigl(\frac{K_{1x}}{K_x}\Bigr),

    where code x occurs in :math:`K_x` of K selections, :math:`K_{1x}` times with :math:`U_i=1`, and
    h is the entropy of a coin. U is fair by design, so :math:`H(U_i)=\ln2` is not estimated.

    From all :math:`2^n` selections it is no estimate but the information itself. From K independent
    ones its expectation is never below the information, as the conditional entropy is concave in the
    law of both: see :func:`plug_in_bias`.

    Assumes: selections that are fair coins, independent of each other, or all there are.

    Args:
        selections: U, 0 or 1, (K, n).
        codes: what was observed of each pair under each selection, as whole numbers (K, n); only
            whether two of a column are equal matters.

    Returns:
        The information in nats, in [0, ln 2], (n,).

    Raises:
        ValueError: a selection is not 0 or 1, a code is not a whole number, the shapes differ or
            are not (K, n), or there is no selection.

    >>> every = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> plug_in_information(every, [[5, 0], [5, 0], [7, 0], [7, 1]]).round(4).tolist()
    [0.6931, 0.2158]
    """
    chosen, observed = _observations(selections, codes)
    return np.array([_information(u, x) for u, x in zip(chosen.T, observed.T, strict=True)])


def plug_in_bias(selections: ArrayLike, codes: ArrayLike) -> Real:
    r"""First-order upward bias of :func:`plug_in_information` from K random selections, in nats.

    .. math:: \frac{\text{codes observed}}{2K}

    Source: Miller 1955, for the conditional entropy of a coin.

    Args:
        selections: as for :func:`plug_in_information`.
        codes: as for :func:`plug_in_information`.

    Returns:
        The bias in nats, (n,).

    Raises:
        ValueError: as for :func:`plug_in_information`.

    >>> plug_in_bias([[0], [1], [0], [1]], [[1], [1], [2], [2]]).tolist()
    [0.25]
    """
    _, observed = _observations(selections, codes)
    return np.array([len(np.unique(x)) / (2 * len(x)) for x in observed.T])


def information_gap_bound(*, information: ArrayLike, loss_bound: ArrayLike) -> float | Real:
    r"""Bound on the expected gap from any information that the loss differences are functions of.

    .. math:: |\mathbb E\,\mathrm{gap}|\le\frac Cn\sum_{i=1}^n\sqrt{2I_i}

    Args:
        information: :math:`I_i\ge0` in nats, (..., n).
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound in units of the loss.

    Raises:
        ValueError: an argument is out of range, or there are no pairs.

    >>> information_gap_bound(information=[0.5, 0.0], loss_bound=1.0)
    0.5
    """
    known = nonnegative("information", information)
    pairs = entries_along("number of pairs", known, -1)
    mean = (2 * Wide(known)).root().sum(axis=-1) / pairs
    return unwrap((Wide(nonnegative("loss_bound", loss_bound)) * mean).array())


def mean_information(information: ArrayLike) -> Wide:
    """Return the mean over pairs of their information.

    Args:
        information: at least 0, in nats, (..., n); ``inf`` allowed.

    Returns:
        The means, (...).

    Raises:
        ValueError: an entry is negative, or there are no pairs.
    """
    known = nonnegative("information", information)
    return Wide(known).sum(axis=-1) / entries_along("number of pairs", known, -1)


def share_of_loss(train_loss: ArrayLike, loss_bound: ArrayLike) -> tuple[Real, Real]:
    """Return the train loss as a share of the largest loss, and the largest loss.

    Args:
        train_loss: at least 0, at most ``loss_bound``.
        loss_bound: at least 0; ``inf`` allowed.

    Returns:
        The shares in [0, 1], 0 where ``loss_bound`` is 0, and ``loss_bound``.

    Raises:
        ValueError: an argument is out of range, or the train loss exceeds its bound.
    """
    ceiling, measured = nonnegative("loss_bound", loss_bound), nonnegative("train_loss", train_loss)
    at_most("train_loss", measured, "loss_bound", ceiling)
    return np.minimum((Wide(measured) / Wide(ceiling)).array(), 1.0), ceiling


def _observations(
    selections: ArrayLike, codes: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    chosen, observed = np.asarray(selections), np.asarray(codes)
    if chosen.ndim != 2 or chosen.shape[0] == 0 or chosen.shape != observed.shape:
        raise ValueError(
            f"selections and codes must have one shape (K, n), K at least 1, got {chosen.shape} "
            f"and {observed.shape}"
        )
    if not np.isin(chosen, (0, 1)).all():
        raise ValueError("selections must be 0 or 1")
    return chosen.astype(np.int64), observed.astype(np.int64)


def _information(chosen: NDArray[np.int64], observed: NDArray[np.int64]) -> float:
    labels, cell = np.unique(observed, return_inverse=True)
    ones = np.bincount(cell, weights=chosen, minlength=len(labels))
    total = np.bincount(cell, minlength=len(labels))
    return float(total @ _coin_information(ones / total) / len(chosen))


def _coin_information(share: Real) -> Real:
    """ln 2 less the entropy of a coin."""
    rest = 1 - share
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(share > 0, share * np.log(2 * share), 0.0)
        parts = parts + np.where(rest > 0, rest * np.log(2 * rest), 0.0)
    return np.maximum(parts, 0.0)

r"""What a supersample's observations know of the selection, and the lemma that bounds share.

A *supersample* is n pairs :math:`(z_{i,0},z_{i,1})` of independent examples. A *selection* U is n
fair coins; training takes :math:`z_{i,U_i}` of every pair, and the other one is a fresh example.
Everything else (the pairs, the start, the masks) is fixed, or drawn independently of U. Loss of the
trained model on the chosen examples less that on the others is the gap of this supersample; its
mean over supersamples is that of generalization.

All bounds hold for the *expectation* of the gap over U, given the supersample, and not for each U,
nor with high probability. Their means over supersamples hold for the mean of the gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.binary_kl import binary_kl
from theory.domain import Real, at_most, entries_along, nonnegative, unwrap
from theory.wide import Wide

Labels = NDArray[np.int64]


def plug_in_information(selections: ArrayLike, codes: ArrayLike) -> Real:
    r"""Information of each pair's selection with what was observed of the pair.

    .. math:: \hat I_i=\ln2-\sum_x\frac{K_x}K\,h\Bigl(\frac{K_{1x}}{K_x}\Bigr)

    Of K selections :math:`K_x` give the observation x, :math:`K_{1x}` of them have :math:`U_i=1`;
    h is the entropy of a coin. The coin is fair by design: its entropy ln 2 is not estimated.

    From all :math:`2^n` selections it is the information itself and no estimate. From K that are
    drawn its expectation is never below the information, since the entropy given x is concave in
    the law that is estimated: see :func:`plug_in_bias`. The root of an estimate has no such
    guarantee, so a bound from few selections can be too small where the information is large.

    With *these* selections as the law of U, it is the divergence from a fair coin independent of x,
    which is all that the proofs use. So for any K a bound from it holds for the mean gap over the
    same K selections: that comparison cannot fail and tests nothing.

    Args:
        selections: U, 0 or 1, (K, n).
        codes: what was observed of each pair, as whole numbers, (K, n). Only whether two numbers of
            a column are equal matters.

    Returns:
        The information in nats, in [0, ln 2], (n,).

    Raises:
        ValueError: selections are not 0 or 1, codes are no whole numbers, there are no selections,
            or the shapes differ.

    >>> every = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> plug_in_information(every, [[5, 0], [5, 0], [7, 0], [7, 1]]).round(4).tolist()
    [0.6931, 0.2158]
    """
    chosen, observed = _observations(selections, codes)
    times, ones, column = _counts(chosen, observed)
    # ln 2 less the entropy of a coin is its divergence from a fair one, without the cancellation.
    fair = np.asarray(binary_kl(ones / times, 0.5))
    known = np.bincount(column, weights=times * fair, minlength=chosen.shape[1])
    return np.minimum(known / len(chosen), np.log(2))


def plug_in_bias(selections: ArrayLike, codes: ArrayLike) -> Real:
    r"""First-order bias of :func:`plug_in_information`: half the number of codes seen, over K.

    A coin that is estimated from :math:`K_x` tosses has an entropy too small by about
    :math:`1/(2K_x)` (Miller 1955), or by nothing where the code determines the selection. In
    expectation it is too small by :math:`\ln(1+1/K_x)\le1/K_x` at most (Paninski 2003, Proposition
    1). So the expected bias is positive and at most twice what this function returns. It makes the
    bound larger, and is not subtracted.

    It is 0 where every selection was enumerated, whatever this function says.

    Args:
        selections: U, 0 or 1, (K, n), drawn independently.
        codes: what was observed of each pair, as whole numbers, (K, n).

    Returns:
        The bias in nats, at least 0, (n,).

    Raises:
        ValueError: as for :func:`plug_in_information`.

    >>> plug_in_bias([[0], [1], [0], [1]], [[1], [1], [2], [2]]).tolist()
    [0.25]
    """
    chosen, observed = _observations(selections, codes)
    _, _, column = _counts(chosen, observed)
    return np.bincount(column, minlength=chosen.shape[1]) / (2 * len(chosen))


def leave_one_out_information(observations: ArrayLike) -> float:
    r"""Information of the index that was left out with what was observed, for a fixed algorithm.

    .. math:: I(U;X)=\ln(n+1)-\sum_x\frac{K_x}{n+1}\ln K_x

    U is uniform on n + 1 examples, X is what was observed of the model trained without example U:
    a function of U, so that its information is its entropy. :math:`K_x` indices give x.

    Args:
        observations: one row an index, (n + 1,) or (n + 1, m). Only whether two rows are equal
            matters.

    Returns:
        The information in nats, in [0, ln(n + 1)].

    Raises:
        ValueError: there are no rows, or an entry is ``nan`` or no number.

    >>> round(leave_one_out_information([[0, 0], [0, 1], [0, 0], [0, 0]]), 4)
    0.5623
    """
    rows = np.asarray(observations)
    total = entries_along("observations", rows, 0)
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"observations must be numbers, got an array of {rows.dtype}")
    if np.isnan(rows.astype(np.float64)).any():
        raise ValueError("observations must be numbers, got nan")
    _, times = np.unique(rows.reshape(total, -1), axis=0, return_counts=True)
    return float(np.maximum(np.log(total) - times @ np.log(times) / total, 0.0))


def information_gap_bound(*, information: ArrayLike, loss_bound: ArrayLike) -> float | Real:
    r"""Bound on the expected gap from information with anything that gives the loss differences.

    .. math:: \bigl|\mathbb E_U\,\mathrm{gap}\bigr|\le\frac Cn\sum_{i=1}^n\sqrt{2\,I(X_i;U_i)}

    Let :math:`\Delta_i`, a function of :math:`X_i`, be the loss at :math:`z_{i,1}` less that at
    :math:`z_{i,0}`. The gap is the mean of :math:`(-1)^{U_i}\Delta_i`. With a fair coin
    :math:`U'` independent of :math:`X_i`, for every t (Donsker & Varadhan 1975)

    .. math:: t\,\mathbb E(-1)^{U_i}\Delta_i\le I(X_i;U_i)+\ln\mathbb E\cosh(t\Delta_i)
       \le I(X_i;U_i)+\tfrac12t^2C^2,

    and :math:`t=\pm\sqrt{2I}/C` is best. For small information it is tight: equality to first
    order where :math:`|\Delta_i|=C` always.

    Source: derived here. With the predictions of pair i, the losses or their difference as
    :math:`X_i` it is f-CMI (:mod:`theory.harutyunyan2021`), e-CMI (:mod:`theory.steinke2020`) or
    ld-CMI (:mod:`theory.wang2023`). Each is a function of the one before, so the bounds fall.

    Assumes: :math:`|\Delta_i|\le C`, as for losses in [0, C]; fair coins U, and all else
    independent of them.

    Args:
        information: of every pair, at least 0, in nats, (..., n); ``inf`` allowed.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape of (...) and
        ``loss_bound``, never ``nan``: 0 where ``loss_bound`` or all information is 0, otherwise
        ``inf`` where one of them is.

    Raises:
        ValueError: an argument is out of range, or there are no pairs.

    >>> information_gap_bound(information=[0.5, 0.0], loss_bound=1.0)
    0.5
    """
    known = nonnegative("information", information)
    pairs = entries_along("number of pairs", known, -1)
    mean = (2 * Wide(known)).root().sum(axis=-1) / pairs
    return unwrap((Wide(nonnegative("loss_bound", loss_bound)) * mean).array())


def mean_information(information: ArrayLike) -> Real:
    """Return the mean over pairs of what was observed of each.

    Args:
        information: of every pair, at least 0, in nats, (..., n); ``inf`` allowed.

    Returns:
        The mean in nats, (...).

    Raises:
        ValueError: an entry is out of range, or there are no pairs.

    >>> float(mean_information([0.5, 0.25]))
    0.375
    """
    return wide_mean_information(information).array()


def wide_mean_information(information: ArrayLike) -> Wide:
    """Return :func:`mean_information` before it is rounded to a double.

    Args:
        information: as there.

    Returns:
        The mean in nats, (...).

    Raises:
        ValueError: an entry is out of range, or there are no pairs.

    Half of the smallest double, which is 0 as a double:

    >>> float((2 * wide_mean_information([5e-324, 0.0])).array())
    5e-324
    """
    known = nonnegative("information", information)
    return Wide(known).sum(axis=-1) / entries_along("number of pairs", known, -1)


def train_share(train_loss: ArrayLike, loss_bound: ArrayLike) -> Real:
    """Return the train loss in units of the largest loss.

    Args:
        train_loss: from 0 to ``loss_bound``, in units of the loss.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The share in [0, 1], of the broadcast shape; 0 where ``train_loss`` is 0.

    Raises:
        ValueError: an argument is out of range, or the train loss exceeds ``loss_bound``.

    >>> float(train_share(0.5, loss_bound=2.0))
    0.25
    """
    ceiling, measured = nonnegative("loss_bound", loss_bound), nonnegative("train_loss", train_loss)
    at_most("train_loss", measured, "loss_bound", ceiling)
    return np.minimum((Wide(measured) / Wide(ceiling)).array(), 1.0)


def interpolating_bound(
    share: Wide | ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    """Return a share of the largest loss, where the train loss is 0 and the statement speaks.

    Args:
        share: the bound in units of ``loss_bound``, at least 0; ``inf`` allowed. It need not be a
            double where the bound is one.
        train_loss: from 0 to ``loss_bound``, in units of the loss.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.

    Returns:
        The bound in units of the loss, of the broadcast shape; ``inf`` where ``train_loss`` is not
        0.

    Raises:
        ValueError: an argument is out of range, or the train loss exceeds ``loss_bound``.

    >>> interpolating_bound([0.2, 0.2], train_loss=[0.0, 0.1], loss_bound=1.0).tolist()
    [0.2, inf]
    """
    train_share(train_loss, loss_bound)
    part = share if isinstance(share, Wide) else nonnegative("share", share)
    bound = Wide(nonnegative("loss_bound", loss_bound)) * part
    fits = np.asarray(train_loss, np.float64) == 0
    return unwrap(np.where(fits, bound.array(), np.inf))


def _observations(selections: ArrayLike, codes: ArrayLike) -> tuple[Labels, Labels]:
    chosen, observed = np.asarray(selections), np.asarray(codes)
    if chosen.ndim != 2 or len(chosen) == 0 or chosen.shape != observed.shape:
        raise ValueError(
            "selections and codes must have one shape (K, n) with K at least 1, got "
            f"{chosen.shape} and {observed.shape}"
        )
    fair = np.isin(chosen, (0, 1))
    if not fair.all():
        raise ValueError(f"selections must be 0 or 1, got {chosen[~fair].flat[0]}")
    if observed.dtype.kind not in "biu":
        raise ValueError(f"codes must be whole numbers, got an array of {observed.dtype}")
    return chosen.astype(np.int64), observed.astype(np.int64)


def _counts(chosen: Labels, observed: Labels) -> tuple[Labels, Real, Labels]:
    """For every code of every column: how often it is seen, how often with 1, and its column."""
    order = np.argsort(observed, axis=0, kind="stable")
    ordered = np.take_along_axis(observed, order, axis=0)
    first = np.ones(observed.shape, dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    # Column after column, so that a new column is a new code too.
    code = np.cumsum(first.T.ravel()) - 1
    one = np.take_along_axis(chosen, order, axis=0).T.ravel()
    times, ones = np.bincount(code), np.bincount(code, weights=one)
    return times.astype(np.int64), ones.astype(np.float64), np.nonzero(first.T)[0].astype(np.int64)

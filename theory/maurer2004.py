"""PAC-Bayes bounds on the loss of a randomized predictor: Maurer 2004."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.binary_kl import largest_excess
from theory.domain import Real, count, nonnegative, probability, rate, unwrap
from theory.wide import Wide


def pac_bayes_gap_bound(
    *, loss_bound: ArrayLike, divergence: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bound on the gap of a randomized predictor drawn from a posterior.

    .. math:: \mathbb E_QR-\mathbb E_Q\hat R\le
       C\sqrt{\frac{\mathrm{KL}(Q\|P)+\ln(2\sqrt n/\delta)}{2n}}

    Source: McAllester 1999 in the form of Maurer 2004 (arXiv cs/0411099), with Pinsker's
    inequality. The proof has :math:`\xi(n)=\sum_{k=0}^n\binom nk(k/n)^k(1-k/n)^{n-k}` in the place
    of :math:`2\sqrt n`, for every n. Maurer shows :math:`\xi(n)\le2\sqrt n` for n at least 8; for
    n = 1, ..., 7 the seven sums show it (equality at n = 1), so the bound holds there too.

    Assumes: losses in [0, C], independent examples, and a prior P that was chosen without them.

    Args:
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        divergence: KL(Q || P), at least 0, in nats; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the gap in units of the loss, of the broadcast shape, never ``nan``: 0 where
        ``loss_bound`` is 0, otherwise ``inf`` where it or ``divergence`` is.

    Raises:
        ValueError: an argument is out of range.

    >>> round(pac_bayes_gap_bound(loss_bound=1.0, divergence=0.5, n=1000, delta=0.05), 4)
    0.0618
    """
    ceiling = Wide(nonnegative("loss_bound", loss_bound))
    return unwrap((ceiling * (_complexity(divergence, n, delta) / 2).root()).array())


def pac_bayes_loss_bound(
    *, train_loss: ArrayLike, divergence: ArrayLike, n: ArrayLike, delta: ArrayLike
) -> float | Real:
    r"""Bound on the loss of a randomized predictor, by inversion of the binary divergence.

    .. math:: d\bigl(\mathbb E_Q\hat R\,\|\,\mathbb E_QR\bigr)\le
       \frac{\mathrm{KL}(Q\|P)+\ln(2\sqrt n/\delta)}n

    with probability at least :math:`1-\delta` over S, for all Q together; d is
    ``theory.binary_kl``. It is never above :func:`pac_bayes_gap_bound`, which is what Pinsker's
    inequality :math:`d(a\|b)\ge2(a-b)^2` leaves of it, and far below it where the training loss is
    small.

    Source: Seeger 2002 (JMLR 3), Theorem 1, for the 0-1 loss; Maurer 2004 (arXiv cs/0411099),
    Theorem 5, for losses in [0, 1] and with :math:`2\sqrt n`.

    Assumes: losses in [0, 1], independent examples, and a prior P that was chosen without them: at
    a prior that is the posterior itself the divergence is 0, and the bound fails.

    Args:
        train_loss: :math:`\mathbb E_Q\hat R`, in [0, 1].
        divergence: KL(Q || P), at least 0, in nats; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.
        delta: failure probability in (0, 1].

    Returns:
        The bound on the loss, in [train_loss, 1], of the broadcast shape.

    Raises:
        ValueError: an argument is out of range.

    Without training loss, :math:`-\ln(1-R)` is at most the right side, here 0.2:

    >>> import math
    >>> divergence = 20 - math.log(2 * 10 / 0.05)
    >>> round(pac_bayes_loss_bound(train_loss=0.0, divergence=divergence, n=100, delta=0.05), 4)
    0.1813
    """
    found = rate("train_loss", train_loss)
    budget = _complexity(divergence, n, delta).array()
    return unwrap(np.asarray(found + largest_excess(found, budget)))


def _complexity(divergence: ArrayLike, n: ArrayLike, delta: ArrayLike) -> Wide:
    """(KL + ln(2 sqrt(n) / delta)) / n."""
    examples = Wide.count(count("n", n))
    rarity = (2 * examples.root() / probability("delta", delta)).log()
    return Wide(nonnegative("divergence", divergence) + rarity) / examples

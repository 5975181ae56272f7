"""PAC-Bayes bounds on the loss of a randomized predictor: Maurer 2004."""

from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, probability, unwrap
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
    examples, ceiling = Wide.count(count("n", n)), Wide(nonnegative("loss_bound", loss_bound))
    rarity = (2 * examples.root() / probability("delta", delta)).log()
    complexity = nonnegative("divergence", divergence) + rarity
    return unwrap((ceiling * (Wide(complexity) / (2 * examples)).root()).array())

"""Counting what a quantized low-rank update can be: Zhu et al. 2024, from Xu & Raginsky 2017."""

from __future__ import annotations

from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, unwrap
from theory.wide import Wide

#: Natural logarithm of 2: nats a bit.
NATS_A_BIT = 0.6931471805599453


def quantized_gap_bound(
    *, bits: ArrayLike, parameters: ArrayLike, loss_bound: ArrayLike, n: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap of a network whose trained numbers have q bits each.

    .. math:: |\mathbb E[R-\hat R]|\le C\sqrt{\frac{q\,m\ln2}{2n}},\qquad
       m=r\sum_{\text{layers}}(d_{\mathrm{in}}+d_{\mathrm{out}})

    Source: Zhu et al. 2024, "Asymmetry in Low-Rank Adapters of Foundation Models" (arXiv
    2402.16842), Lemma 4.5, for losses that are :math:`\sigma`-sub-Gaussian; a loss in [0, C] is so
    with :math:`\sigma=C/2` (Hoeffding 1963). If B alone is trained, m is
    :math:`r\sum d_{\mathrm{out}}`. Xu & Raginsky 2017 (arXiv 1705.07809), Theorem 1, bounds the
    expected gap by :math:`\sqrt{2\sigma^2I(W;S)/n}`, and the information that a network holds of S
    is at most the logarithm of the number of networks, :math:`q\,m\ln2`.

    Assumes: losses in [0, C], independent examples, and that q bits a number describe the network
    completely: the quantizer's grid, the frozen weights and the start are chosen without the data,
    or their bits are counted. A number of unlimited precision can hold the training set, and no
    bound follows from the count of numbers alone.

    Args:
        bits: q, at least 0.
        parameters: m, at least 0: trained numbers.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.

    Returns:
        The bound in units of the loss, of the broadcast shape, never ``nan``: 0 where one of the
        first three is 0, otherwise ``inf`` where one of them is.

    Raises:
        ValueError: an argument is out of range.

    >>> round(quantized_gap_bound(bits=1, parameters=1, loss_bound=1.0, n=50), 4)
    0.0833
    """
    held = NATS_A_BIT * Wide(nonnegative("bits", bits)) * nonnegative("parameters", parameters)
    ceiling = Wide(nonnegative("loss_bound", loss_bound))
    return unwrap((ceiling * (held / (2 * Wide.count(count("n", n)))).root()).array())

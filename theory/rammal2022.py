"""Rammal, Achille, Golatkar, Diggavi & Soatto 2022: leave-one-out CMI without perfect fit.

"On leave-one-out conditional mutual information for generalization", arXiv 2207.00581. The index U
of the example that is left out is uniform on n + 1 examples; the n others train.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, unwrap
from theory.wide import Wide


def leave_one_out_gap_bound(
    *, information: ArrayLike, loss_bound: ArrayLike, n: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap from the information of the left-out index with the losses.

    .. math:: \Bigl|\mathbb E_U\Bigl[\ell_U-\frac1n\sum_{i\ne U}\ell_i\Bigr]\Bigr|\le
       C\Bigl(1+\frac1n\Bigr)\sqrt{\frac{I(\ell_0,\dots,\ell_n;U)}2}

    It is given the n + 1 examples, and in expectation over U, not for each U. The mean over draws
    of the examples bounds the expected gap of training on n.

    The bracket is :math:`(1+1/n)\,\ell_U` less what does not depend on U. With :math:`U'` uniform
    in place of U, independent of the losses, it has mean 0 and lies in an interval of length
    :math:`(1+1/n)C`; Hoeffding's lemma bounds its moment, and Donsker & Varadhan's inequality gives
    the statement. For n = 1 it is that of one pair,
    :func:`theory.information.information_gap_bound`.

    It says nothing of an algorithm whose losses tell U: their information is ln(n + 1), and the
    bound above C. Only losses that take few values, such as the 0-1 loss, tell less.

    Source: Rammal et al. 2022 bound the gap by this information; constant and proof are derived
    here.

    Assumes: losses in [0, C]; U uniform, and start, masks and all other randomness independent of
    U.

    Args:
        information: of U with the losses of all n + 1 examples, at least 0, in nats; ``inf``
            allowed. See :func:`theory.information.leave_one_out_information`.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape, never ``nan``:
        0 where ``information`` or ``loss_bound`` is, otherwise ``inf`` where one of them is.

    Raises:
        ValueError: an argument is out of range.

    >>> leave_one_out_gap_bound(information=0.02, loss_bound=1.0, n=4)
    0.125
    """
    spread = (1 + 1 / count("n", n)) * (Wide(nonnegative("information", information)) / 2).root()
    return unwrap((Wide(nonnegative("loss_bound", loss_bound)) * spread).array())

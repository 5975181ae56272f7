"""Haghifam, Moran, Roy & Dziugaite 2022 (arXiv 2206.14800): leave-one-out CMI.

"Understanding generalization via leave-one-out conditional mutual information". The index U of the
example that is left out is uniform on n + 1 examples; the n others train.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative
from theory.information import interpolating_bound
from theory.wide import Wide


def leave_one_out_gap_bound(
    *, information: ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike, n: ArrayLike
) -> float | Real:
    r"""Bound on the expected gap of an algorithm that fits its examples perfectly.

    .. math:: \mathbb E_U\,\ell_U\le\frac{C\,I(\ell_0,\dots,\ell_n;U)}{\ln(n+1)}
       \qquad\text{where the train loss is 0 for every U}

    It is given the n + 1 examples, and in expectation over U, not for each U. The mean over draws
    of the examples bounds the expected risk of training on n.

    Let C = 1, and :math:`\Phi_u` be :math:`(n+1)^{\ell_u}` if all losses but :math:`\ell_u` are 0,
    and 0 otherwise. Its mean over u is 1 if all losses are 0, :math:`(n+1)^{\ell-1}\le1` if one
    alone is not, and 0 otherwise. So (Donsker & Varadhan 1975)
    :math:`\mathbb E\ln\Phi_U=\ln(n+1)\,\mathbb E\ell_U\le I`.

    The information of the *losses* is to be known, not that of the parameters: an algorithm without
    randomness tells U by its parameters, which is ln(n + 1), and the bound C.

    Source: arXiv 2206.14800, whose bounds for interpolating algorithms and the 0-1 loss these are;
    proof as above.

    Assumes: losses in [0, C]; train loss 0 for every U; U uniform, and start, masks and all other
    randomness independent of U.

    Args:
        information: of U with the losses of all n + 1 examples, at least 0, in nats; ``inf``
            allowed. See :func:`theory.information.leave_one_out_information`.
        train_loss: mean over U, from 0 to ``loss_bound``, in units of the loss.
        loss_bound: C, at least 0, in units of the loss; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.

    Returns:
        The bound on the expected gap in units of the loss, of the broadcast shape, never ``nan``;
        ``inf`` where ``train_loss`` is not 0, of which the statement does not speak.

    Raises:
        ValueError: an argument is out of range, or the train loss exceeds ``loss_bound``.

    >>> round(leave_one_out_gap_bound(information=0.5623, train_loss=0.0, loss_bound=1.0, n=3), 4)
    0.4056
    """
    known = Wide(nonnegative("information", information))
    share = known / np.log1p(count("n", n))
    return interpolating_bound(share, train_loss, loss_bound)

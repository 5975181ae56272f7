"""Haghifam, Moran, Roy & Dziugaite 2022 (arXiv 2206.14800): leave-one-out CMI."""

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, unwrap
from theory.information import share_of_loss
from theory.wide import Wide


def leave_one_out_gap_bound(
    *, information: ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike, n: ArrayLike
) -> float | Real:
    """Train loss 0 (rough): C I / ln(n + 1), inf where train_loss is not 0."""
    _, ceiling = share_of_loss(train_loss, loss_bound)
    known = Wide(nonnegative("information", information))
    bound = (Wide(ceiling) * known / np.log1p(count("n", n))).array()
    return unwrap(np.where(nonnegative("train_loss", train_loss) > 0, np.inf, bound))

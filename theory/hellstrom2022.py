"""Hellström & Durisi 2022 (arXiv 2210.06422): samplewise evaluated CMI, binary-kl form."""

import numpy as np
from numpy.typing import ArrayLike

from theory.binary_kl import largest_excess
from theory.domain import Real, unwrap
from theory.information import mean_information, share_of_loss
from theory.wide import Wide


def binary_kl_gap_bound(
    *, information: ArrayLike, train_loss: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    """Binary-kl form (rough)."""
    share, ceiling = share_of_loss(train_loss, loss_bound)
    mean = mean_information(information).array()
    share, mean = np.broadcast_arrays(share, mean)
    return unwrap((2 * Wide(ceiling) * np.asarray(largest_excess(share, mean))).array())

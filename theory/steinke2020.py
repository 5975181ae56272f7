"""Steinke & Zakynthinou 2020 (arXiv 2001.09909): e-CMI."""

from numpy.typing import ArrayLike

from theory.domain import Real
from theory.information import information_gap_bound


def evaluated_information_gap_bound(
    *, information: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    """e-CMI (rough)."""
    return information_gap_bound(information=information, loss_bound=loss_bound)

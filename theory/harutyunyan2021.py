"""Harutyunyan, Raginsky, Ver Steeg & Galstyan 2021 (arXiv 2110.01584): f-CMI."""

from numpy.typing import ArrayLike

from theory.domain import Real
from theory.information import information_gap_bound


def prediction_information_gap_bound(
    *, information: ArrayLike, loss_bound: ArrayLike
) -> float | Real:
    """f-CMI (rough)."""
    return information_gap_bound(information=information, loss_bound=loss_bound)

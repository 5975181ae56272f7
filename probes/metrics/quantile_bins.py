"""Losses rounded to a few values, so that what they tell about a coin can be counted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Binned:
    """Values that were sorted into bins, each with one value that stands for it.

    Attributes:
        codes: number of each value's bin, in the values' shape, int64.
        levels: what stands for each bin, the mean of its values, rising.
    """

    codes: NDArray[np.int64]
    levels: NDArray[np.float64]

    @property
    def values(self) -> NDArray[np.float64]:
        """The rounded values, in the shape of the codes."""
        return self.levels[self.codes]


def quantile_bins(values: NDArray[np.float64], bins: int) -> Binned:
    """Sort values into bins between their quantiles, of about as many values each.

    Args:
        values: of any shape, all finite.
        bins: largest number of bins, at least 1; equal values share a bin, so there may be fewer.

    Returns:
        The bins. A mean over all values is the mean of the rounded ones, and rounding stays between
        the smallest value and the largest.

    >>> quantile_bins(np.array([0.0, 0.0, 1.0, 3.0]), 2).values.tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    inner = np.quantile(values, np.arange(1, bins) / bins)
    found = np.searchsorted(inner, values, side="left")
    _, codes = np.unique(found, return_inverse=True)
    codes = codes.reshape(values.shape).astype(np.int64)
    totals = np.bincount(codes.ravel(), weights=values.ravel())
    return Binned(codes, totals / np.bincount(codes.ravel()))

"""The line where two quantities are equal."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from figures.intervals import finite


def equality_line(axes: Axes, values: ArrayLike, colour: str) -> None:
    """Draw it from the least to the largest value on either axis.

    Args:
        axes: where.
        values: all that is drawn along both axes.
        colour: of the line.
    """
    ends = pd.Series(finite(values).ravel()).agg(["min", "max"])
    axes.plot(ends, ends, color=colour, linewidth=1)

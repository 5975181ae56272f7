"""Axes that can be read: numbers apart from each other, and a word where nothing could be drawn."""

import re
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.ticker import (
    AutoLocator,
    LogFormatterSciNotation,
    MaxNLocator,
    NullLocator,
    SymmetricalLogLocator,
)

#: Most intervals between the numbers of an axis from left to right, where they stand side by side.
MOST = 5
#: The same where it is linear at 0 alone, and logarithmic beyond.
MOST_POWERS = 15
#: What of a power of ten is not seen.
MARKUP = re.compile(r"\\mathdefault|[${}^]")
#: Width of a figure of a number in points, and least distance of two numbers.
FIGURE_WIDTH, APART = 6.4, 4.0
#: Share of a panel's width that its numbers, and a legend beside it, leave.
LEFT = 0.85
#: Between these, the numbers of a logarithmic axis are plain; powers of ten beyond.
PLAIN = 1e-4, 1e4
#: What an empty panel says.
EMPTY = "nothing to draw here:\nnot asked for, or not finite"
#: What one says whose numbers have no place on its logarithmic axis.
NOT_POSITIVE = "nothing to draw here:\nno number is above 0"


def make_legible(axes: Axes) -> None:
    """Do to a panel that is drawn what its content asks for.

    On a linear x axis numbers are few enough to stand beside each other, however long they are. A
    logarithmic axis says 0.001 to 1000 as these; upright, and without minor ticks, it has two
    powers of ten at least. A panel without a finite number says so.

    Args:
        axes: drawn; what is not an axis, such as a legend's place, is left as it is.
    """
    if not axes.axison or axes.get_label() == "<colorbar>":
        return
    if isinstance(axes.xaxis.get_major_locator(), AutoLocator):
        axes.xaxis.set_major_locator(MaxNLocator(MOST, steps=[1, 2, 2.5, 5, 10]))
    for axis in (axes.xaxis, axes.yaxis):
        _say_plainly(axis)
    _set_apart(axes)
    if not has_data(axes):
        _set_limits(axes)
        without_place = axes.get_yscale() == "log" and -np.inf < axes.dataLim.y1 <= 0
        said = NOT_POSITIVE if without_place else EMPTY
        axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", color="0.3",
                  fontsize="small", style="italic")  # fmt: skip
    elif axes.get_yscale() == "log" and isinstance(axes.yaxis.get_minor_locator(), NullLocator):
        _show_powers(axes)


def scale_logarithmically(axes: Axes) -> None:
    """Make the y axis logarithmic, of which Matplotlib warns where no number is above 0.

    Args:
        axes: drawn.
    """
    if not axes.dataLim.y1 > 0:
        axes.set_ylim(1, 10)
    axes.set_yscale("log")


class PlainLogarithms(LogFormatterSciNotation):
    """Numbers of a logarithmic axis, plain where they are short.

    >>> formatter = PlainLogarithms()
    >>> formatter.create_dummy_axis()
    >>> formatter(0.01), formatter(1000.0), formatter(-0.01)
    ('0.01', '1000', '−0.01')
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The number as it is said, "" where it is not."""
        said = super().__call__(x, pos)
        return f"{x:g}".replace("-", "−") if said and PLAIN[0] < abs(x) < PLAIN[1] else said


def _set_apart(axes: Axes) -> None:
    """Let an x axis have fewer numbers, down to one interval, while they are wider than a panel."""
    locator, formatter = axes.xaxis.get_major_locator(), axes.xaxis.get_major_formatter()
    if not isinstance(locator, MaxNLocator | SymmetricalLogLocator):
        return
    linear = isinstance(locator, MaxNLocator)
    panel = LEFT * axes.bbox.width * 72 / axes.figure.dpi
    low, high = axes.get_xlim()
    for most in range(MOST, 0, -1) if linear else range(MOST_POWERS, 1, -1):
        shown = [at for at in axes.get_xticks() if low <= at <= high]
        widths = (len(MARKUP.sub("", said)) for said in formatter.format_ticks(shown))
        if sum(FIGURE_WIDTH * width + APART for width in widths) <= panel:
            return
        if isinstance(locator, MaxNLocator):
            locator.set_params(nbins=most)
        else:
            locator.set_params(numticks=most)


def _say_plainly(axis: Axis) -> None:
    if type(axis.get_major_formatter()) is LogFormatterSciNotation:
        axis.set_major_formatter(PlainLogarithms())
    if type(axis.get_minor_formatter()) is LogFormatterSciNotation:
        axis.set_minor_formatter(PlainLogarithms(minor_thresholds=(1, 0.4)))


def has_data(axes: Axes) -> bool:
    """Whether a finite number is drawn, other than a line across the panel.

    On a logarithmic axis one of them must be above 0.

    Args:
        axes: drawn.
    """
    if axes.get_yscale() == "log" and not axes.dataLim.y1 > 0:
        return False
    numbers: list[Any] = [line.get_ydata() for line in axes.lines if _is_data(axes, line)]
    numbers += [some.get_array() for some in axes.collections if some.get_array() is not None]
    scatters = [some for some in axes.collections if isinstance(some, PathCollection)]
    numbers += [some.get_offsets() for some in scatters]
    if any(_is_data(axes, patch) for patch in axes.patches):
        return True
    return any(
        np.isfinite(np.ma.filled(np.ma.asarray(one, float), np.nan)).any() for one in numbers
    )


def _is_data(axes: Axes, artist: Artist) -> bool:
    """Whether both coordinates are the axes' own."""
    return artist.get_transform().contains_branch_seperately(axes.transData) == (True, True)


def _set_limits(axes: Axes) -> None:
    """A logarithmic axis without a positive number has no limits, and cannot be drawn."""
    if axes.get_xscale() == "log" and axes.get_xlim()[0] <= 0:
        axes.set_xlim(1, 10)
    if axes.get_yscale() == "log" and axes.get_ylim()[0] <= 0:
        axes.set_ylim(1, 10)


def _show_powers(axes: Axes) -> None:
    low, high = np.log10(axes.get_ylim())
    if np.floor(high) - np.ceil(low) < 1:
        axes.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))

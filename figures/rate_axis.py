"""An axis of dropout rates, a tick at every rate that was measured."""

from collections.abc import Iterable

from matplotlib.axes import Axes

from figures.legible_axes import APART, FIGURE_WIDTH, LEFT

#: Room beside the first and the last rate: at least, and as a share of their distance.
LEAST_ROOM, ROOM = 0.03, 0.06


def rate_axis(axes: Axes, rates: Iterable[float], label: str = "dropout rate p") -> None:
    """Make the x axis one of rates; of ticks that would write over each other the first stays.

    Args:
        axes: whose x axis.
        rates: that were measured, in any order and however often.
        label: of the axis.
    """
    known = sorted(set(rates))
    axes.set_xlabel(label)
    if not known:
        return
    span = known[-1] - known[0]
    room = max(LEAST_ROOM, ROOM * span)
    axes.set_xlim(known[0] - room, known[-1] + room)
    panel = LEFT * axes.bbox.width * 72 / axes.figure.dpi
    ticks = known[:1]
    for rate in known[1:]:
        letters = (len(f"{rate:g}") + len(f"{ticks[-1]:g}")) / 2
        needed = FIGURE_WIDTH * letters + APART
        if panel * (rate - ticks[-1]) / (span + 2 * room) >= needed:
            ticks.append(rate)
    axes.set_xticks(ticks, [f"{rate:g}" for rate in ticks])

"""An axis of sizes: n or N on a logarithmic scale, a tick at every size that was measured."""

from collections.abc import Iterable

from matplotlib.axes import Axes

#: Room beside the first and the last size: of their ratio's logarithm, and at least this factor.
ROOM, LEAST_ROOM = 0.06, 1.2


def size_axis(axes: Axes, sizes: Iterable[int], label: str) -> None:
    """Make the x axis one of sizes.

    Args:
        axes: whose x axis.
        sizes: that were measured, in any order and however often.
        label: of the axis.
    """
    ticks = sorted(set(sizes))
    axes.set(xscale="log", xlabel=label)
    if ticks:
        room = max((ticks[-1] / ticks[0]) ** ROOM, LEAST_ROOM)
        axes.set_xlim(ticks[0] / room, ticks[-1] * room)
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.minorticks_off()

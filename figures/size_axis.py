"""An axis of sizes: n or N on a logarithmic scale, a tick at every size that was measured."""

from collections.abc import Iterable

from matplotlib.axes import Axes


def size_axis(axes: Axes, sizes: Iterable[int], label: str) -> None:
    """Make the x axis one of sizes.

    Args:
        axes: whose x axis.
        sizes: that were measured, in any order and however often.
        label: of the axis.
    """
    ticks = sorted(set(sizes))
    axes.set(xscale="log", xlabel=label)
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.minorticks_off()

"""One look for all figures: readable in greyscale, settings in the caption."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

Colour = tuple[float, float, float]
#: Markers and dashes tell curves apart where colour does not.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("--", "-.", ":")


#: Resolution in a notebook, whose file holds the pictures; saved figures have more.
NOTEBOOK_DPI = 80


class Drawing(Figure):
    """A figure that shows itself in a notebook, whether or not anybody has imported pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=NOTEBOOK_DPI)
        return buffer.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """Within the block, figures are drawn in the project's style."""
    with (
        sns.axes_style("whitegrid"),
        mpl.rc_context(
            {
                "figure.dpi": 150,
                "savefig.dpi": 150,
                "axes.titlesize": "medium",
                "axes.labelsize": "medium",
                "legend.fontsize": "small",
                "lines.markersize": 5,
                "figure.constrained_layout.use": True,
            }
        ),
    ):
        yield


def curve_colours(count: int) -> list[Colour]:
    """Colours whose lightness rises steadily, so that they survive greyscale."""
    return sns.color_palette("viridis", count + 1)[:count]

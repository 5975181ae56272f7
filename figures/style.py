"""One look for all figures: readable in greyscale, settings in the caption."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple, Self

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from figures.legible_axes import make_legible
from figures.line_breaks import wrapped

#: Height of a caption's letters in points, for each inch of width: 10 pixels at 830 of width.
LETTERS = 0.87
#: And at least so many points, for narrow figures.
LEAST_LETTERS = 7.0
#: Width of a letter, relative to its height; wider than most, so that lines fit.
LETTER_WIDTH = 0.58
#: Characters of a title; of a longer text the first sentence is said.
LONGEST_TITLE = 300
#: Characters of a line of a legend beside the panels.
KEY_CHARACTERS = 32
#: Names that a legend within a panel has room for; more stand beside the panels.
WITHIN = 12
#: Height of title and caption in inches, which a legend beside the panels leaves free.
AROUND_KEY = 1.2

Colour = tuple[float, float, float]
#: Markers and dashes tell curves apart where colour does not.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("--", "-.", ":")


#: Of 9: a third of the time of the usual 6, for a file that is a tenth larger.
PNG_EFFORT = 3
#: Resolution in a notebook, whose file holds the pictures; saved figures have more.
NOTEBOOK_DPI = 80


class Drawing(Figure):
    """A figure that shows itself in a notebook, whether or not anybody has imported pyplot.

    Its title says what was found; the settings stand below, in letters that are legible where the
    picture is shown 830 pixels wide.
    """

    def described(self, caption: str) -> Self:
        """Write the settings below the panels, which are drawn, and make these legible.

        Args:
            caption: words, which are wrapped to the width of the figure.

        Returns:
            The figure.
        """
        for axes in self.axes:
            make_legible(axes)
        size = self._letters()
        self.supxlabel(self._wrapped(caption, size), x=0.01, ha="left", fontsize=size)
        return self

    def titled(self, finding: str) -> Self:
        """Write what was found above the panels.

        Args:
            finding: sentences, which are wrapped to the width of the figure; of a long text the
                first.

        Returns:
            The figure.
        """
        said = finding if len(finding) <= LONGEST_TITLE else finding.partition(". ")[0]
        size = 1.15 * self._letters()
        # In the letters of the panels, whatever the caller's are.
        with style():
            self.suptitle(
                self._wrapped(said, size), x=0.01, ha="left", fontsize=size, color="black"
            )
        return self

    def keyed(self, keys: tuple[Sequence[Any], Sequence[str]], title: str = "") -> Self:
        """Write what the curves are right of the panels: below them the caption stands.

        Args:
            keys: handles of the curves, and what these are called, as of
                ``Axes.get_legend_handles_labels``; long names are wrapped.
            title: of the legend.

        Returns:
            The figure.
        """
        handles, labels = keys
        names = ["\n".join(wrapped(label, KEY_CHARACTERS)) for label in labels]
        if names:
            legend = self.legend(list(handles), names, loc="outside right center",
                                 title=title or None, framealpha=0.9)  # fmt: skip
            self._make_room(legend)
        return self

    def _make_room(self, legend: Legend) -> None:
        """Let the figure be higher than a legend beside its panels, title and caption."""
        box = legend.get_window_extent(FigureCanvasAgg(self).get_renderer())
        needed = box.height / self.dpi + AROUND_KEY
        if needed > self.get_figheight():
            self.set_figheight(needed)

    def _letters(self) -> float:
        """Height of a caption's letters, in points."""
        return max(LETTERS * self.get_figwidth(), LEAST_LETTERS)

    def _wrapped(self, text: str, size: float) -> str:
        characters = int(72 * self.get_figwidth() / (LETTER_WIDTH * size))
        return "\n".join(wrapped(text, characters))

    def savefig(self, *args: Any, **known: Any) -> None:
        """Write the figure as Matplotlib does, but a PDF's letters as TrueType.

        Publishers refuse Matplotlib's usual ones, Type 3.

        Args:
            *args: of ``Figure.savefig``: the file.
            **known: of the same: format, resolution and so on.
        """
        with mpl.rc_context({"pdf.fonttype": 42, "ps.fonttype": 42}):
            super().savefig(*args, **known)

    def png(self) -> bytes:
        """Return the picture at its own resolution, drawn once where ``savefig`` draws twice."""
        buffer = BytesIO()
        FigureCanvasAgg(self).print_png(buffer, pil_kwargs={"compress_level": PNG_EFFORT})
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=NOTEBOOK_DPI)
        return buffer.getvalue()


class Look(NamedTuple):
    """What tells one curve from the others."""

    colour: Colour
    marker: str
    dash: str


@contextmanager
def style() -> Iterator[None]:
    """Within the block, figures are drawn in the project's style."""
    with (
        # matplotlib's copy of the style: seaborn itself takes a second to import.
        mpl.style.context("seaborn-v0_8-whitegrid"),
        mpl.rc_context(
            {
                "axes.linewidth": 0.8,
                # To LaTeX the percent sign of a caption is a comment.
                "text.usetex": False,
                # DejaVu before the style's Liberation: the same letters on every machine.
                "font.sans-serif": ["Arial", "DejaVu Sans", "sans-serif"],
                "legend.frameon": True,
                "figure.dpi": 150,
                "savefig.dpi": 150,
                # Numbers of an axis say all: none in its corner is to be added.
                "axes.formatter.useoffset": False,
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
    """Colours whose lightness rises steadily, so that they survive greyscale.

    >>> [round(part, 2) for part in curve_colours(1)[0]]
    [0.19, 0.41, 0.56]
    """
    # Neither end, and one more than is asked for: the lightest is too light for a line.
    places = np.linspace(0, 1, count + 3)[1:-2]
    return [(red, green, blue) for red, green, blue, _ in mpl.colormaps["viridis"](places).tolist()]


def looks(count: int) -> list[Look]:
    """Looks of so many curves; markers and dashes begin again where they run out."""
    dashes = ("-", *DASHES)
    return [
        Look(colour, MARKERS[number % len(MARKERS)], dashes[number % len(dashes)])
        for number, colour in enumerate(curve_colours(count))
    ]

"""Figures show themselves, in seaborn's look without seaborn."""

import subprocess
import sys

import matplotlib as mpl
import pytest
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from figures.dropout_loss import draw
from figures.style import (
    DASHES,
    KEY_CHARACTERS,
    LONGEST_TITLE,
    MARKERS,
    Drawing,
    curve_colours,
    looks,
    style,
)

#: What may differ: seaborn hides ticks in place of giving them no length, colours heat maps, and
#: gives patches white edges, which the one histogram does itself.
DIFFERENT = {
    "image.cmap", "patch.edgecolor", "patch.force_edgecolor", "font.sans-serif",
    *(f"{axis}.{name}" for axis in ("xtick", "ytick") for name in ("major.size", "minor.size")),
    "xtick.bottom", "ytick.left",
}  # fmt: skip
#: What the project's style sets beyond the sheet.
OURS = {"axes.formatter.useoffset", 
    "figure.dpi", "savefig.dpi", "axes.titlesize", "axes.labelsize",
    "legend.fontsize", "lines.markersize", "figure.constrained_layout.use",
}  # fmt: skip


def test_a_figure_is_a_picture_in_a_notebook_without_pyplot():
    figure = draw({"white": [[1.0, 1.0], [1.0, -1.0]]}, [[2.0, 0.0]])
    assert isinstance(figure, Drawing)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_letters_of_a_pdf_are_truetype(tmp_path):
    """Publishers refuse Matplotlib's usual Type 3."""
    draw({"white": [[1.0, 1.0], [1.0, -1.0]]}, [[2.0, 0.0]]).savefig(tmp_path / "a.pdf")
    written = (tmp_path / "a.pdf").read_bytes()
    assert b"/CIDFontType2" in written
    assert b"/Type3" not in written


def test_the_title_has_the_letters_of_the_caption_whatever_the_callers_are():
    with style():
        figure = Drawing()
        figure.described("settings")
    theirs = {"font.family": "serif", "text.color": "red", "text.usetex": True}
    with mpl.rc_context(theirs):
        figure.titled("Found.")
    title, caption = figure._suptitle, figure._supxlabel
    for letters in ("get_fontfamily", "get_usetex"):
        assert getattr(title, letters)() == getattr(caption, letters)()
    assert title.get_color() == "black"


def test_nothing_is_written_by_latex_for_which_the_words_are_not_made():
    with mpl.rc_context({"text.usetex": True}):
        figure = draw({"white": [[1.0, 1.0], [1.0, -1.0]]}, [[2.0, 0.0]]).titled("A 95 % interval.")
        assert not any(text.get_usetex() for text in figure.findobj(Text))


@pytest.mark.parametrize("count", [0, 1, 2, 5, 12])
def test_colours_are_seaborn_s(count):
    assert curve_colours(count) == list(sns.color_palette("viridis", count + 1)[:count])


def test_the_style_is_seaborn_s():
    with sns.axes_style("whitegrid"):
        expected = dict(mpl.rcParams)
    with style():
        found = dict(mpl.rcParams)
    assert found["legend.frameon"]
    assert {name for name in expected if expected[name] != found[name]} <= DIFFERENT | OURS


def test_the_style_ends_with_its_block():
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["axes.grid"]
    assert dict(mpl.rcParams) == before


def test_looks_begin_again_where_markers_and_dashes_run_out():
    found = looks(9)
    assert [look.marker for look in found] == [*MARKERS, *MARKERS[:2]]
    assert [look.dash for look in found[:5]] == ["-", *DASHES, "-"]
    assert [look.colour for look in found] == curve_colours(9)


def test_the_style_needs_no_seaborn():
    code = "import sys, figures.style; assert 'seaborn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_legend_beside_the_panels_wraps_long_names_and_is_left_out_without_any():
    figure = Drawing()
    axes = figure.subplots()
    axes.plot([0], [0], label="a name " * 20)
    (text,) = figure.keyed(axes.get_legend_handles_labels()).legends[0].get_texts()
    assert max(map(len, text.get_text().splitlines())) <= KEY_CHARACTERS
    assert not Drawing().keyed(([], [])).legends


def test_of_a_long_finding_the_title_has_the_first_sentence():
    first = "It is 0.5 at p = 0.1"
    assert Drawing().titled(f"{first}. {'More. ' * LONGEST_TITLE}").get_suptitle() == first
    assert Drawing().titled("One. Two.").get_suptitle() == "One. Two."


@pytest.mark.parametrize(("count", "height"), [(3, 4.0), (40, None)])
def test_a_figure_is_higher_than_the_legend_beside_its_panels(count, height):
    with style():
        figure = Drawing(figsize=(9, 4))
        axes = figure.subplots()
        for number in range(count):
            axes.plot([0, 1], [0, number], label=f"curve {number}")
        figure.keyed(axes.get_legend_handles_labels()).described("settings").titled("Found.")
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.get_layout_engine().execute(figure)
    legend = figure.legends[0].get_window_extent(renderer)
    title = figure._suptitle.get_window_extent(renderer)
    assert legend.y0 > figure.bbox.y0
    assert legend.y1 < title.y0
    assert height is None or figure.get_figheight() == height

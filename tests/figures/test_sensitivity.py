"""Every field of the heat maps is the table's mean, with half its interval."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from figures.sensitivity import draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

NAMES = ["test_score", "gap", "beta"]
SUMMARY = without_high(
    grid(NAMES, inference=["expected weight", "ensemble"], p=[0.5, 0.1], samples=[4, 1])
)


def maps(figure):
    return figure.axes[:6]


def fields(axes):
    return axes.collections[0].get_array()


@pytest.mark.parametrize(("panel", "name"), [(0, "test_score"), (1, "gap"), (5, "beta")])
def test_fields_are_the_means_by_rate_and_size(panel, name):
    axes = maps(draw(SUMMARY, "", "accuracy"))[panel]
    inference = "expected weight" if panel < 3 else "ensemble"
    own = SUMMARY[SUMMARY["inference"] == inference].sort_values(["p", "samples"])
    assert np.allclose(np.ravel(fields(axes)), own[name])
    half = own[name] - own[f"{name}_low"]
    words = [f"{mean:.3g}\n± {h:.2g}" for mean, h in zip(own[name], half, strict=True)]
    assert [text.get_text() for text in axes.texts] == words
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.1", "0.5"]


def test_one_scale_is_a_column_s():
    figure = draw(SUMMARY, "", "accuracy")
    for axes, name in zip(maps(figure), [*NAMES, *NAMES], strict=True):
        clim = axes.collections[0].get_clim()
        assert clim == pytest.approx((SUMMARY[name].min(), SUMMARY[name].max()))


def test_panels_are_named():
    figure = draw(SUMMARY, "settings", "accuracy")
    assert [axes.get_title() for axes in maps(figure)] == [
        f"{label}, {inference}"
        for inference in ("expected weight", "ensemble")
        for label in ("test accuracy", "gap", "β")
    ]
    assert artists.labels(figure)[:6] == [("N", "dropout rate p")] * 6
    assert figure.get_supxlabel() == "settings"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_diverged_is_an_empty_field(value):
    broken = SUMMARY.copy()
    broken.loc[0, [*NAMES, "gap_low"]] = value
    figure = draw(broken, "", "accuracy")
    figure.draw_without_rendering()
    for axes, sound in zip(maps(figure), maps(draw(SUMMARY, "", "accuracy")), strict=True):
        shown = np.ma.filled(fields(axes), np.nan)
        kept = np.isfinite(shown)
        assert (~kept).sum() == (axes in maps(figure)[:3])
        assert np.allclose(shown[kept], fields(sound)[kept])
    assert len(maps(figure)[0].texts) == 3
    _, largest = maps(figure)[0].collections[0].get_clim()
    assert largest == pytest.approx(SUMMARY["test_score"].max())


def test_a_single_draw_has_means_alone():
    figure = draw(SUMMARY.assign(**{f"{name}_low": np.nan for name in NAMES}), "", "accuracy")
    figure.draw_without_rendering()
    assert maps(figure)[0].texts[0].get_text() == f"{SUMMARY['test_score'][3]:.3g}"


def test_words_stay_within_their_fields():
    rates, sizes = [place / 20 for place in range(12)], [1, 2, 4, 8, 16, 32, 64]
    table = grid(NAMES, inference=["expected weight"], p=rates, samples=sizes)
    figure = draw(without_high(table), "", "accuracy")
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.get_layout_engine().execute(figure)
    for axes in figure.axes[:3]:
        field = axes.get_window_extent(renderer)
        for text in axes.texts:
            box = text.get_window_extent(renderer)
            assert box.width < field.width / len(sizes)
            assert box.height < field.height / len(rates)

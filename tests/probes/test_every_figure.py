"""What holds of every figure, over grids that the command line allows."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from figures.legible_axes import EMPTY, has_data
from probes.cells.ensemble_rivals import MASKS, SINGLE
from probes.cells.information_bounds import BOUNDS
from probes.cells.prediction_sets import PLAIN, PLUS
from probes.jobs.job import TableKind
from probes.own_model import OwnModelResult
from probes.verify import COMMAND, DRAWN
from tests.probes.report.tables import (
    coverage_result,
    information_result,
    matched_information_result,
    network_comparison_result,
    rivals_result,
)
from tests.probes.tables import (
    EFFECTS,
    NAN,
    ablation_result,
    attribution_result,
    calibration_result,
    comparison_result,
    cost_result,
    curves_result,
    ensemble_result,
    finetune_result,
    gap_result,
    made,
    matched_result,
    recommend_result,
    sensitivity_result,
    stability_cells,
    stability_result,
    tuned_result,
    verify_result,
)

pytestmark = pytest.mark.slow

#: Rates, and what a quantity is in every draw.
SEVERAL, LONE, LOST = "several rates and draws", "one rate and draw", "diverged"
RATES = {SEVERAL: (0.0, 0.1, 0.5), LONE: (0.3,), LOST: (0.1, 0.3)}
DRAWS = {SEVERAL: 3, LONE: 1, LOST: 2}
GRIDS = tuple(RATES)


def values(grid, level):
    """Of one setting, a value a draw."""
    return tuple(NAN if grid == LOST else level + 0.01 * draw for draw in range(DRAWS[grid]))


def spread(grid, *others):
    """By rate and what else a setting has: a value a draw."""
    settings = [(p,) for p in RATES[grid]]
    for other in others:
        settings = [(*setting, one) for setting in settings for one in other]
    return {setting: values(grid, 0.3 + 0.02 * number) for number, setting in enumerate(settings)}


def cells(grid, **more):
    """Of the stability probe."""
    found = []
    for p in RATES[grid]:
        pairs = [(value + p, (value / 8, -value / 4)) for value in values(grid, 0.3)]
        found += stability_cells(p, *pairs, **more)
    return found


def own_model(grid):
    records = [
        {"p": p, "ensemble": size, "draw": draw, "test_loss": loss, "train_loss": loss / 2,
         "gap": loss / 2, "beta": loss / 9, "beta_signed": loss / 9, "test_score": 0.5}
        for (p, size), losses in spread(grid, (0, 4)).items()
        for draw, loss in enumerate(losses)
    ]  # fmt: skip
    return OwnModelResult(made(records))


def calibration(grid):
    inferences = ("expected weight", "ensemble")
    measured = {}
    for (p, inference), losses in spread(grid, inferences).items():
        for draw, loss in enumerate(losses):
            along = [(step, loss, loss, 0.7, 0.8, loss / 3) for step in (10, 20, 40)]
            measured[p, inference, draw] = along
    diagram = pd.DataFrame(
        [
            {"p": p, "inference": inference, "draw": 0, "confidence": 0.6, "accuracy": 0.5}
            for p, inference in spread(grid, inferences)
        ]
    )
    result = calibration_result(measured)
    return type(result)(result.rows, {TableKind.DIAGRAM: diagram})


def attributed(grid):
    result = attribution_result([EFFECTS] * 8)
    return type(result)(result.rows.assign(p=0.2), result.more, scores=result.scores)


def estimated(grid):
    """Every example is retrained as well."""
    return stability_result(
        *(
            cell | {"method": "influence", "validate": 2, "samples": 1, "damping": 0.1,
                    "retrained": [value / 7 for value in cell["changes"]]}
            for cell in cells(grid)
        )
    )  # fmt: skip


def verified(grid):
    printed, corrected, *_ = DRAWN
    case = ("Proposition 4.2", corrected, "ridge, p = 0.1", 1.0, 4.0)
    known = [
        (("Lemma 4.3", "alone, as printed", "a memoriser with a long name", 2.0, 1.0),
         {"command": COMMAND, "provable": False}),
        (("Proposition 4.2", printed, "ridge, p = 0.1", 1.0, 2.0), {}),
    ]  # fmt: skip
    return verify_result((case, {}), *(known if grid != LONE else []))


def recommended(grid):
    dropout = (np.inf, np.inf) if grid == LOST else values(grid, 0.9)
    tuned = {"LoRA": values(SEVERAL if grid == LOST else grid, 1.0), "LoRA Dropout": dropout}
    return recommend_result(tuned if grid == LONE else tuned | {"weight decay": tuned["LoRA"]})


def among_ensembles(grid):
    names = ("one network", "masks", "starts", "many halves")
    assert {SINGLE, MASKS} <= set(names)
    return rivals_result(
        {
            setting: [(value / 9, value / 5, value) for value in losses]
            for setting, losses in spread(grid, names).items()
        }
    )


def curves(grid):
    return curves_result(
        {
            (method, p, draw): (0.9, loss, loss, loss + 0.1)
            for (p, method), losses in spread(grid, ("LoRA", "AdaLoRA")).items()
            for draw, loss in enumerate(losses)
        }
    )


def finetuned(grid):
    return finetune_result(
        {
            ("lora", p, inference, draw): (loss, loss)
            for (p, inference), losses in spread(grid, ("expected weight", "ensemble")).items()
            for draw, loss in enumerate(losses)
        }
    )


def matched(grid):
    dropout = {
        p: [(0.5, loss) for loss in losses] for (p,), losses in spread(grid).items() if p > 0
    }
    ends = [(0.0, value) for value in values(grid, 1.0)]
    sizes = (10,) if grid == LONE else (20, 10)
    return matched_result(dropout, {"weight decay": ends, "early stopping": ends}, n=sizes)


def informed(grid):
    sizes = (32,) if grid == LONE else (32, 64)
    return information_result(
        {
            (name, n, p): NAN if grid == LOST else (2.5 if number < 3 else 0.1 * number)
            for number, name in enumerate(BOUNDS)
            for n in sizes
            for p in RATES[grid]
        },
        gap=NAN if grid == LOST else 0.05,
    )


def covered(grid):
    return coverage_result(
        {
            setting: [(loss, 1 + loss) for loss in losses]
            for setting, losses in spread(grid, (PLUS, PLAIN)).items()
        }
    )


def bounded(grid):
    sizes = (50,) if grid == LONE else (50, 100, 10**6)
    level = {SEVERAL: 2.0, LONE: 9.0, LOST: np.inf}[grid]
    return comparison_result({"Theorem 4.4": dict.fromkeys(sizes, level)}, drawn=sizes[:2])


def costs(grid):
    # A time is always known.
    rounds = values(SEVERAL if grid == LOST else grid, 1.0)
    variants = {("training", "LoRA, control", 0): (rounds, 1.0)}
    for size in (1, 2, 4) if grid != LONE else (1,):
        variants |= {
            ("training", "N passes", size): (rounds, 1.0),
            ("training", "one grouped pass", size): (rounds, 2.0),
            ("inference", "ensemble", size): (rounds, 1.0),
        }
    return cost_result(variants)


def varied(grid):
    """Every variant of two parts, one of them with a long name."""
    return ablation_result(
        {
            (part, variant, p): losses
            for (p, (part, variant)), losses in spread(
                grid,
                [("dropout when", "never"), ("dropout when", "training and ensemble"),
                 ("inference", "expected weight"), ("inference", "rescaled, without any masks")],
            ).items()
        }
    )  # fmt: skip


#: By figure: a grid's result, and what draws it: a method, or the name of its file, if it has one.
FIGURES = {
    "stability": (
        lambda grid: stability_result(
            *cells(grid), *cells(grid, inference="ensemble", ensemble=4)), "plot",
    ),
    "gap": (lambda grid: stability_result(*cells(grid)), "plot_gap"),
    "influence": (estimated, "influence"),
    "generalization": (lambda grid: gap_result(*cells(grid)), "plot"),
    "matched": (matched, "plot"),
    "ensemble": (lambda grid: ensemble_result(spread(grid, (0, 1, 8))), "plot"),
    "rivals of the ensemble": (among_ensembles, "rivals"),
    "ablation": (varied, "plot"),
    "sensitivity": (
        lambda grid: sensitivity_result(spread(grid, (1, 4), ("expected weight", "ensemble"))),
        "plot",
    ),
    "curves": (curves, "plot"),
    "calibration": (calibration, "plot"),
    "coverage": (covered, "plot"),
    "information": (informed, "plot"),
    "matched_information": (
        lambda grid: matched_information_result(NAN if grid == LOST else 0.3, draws=DRAWS[grid]),
        "plot",
    ),
    "comparison": (bounded, "plot"),
    "comparison of networks": (
        lambda grid: network_comparison_result(
            dict.fromkeys(["e-CMI", "Theorem 4.4"], NAN if grid == LOST else 0.4)), "plot",
    ),
    "cost": (costs, "plot"),
    "attribution": (attributed, "plot"),
    "recommend": (recommended, "plot"),
    "rivals": (
        lambda grid: tuned_result(
            {"LoRA": 1.0, "LoRA Dropout, N = 4": NAN if grid == LOST else 0.8, "noise on A": 0.9},
            n=(16,) if grid == LONE else (16, 32), draws=max(2, DRAWS[grid]),
        ),
        "plot",
    ),
    "own_model": (own_model, "plot"),
    "finetune": (finetuned, "plot"),
    "verify": (verified, "plot"),
}  # fmt: skip


@pytest.fixture(scope="module", params=FIGURES)
def drawn(request):
    """By grid: a result and its figure, if it has one."""
    make, how = FIGURES[request.param]
    found = {}
    for grid in GRIDS:
        result = make(grid)
        method = getattr(result, how, None)
        figure = method() if callable(method) else result.figures().get(how)
        if figure is not None:
            found[grid] = result, figure
    return found


def test_the_title_is_a_finding_and_the_caption_says_in_which_setting(drawn):
    for grid, (result, figure) in drawn.items():
        title, caption = figure.get_suptitle(), figure.get_supxlabel()
        assert title, grid
        if grid != LOST:
            assert any(letter.isdigit() for letter in title), title
        assert caption, grid
        assert not any(word in title + caption for word in ("nan", "inf,", "None")), title + caption
        if "task" in result.rows:
            assert str(result.rows["task"].iloc[0]) in caption


def test_one_draw_has_no_intervals_and_none_are_promised(drawn):
    result, figure = drawn[LONE]
    if "draw" in result.rows and result.rows["draw"].nunique() == 1:
        caption = " ".join(figure.get_supxlabel().split())
        assert "95 %" not in caption or "this S alone" in caption
        assert "1 draws" not in caption


def test_the_caption_is_legible_where_the_figure_is_830_pixels_wide(drawn):
    for _, figure in drawn.values():
        points = figure._supxlabel.get_fontsize()
        assert points / 72 * 830 / figure.get_figwidth() >= 10


def test_curves_are_told_apart_without_colour(drawn):
    """Marker, dash, fill or place: as many as there are markers."""
    for _, figure in drawn.values():
        for axes in figure.axes:
            found = {}
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                line = handle[0] if isinstance(handle, tuple) else handle
                if hasattr(line, "get_marker"):
                    look = line.get_marker(), line.get_linestyle(), line.get_fillstyle()
                    face = to_hex(line.get_markerfacecolor())
                    found.setdefault((look, face == "#ffffff"), set()).add(label)
            assert all(len(labels) == 1 for labels in found.values()), found


def test_a_legend_names_only_what_is_drawn(drawn):
    for grid, (_, figure) in drawn.items():
        if grid == LOST:
            continue
        named = [text for legend in figure.legends for text in legend.get_texts()]
        seen = {
            " ".join(label.split())
            for axes in figure.axes
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
            if _has_points(handle)
        }
        assert {" ".join(text.get_text().split()) for text in named} <= seen, grid


def _has_points(handle):
    line = handle[0] if isinstance(handle, tuple) else handle
    if not hasattr(line, "get_ydata"):
        return True
    places = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    return bool(np.isfinite(places[0] * 0 + places[1]).any()) if len(places[0]) else False


def test_no_panel_is_empty(drawn):
    for grid, (_, figure) in drawn.items():
        if grid == LOST:
            continue
        for axes in figure.axes:
            if axes.axison:
                assert axes.lines or axes.collections or axes.patches, grid


def test_an_empty_panel_says_why(drawn):
    for grid, (_, figure) in drawn.items():
        for axes in figure.axes:
            if axes.axison and axes.get_label() != "<colorbar>":
                said = EMPTY in [text.get_text() for text in axes.texts]
                assert said != has_data(axes)
                # Of a single case, verify has one panel alone.
                assert not (said and grid == SEVERAL)


def test_words_and_numbers_lie_within_the_figure_and_not_over_each_other(drawn):
    _, figure = drawn[SEVERAL]
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.get_layout_engine().execute(figure)
    around = figure.bbox.padded(1)
    apart = [figure._suptitle, figure._supxlabel, *figure.legends]
    boxes = [one.get_window_extent(renderer) for one in apart]
    boxes += [axes.get_tightbbox(renderer) for axes in figure.axes if axes.axison]
    for box in boxes[: len(apart)]:
        assert around.contains(box.x0, box.y0)
        assert around.contains(box.x1, box.y1)
    for number, box in enumerate(boxes[: len(apart)]):
        for other in boxes[number + 1 :]:
            assert not box.padded(-1).overlaps(other.padded(-1))
    for axes in figure.axes:
        if axes.axison:
            numbers = [text.get_window_extent(renderer) for text in _numbers(axes)]
            assert all(one.x1 <= other.x0 for one, other in pairwise(numbers))


def _numbers(axes):
    """Of the x axis, from left to right."""
    low, high = sorted(axes.get_xlim())
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=False)
    shown = [(place, text) for place, text in ticks if low <= place <= high and text.get_text()]
    return [text for _, text in sorted(shown, key=lambda one: one[0])]


def test_every_question_has_its_figure_here():
    """Those that draw: files in ``figures`` but for what they share."""
    import figures

    shared = {"intervals", "style", "size_axis", "rate_axis", "legible_axes", "equality_line",
              "dropout_loss", "line_breaks"}  # fmt: skip
    modules = {path.stem for path in pd.Series(list(figures.__path__)).map(_files).explode()}
    assert modules - shared - {"__init__"} <= set(FIGURES)


def _files(folder):
    from pathlib import Path

    return list(Path(folder).glob("*.py"))

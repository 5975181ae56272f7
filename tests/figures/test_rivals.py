"""Every strength is a point, every tuned method a mark with an interval, LoRA is everywhere."""

import numpy as np
import pandas as pd
import pytest

from figures.rivals import draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

NAMES = ["test_loss", "beta", "train_loss", "difference"]
FAMILIES = {"LoRA": "plain", "masks": "chance", "noise": "chance", "decay": "none"}
METHODS = list(FAMILIES)


def with_family(table):
    return table.assign(family=table["method"].map(FAMILIES))


FRONTIER = with_family(grid(NAMES[:3], method=METHODS, strength=[0.1, 0.2]).assign(share=1.0))
TUNED = with_family(without_high(grid(NAMES, method=METHODS))).assign(
    verdict=[np.nan, "better", "undecided", "equal"]
)
PANELS = [(0, "test_loss", ["masks", "noise"]), (1, "test_loss", ["decay"]),
          (2, "beta", ["masks", "noise"]), (3, "beta", ["decay"])]  # fmt: skip


def drawing(frontier=FRONTIER, tuned=TUNED):
    return draw(frontier, tuned, 0.02, "settings")


@pytest.mark.parametrize(("panel", "name", "methods"), PANELS)
def test_curves_and_marks_are_the_table(panel, name, methods):
    axes = drawing().axes[panel]
    bars = artists.error_bars(axes)
    assert list(bars) == ["LoRA", *methods]
    curves = list(artists.lines(axes).values())
    for method, curve in zip(["LoRA", *methods], curves, strict=True):
        own = FRONTIER[FRONTIER["method"] == method]
        assert np.allclose(curve, own[["train_loss", name]])
        point = TUNED[TUNED["method"] == method]
        places, ends = bars[method]
        assert np.allclose(places, point[["train_loss", name]])
        assert ends[0, 0] == pytest.approx(point[f"{name}_low"].iloc[0])


def test_the_differences_are_those_of_the_table_with_the_least_at_the_top():
    axes = drawing().axes[-1]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["decay", "noise", "masks"]
    bars = artists.error_bars(axes, across=True)
    assert {*bars} == {"better", "undecided", "equal"}
    places, ends = bars["better"]
    row = TUNED[TUNED["method"] == "masks"].iloc[0]
    assert places.tolist() == [[pytest.approx(row["difference"]), 2]]
    assert ends[0, 0] == pytest.approx(row["difference_low"])


def test_lora_alone_has_a_panel_of_its_own():
    """With LoRA that is trained to the end beside it, as the probe has it."""
    end = TUNED[TUNED["method"] == "LoRA"].assign(method="LoRA, to the end", verdict="equal")
    tuned = pd.concat([TUNED[TUNED["method"] == "LoRA"], end])
    axes = drawing(FRONTIER[FRONTIER["method"] == "LoRA"], tuned).axes
    assert list(artists.error_bars(axes[0])) == ["LoRA", "LoRA, to the end"]
    assert [text.get_text() for text in axes[-1].get_yticklabels()] == ["LoRA, to the end"]


def test_panels_are_named():
    figure = drawing()
    assert figure.get_supxlabel() == "settings"
    labels = artists.labels(figure)
    assert labels[0] == ("", "test loss")
    assert labels[2] == ("train loss", "β  (units of the loss)")
    assert labels[-1] == ("test loss less that of tuned LoRA", "")


def test_every_panel_reaches_beyond_the_largest_train_loss_of_all():
    """The last family's marks lie right of the first one's."""
    further = TUNED["train_loss"].where(TUNED["method"] != "decay", 0.9)
    figure = drawing(tuned=TUNED.assign(train_loss=further))
    for axes in figure.axes[:4]:
        assert axes.get_xlim()[0] == 0
        assert axes.get_xlim()[1] > 1.1 * max(further)


def test_small_train_losses_have_numbers_on_their_axis():
    figure = drawing(tuned=TUNED.assign(train_loss=3e-5), frontier=FRONTIER.assign(train_loss=2e-5))
    assert [axes.get_xscale() for axes in figure.axes[:4]] == ["linear"] * 4
    assert len(figure.axes[0].get_xticks()) > 2
    assert drawing().axes[0].get_xscale() == "symlog"


def test_what_diverged_has_no_place():
    harmed = pd.concat([FRONTIER, FRONTIER.tail(1).assign(train_loss=np.inf)])
    curves = artists.lines(drawing(frontier=harmed).axes[1])
    assert all(len(curve) == 2 for curve in curves.values())

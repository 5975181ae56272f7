"""Time and memory are the table's; dotted lines are plain LoRA against itself."""

import numpy as np
import pandas as pd
import pytest

from figures.cost import draw
from tests.figures import artists

CONTROL = "LoRA again (control)"
SUMMARY = pd.DataFrame(
    [
        ("training", "LoRA", 0, 1.0, 1.0, 1.0, 1.0),
        ("training", CONTROL, 0, 1.0, 0.9, 1.2, 1.0),
        ("training", "N passes", 1, 1.1, 1.0, 1.4, 1.1),
        ("training", "N passes", 4, 4.4, 4.0, 4.5, 1.2),
        ("training", "one grouped pass", 1, 1.2, 1.1, 1.3, 1.3),
        ("training", "one grouped pass", 4, 3.0, 2.5, 4.0, 3.9),
        ("inference", "LoRA", 0, 1.0, 1.0, 1.0, 1.0),
        ("inference", CONTROL, 0, 1.0, 0.8, 1.3, 1.0),
        ("inference", "ensemble", 1, 1.5, 1.4, 1.7, 1.0),
        ("inference", "ensemble", 4, 5.0, 4.9, 5.5, 1.0),
    ],
    columns=["phase", "variant", "N", "ratio", "ratio_low", "ratio_high", "memory"],
)


def test_times_have_their_quartiles():
    time, _, inference = draw(SUMMARY, "").axes
    points, ends = artists.error_bars(time)["N passes"]
    assert points.tolist() == [[1, 1.1], [4, 4.4]]
    assert np.allclose(ends, [[1.0, 1.4], [4.0, 4.5]])
    points, ends = artists.error_bars(inference)["ensemble"]
    assert points.tolist() == [[1, 1.5], [4, 5.0]]
    assert np.allclose(ends, [[1.4, 1.7], [4.9, 5.5]])


def test_memory_has_none():
    memory = draw(SUMMARY, "").axes[1]
    points, ends = artists.error_bars(memory)["one grouped pass"]
    assert points.tolist() == [[1, 1.3], [4, 3.9]]
    assert len(ends) == 0


@pytest.mark.parametrize(("panel", "levels"), [(0, [0.9, 1.2]), (1, []), (2, [0.8, 1.3])])
def test_dotted_lines_are_the_control_s_quartiles(panel, levels):
    axes = draw(SUMMARY, "").axes[panel]
    dotted = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted == levels


def test_panels_and_curves_are_named():
    figure = draw(SUMMARY, "settings")
    titles = ["time of a training step", "peak memory of a training step", "time of inference"]
    assert [axes.get_title() for axes in figure.axes] == titles
    assert artists.labels(figure) == [("N", "relative to plain LoRA")] * 3
    assert set(artists.legend(figure.axes[0])) == {"N passes", "one grouped pass", "N times"}
    assert len(artists.legend(figure.axes[2])) == 2
    for axes in figure.axes:
        assert artists.lines(axes)["N times"].tolist() == [[1, 1], [4, 4]]
        ticks = ([text.get_text() for text in one] for one in
                 (axes.get_xticklabels(), axes.get_yticklabels()))  # fmt: skip
        assert list(ticks) == [["1", "4"]] * 2
        assert len(axes.get_yticks(minor=True)) == 0
    assert figure.get_supxlabel() == "settings"


def test_a_time_that_was_not_measured_is_left_out():
    names = ["ratio", "ratio_low", "ratio_high", "memory"]
    artists.assert_unmoved(lambda table: draw(table, ""), SUMMARY, [5], names, ["one grouped pass"])

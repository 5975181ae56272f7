"""Three quantities against p, a curve an inference."""

import numpy as np
import pytest

from figures.own_model import draw
from tests.figures import artists
from tests.figures.tables import grid, without_high

NAMES = ["test_loss", "gap", "beta"]
LABELS = ["expected weight", "ensemble, N = 4"]
SUMMARY = without_high(grid(NAMES, label=LABELS, p=[0.1, 0.5]))


@pytest.mark.parametrize(("panel", "name"), list(enumerate(NAMES)))
def test_curves_pass_through_the_means(panel, name):
    points, ends = artists.error_bars(draw(SUMMARY, "").axes[panel])[LABELS[1]]
    own = SUMMARY[SUMMARY["label"] == LABELS[1]]
    assert np.allclose(points[:, 0], own["p"] + 0.003)
    assert np.allclose(points[:, 1], own[name])
    assert np.allclose(ends[:, 0], own[f"{name}_low"])


def test_panels_and_curves_are_named():
    figure = draw(SUMMARY, "settings")
    assert artists.legend(figure) == LABELS
    p = "dropout rate p"
    assert artists.labels(figure) == [(p, "test loss"), (p, "gap"), (p, "β")]
    assert figure.get_supxlabel() == "settings"


def test_what_diverged_is_left_out():
    names = [f"{name}{end}" for name in NAMES for end in ("", "_low")]
    artists.assert_unmoved(lambda table: draw(table, ""), SUMMARY, [3], names, [LABELS[1]])

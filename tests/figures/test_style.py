"""Figures show themselves."""

from figures.dropout_loss import draw
from figures.style import Drawing
from probes.verify import verify


def test_a_figure_is_a_picture_in_a_notebook_without_pyplot():
    figure = verify(statement="counterexamples").plot()
    assert isinstance(figure, Drawing)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_white_features_add_the_papers_penalty_at_the_effective_strength():
    left, right = draw({"white": [[1.0, 1.0], [1.0, -1.0]]}, [[2.0, 0.0]]).axes
    rates, added = left.lines[0].get_data()
    _, penalty = left.lines[-1].get_data()
    _, strength = right.lines[0].get_data()
    assert abs(added[10] - strength[10] * penalty[10]) < 1e-9
    assert 0 < rates[0] < rates[-1] < 1

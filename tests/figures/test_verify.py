"""The verifier's figure shows its cases."""

import numpy as np

from figures.verify import DRAWN
from probes.verify import verify
from theory.readings import READINGS


def test_drawn_readings_are_readings():
    assert set(DRAWN) <= set(map(str, READINGS))


def test_counterexamples_are_where_the_table_has_them():
    result = verify(statement="counterexamples")
    _, right = result.plot().axes
    lines = {line.get_label(): line for line in right.lines}
    known = result.cases[~result.cases["reading"].str.startswith("β")]
    for label, provable in (("as printed", False), ("corrected", True)):
        expected = known.loc[known["provable"] == provable, "ratio"]
        assert np.allclose(np.sort(lines[label].get_xdata()), np.sort(expected))


def test_a_figure_without_cases_says_so():
    left, right = verify(statement="sparsity", p=0.5).plot().axes
    assert left.texts[0].get_text() == right.texts[0].get_text() == "not among the cases"

"""The generalization probe: gaps over n, the comparison at matched train loss, bad input."""

import json

import numpy as np
import pandas as pd
import pytest

from probes import generalization
from probes.cells.matched_controls import CONTROLS
from probes.generalization import GeneralizationSettings
from probes.stability import measure
from tests.probes.commands import assert_refused, run_here
from tests.probes.tables import gap_result, stability_cells

pytestmark = pytest.mark.slow

SMALL = {"task": "breast_cancer", "draws": 3, "steps": 12}
QUICK = ["--task", "ridge", "--n", "8", "--draws", "2", "--steps", "10"]


@pytest.fixture(scope="module")
def over_n():
    return generalization.measure(p=[0, 0.5], n=[8, 16], ensemble=2, **SMALL)


@pytest.fixture(scope="module")
def matched():
    return generalization.measure(p=[0.3, 0.6], n=10, matched=True, **SMALL)


def test_every_size_is_that_of_the_stability_probe(over_n):
    for n in (8, 16):
        alone = measure(p=[0, 0.5], n=n, ensemble=2, **SMALL).summary
        found = over_n.summary.query(f"n == {n}").reset_index(drop=True)
        pd.testing.assert_frame_equal(found, alone)


def test_bounds_are_stated_at_their_own_n(over_n):
    lemma = over_n.bounds.query("statement == 'Lemma 4.3' and ensemble == 0 and p == 0")
    assert sorted(lemma["n"].unique()) == [8, 16]


def test_the_figure_has_a_curve_a_rate(over_n):
    left, _ = over_n.plot().axes
    assert [c.get_label() for c in left.containers] == ["p = 0", "p = 0.5"]
    line, *_ = left.containers[0]
    assert np.allclose(line.get_ydata(), over_n.summary.query("p == 0 and ensemble == 0")["gap"])


def test_every_rate_meets_every_control(matched):
    decision = matched.decision()
    assert len(decision) == 2 * len(CONTROLS)
    assert set(decision["verdict"]) <= {"dropout", "control", "undecided", "not reached"}
    with pytest.raises(ValueError, match="quantity must be one of beta"):
        matched.decision("speed")


def test_the_matched_figure_shows_the_decision(matched):
    _, right = matched.plot().axes
    drawn = {c.get_label(): c[0].get_ydata().astype(float) for c in right.containers}
    decision = matched.decision()
    for variant in CONTROLS:
        expected = decision.loc[decision["variant"] == variant, "difference"]
        assert np.allclose(drawn[variant], expected, equal_nan=True)


def test_the_command_line_measures_and_compares_in_folders_of_their_own(tmp_path):
    done = run_here("generalization", *QUICK, "--p", "0", "0.5", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Theorem 4.4" in done.stdout
    for folder in ("here", "there"):
        done = run_here(
            "generalization", *QUICK, "--p", "0.5", "--matched", "--out", folder, cwd=tmp_path
        )
        if folder == "here":
            # The folder holds the gap's results already.
            assert done.returncode == 2
            assert "matched False there, True here" in done.stderr
    assert done.returncode == 0, done.stderr
    assert "early stopping" in done.stdout
    for folder, figure in (("here", "generalization"), ("there", "matched")):
        kept = {path.name for path in (tmp_path / folder).iterdir()}
        assert kept == {"cells", "rows.parquet", "table.csv", f"{figure}.png", "manifest.json"}


def test_json_is_json(tmp_path):
    done = run_here("generalization", *QUICK, "--p", "0.5", "--matched", "--json", cwd=tmp_path)
    assert {row["variant"] for row in json.loads(done.stdout)["beta"]} == set(CONTROLS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--matched", "--p", "0"], ["p must be above 0 with --matched", "0.0"]),
        (["--matched", "--ensemble", "4"], ["ensemble must be left out with --matched"]),
        (["--n", "1"], ["n must be from 2"]),
        (["--p", "1"], ["p must be in [0, 1)"]),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_status_2(arguments, words, tmp_path):
    assert_refused("generalization", arguments, words, tmp_path)


def test_settings_are_checked_in_python_too():
    with pytest.raises(ValueError, match="n must be at least one value"):
        GeneralizationSettings(n=()).cells()


def test_theorem_4_4_is_told_beside_the_largest_loss_at_its_own_point():
    """The smallest bound is not the one that comes nearest to saying something."""
    little, much = (
        stability_cells(p, *[(0.45, (0.1, 0.3))] * 2, lipschitz=10.0, largest_loss=largest)
        for p, largest in ((0.3, 1.0), (0.5, 50.0))
    )
    result = gap_result(*little, *much, n=1000)
    bounds = result.text().set_index("p")["Theorem 4.4"].astype(float)
    assert 1 < bounds["0.3"] < bounds["0.5"] < 50
    said = f"at best {bounds['0.5']:.3g}, below the largest loss there, 50."
    assert result.answer.endswith(said)
    # As it rounds to C, C is not written beside it.
    near = stability_cells(0.3, *[(0.45, (0.1, 0.3))] * 2, lipschitz=1e-9, largest_loss=1e3)
    for n, words in ((10, "at least"), (10**9, "below")):
        found = gap_result(*near, n=n)
        bound = found.text()["Theorem 4.4"].iloc[0]
        assert f"is at best {float(bound):.3g}, {words} the largest loss there" in found.answer


def test_on_a_flat_loss_without_dropout_theorem_4_4_is_infinite():
    flat = stability_cells(0.0, *[(0.45, (0.1, 0.3))] * 2, curvature=0.0)
    assert gap_result(*flat).answer.endswith("Theorem 4.4 is infinite: it says nothing.")

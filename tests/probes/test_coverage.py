"""The coverage probe: what it says of coverage, its figure, bad input."""

import json

import numpy as np
import pandas as pd
import pytest

from probes import coverage
from probes.coverage import BELOW, KEPT, UNKNOWN, CoverageResult
from tests.probes.commands import assert_refused, run_here

SMALL = {"task": "ridge", "n": 12, "draws": 3, "steps": 20}


@pytest.fixture(scope="module")
def result():
    return coverage.measure(p=[0.0, 0.5], alpha=0.2, **SMALL)


def made(covered, method="jackknife+", draws=400):
    rows = pd.DataFrame(
        {"p": 0.1, "method": method, "draw": range(draws), "coverage": covered, "size": 1.0,
         "empty": 0.0, "widening": 0.0, "unstable": 0.0, "change": 0.0, "alpha": 0.1}
    )  # fmt: skip
    return CoverageResult(rows)


def test_a_row_a_rate_and_method_with_its_guarantee(result):
    summary = result.summary.set_index(["p", "method"])
    assert len(summary) == 2 * 3
    assert summary.loc[(0.5, "jackknife+"), "guarantee"] == pytest.approx(0.6)
    assert summary.loc[(0.5, "jackknife"), "guarantee"] == pytest.approx(0.8)
    assert summary.loc[(0.5, "jackknife, widened"), "guarantee"] >= 0.6 - 1e-12
    assert result.status == 0


def test_sizes_are_compared_with_those_without_dropout(result):
    summary = result.summary.set_index(["p", "method"])["larger"]
    sizes = result.rows.pivot(index="draw", columns=["p", "method"], values="size")
    difference = sizes[0.5, "jackknife+"] - sizes[0.0, "jackknife+"]
    assert summary[0.5, "jackknife+"] == pytest.approx(difference.mean())
    assert summary[0.0].isna().all()
    assert made(0.9).summary["larger"].isna().all()


def test_coverage_below_the_guarantee_is_found():
    low, kept = made(0.7), made(0.81)
    assert low.summary["verdict"].tolist() == [BELOW]
    assert (low.status, kept.status) == (1, 0)
    assert kept.summary["verdict"].tolist() == [KEPT]
    assert "contradicted at 1 of 1 rate" in low.conclusion


def test_what_nobody_guarantees_is_no_failure():
    plain = made(0.7, "jackknife")
    assert plain.summary["verdict"].tolist() == [BELOW]
    assert plain.summary["ground"].tolist() == ["nominal"]
    assert plain.status == 0


def test_a_rate_at_which_everything_diverged_was_not_measured():
    found = made(np.nan)
    assert found.summary["verdict"].tolist() == [UNKNOWN]
    assert found.status == 0
    assert found.answer.startswith("Nothing is known")
    rates = pd.concat([found.rows.assign(p=0.5), made([np.nan, 0.85], draws=2).rows])
    assert CoverageResult(rows=rates).answer == (
        "Jackknife+: coverage from 0.850 in 1 of 2 draws up, guaranteed 0.8; the guarantee is "
        "contradicted at 0 of 1 rate, and not known at 1 more."
    )
    unsure = made(np.nan, "jackknife, widened").brief()["at least"]
    assert "nan" not in "".join(unsure)


def test_the_figure_draws_every_method(result):
    left, right = result.plot().axes
    labels = [container.get_label() for container in left.containers]
    assert labels == ["jackknife+", "jackknife", "jackknife, widened"]
    expected = result.summary.query("method == 'jackknife'")["size"]
    assert right.containers[1][0].get_ydata().tolist() == expected.tolist()


def test_the_command_line_prints_and_keeps(tmp_path):
    quick = ["--task", "ridge", "--n", "9", "--draws", "2", "--steps", "10", "--p", "0.3"]
    done = run_here("coverage", *quick, "--out", "here", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    methods = [row["method"] for row in json.loads(done.stdout)]
    assert methods == ["jackknife+", "jackknife", "jackknife, widened"]
    kept = {path.name for path in (tmp_path / "here").iterdir()}
    assert kept == {"cells", "rows.parquet", "table.csv", "coverage.png", "manifest.json"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--alpha", "0.5"], ["alpha must be from 1/(n + 1)", "below 0.5", "0.5"]),
        (["--alpha", "0.05", "--n", "12"], ["alpha must be from 1/(n + 1) = 0.0769", "0.05"]),
        (["--alpha", "nan"], ["alpha must be"]),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_status_2(arguments, words, tmp_path):
    assert_refused("coverage", arguments, words, tmp_path)

"""The verifier: verdicts, known counterexamples, exit status, bad input."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from probes import verify
from probes import verify as verifier
from probes.statements import dropout_loss_cases as dropout_loss
from probes.statements import risk_cases as risk
from probes.statements.case import Case, case_table, summarize
from probes.statements.counterexample_cases import counterexample_cases, rank_stability
from probes.statements.setting import Grid
from probes.verify import VerifySettings
from tests.probes.commands import assert_refused, run_here

TINY = {"task": "ridge", "n": 12, "p": 0.3, "strength": 0.1, "coverage_draws": 3}
CASE = Case("Proposition 4.2", "a reading", "ridge, n = 3", measured=1.0, bound=2.0)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "holds"),
        ({"ceiling": 2.0}, "vacuous"),
        ({"bound": 0.5}, "violated"),
        ({"bound": 0.5, "provable": False}, "violated as printed"),
        ({"bound": 0.5, "tolerance": 0.5}, "holds"),
        ({"bound": 0.5, "failed": "convexity"}, "assumption failed"),
        ({"equal": True}, "violated"),
        ({"equal": True, "bound": 1.0}, "holds"),
        ({"measured": float("nan")}, "violated"),
        ({"bound": float("inf"), "ceiling": 5.0}, "vacuous"),
        ({"measured": 0.0, "bound": 0.0}, "holds"),
    ],
)
def test_verdicts(changes, verdict):
    assert replace(CASE, **changes).verdict == verdict


def test_the_table_shows_the_worst_first_and_how_to_have_it_again():
    cases = [CASE, replace(CASE, bound=0.5, command="--seed 7"), replace(CASE, ceiling=1.0)]
    (row,) = summarize(case_table(cases)).to_dict("records")
    assert row["verdict"] == "violated 1/3, holds 1/3, vacuous 1/3"
    assert row["reproduce"] == "--seed 7"
    assert (row["cases"], row["ratio_smallest"], row["ratio_median"]) == (3, 0.5, 2.0)


@pytest.mark.parametrize("statement", ["sparsity", "4.1", "4.2", "4.3", "4.4", "gap"])
def test_every_statement_about_minimisers_holds(statement):
    result = verify.measure(statement=statement, **TINY)
    assert len(result.cases) > 0
    assert set(result.cases["verdict"]) <= {"holds", "vacuous"}
    assert len(result.violated) == 0


@pytest.mark.parametrize("statement", ["4.5", "loss", "1/N"])
def test_every_statement_about_masks_holds(statement):
    result = verify.measure(statement=statement, p=0.3)
    verdicts = result.cases.set_index("reading")["verdict"]
    assert set(verdicts) <= {"holds", "assumption failed"}
    failed = verdicts[verdicts == "assumption failed"]
    assert all("0-1 loss" in reading for reading in failed.index)
    assert len(failed) == (1 if statement == "4.5" else 0)


def test_the_zero_one_loss_is_not_bounded_by_its_average():
    table = verify.measure(statement="4.5", p=0.3).cases
    assert table.loc[table["failed"] != "", "measured"].item() > 0


def test_known_counterexamples_are_violated_as_printed_and_corrected():
    table = case_table(counterexample_cases())
    assert set(table["verdict"]) == {"violated as printed", "holds", "vacuous"}
    assert not (table["provable"] & (table["verdict"] == "violated as printed")).any()
    printed = table[table["reading"] == "worst example, as printed"]
    one = printed[printed["setting"].str.startswith("1-d")]
    assert (1 / one["ratio"]).round(2).tolist() == [1.28, 1.96, 2.34]
    beta = table[table["reading"] == "β of this S, as printed"]
    assert beta.set_index("setting")["verdict"].str.startswith("violated").tolist() == [
        False, False, False, True, True,
    ]  # fmt: skip
    memoriser = table[table["setting"].str.startswith("memoriser")]
    assert memoriser["measured"].eq(1).all()


def test_the_rank_constraint_makes_beta_fall_like_the_root_of_n():
    for n in (100, 400, 1600):
        assert rank_stability(n, 1)[0] * np.sqrt(n) == pytest.approx(0.194, abs=2e-3)
        assert rank_stability(n, 2)[0] * n == pytest.approx(0.0236, abs=2e-3)


def test_the_gap_identity_fails_without_its_bias():
    """Deleting estimates the gap only up to what one example more is worth."""
    (setting,) = Grid(("ridge",), (12,), (0.3,), (0.1,), 1, 3, 0.05, 0).settings()
    replacing, deleting = risk.identity_cases(setting)
    assert replacing.verdict == deleting.verdict == "holds"
    assert abs(deleting.measured - replacing.measured) > 0.01


def test_a_wrong_theory_is_reported_with_how_to_have_it_again(monkeypatch, tmp_path):
    monkeypatch.setattr(
        dropout_loss, "expected_penalty", lambda update, p: 2 * p * (update**2).sum()
    )
    done = run_here("verify", "--statement", "sparsity", "--p", "0.3", cwd=tmp_path)
    assert done.returncode == 1
    shown = done.stdout
    assert "violated" in shown
    assert "python -m probes.verify --statement sparsity --p 0.3 --seed 0" in shown


def test_the_command_line_prints_a_table_and_keeps_its_files(tmp_path):
    done = run_here(
        "verify", "--statement", "4.2", "--task", "wine", "--n", "20", "--p", "0.1",
        "--strength", "0.1", "--out", "here", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Proposition 4.2" in done.stdout
    assert {path.name for path in (tmp_path / "here").iterdir()} == {
        "cells", "rows.parquet", "table.csv", "verify.png", "manifest.json",
    }  # fmt: skip
    assert len(pd.read_parquet(tmp_path / "here/rows.parquet")) == 36 + 2
    assert json.loads((tmp_path / "here/manifest.json").read_text())["settings"]["task"] == ["wine"]


def test_json_is_json(tmp_path):
    done = run_here(
        "verify",
        "--statement",
        "4.2",
        "--task",
        "ridge",
        "--n",
        "10",
        "--p",
        "0.5",
        "--json",
        cwd=tmp_path,
    )
    rows = json.loads(done.stdout)
    assert {row["verdict"] for row in rows} <= {"holds", "vacuous", "holds 1/2, vacuous 1/2"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--p", "0"], ["p must be in (0, 1)", "got 0.0"]),
        (["--strength", "0"], ["strength must be positive", "0.0"]),
        (["--n", "1"], ["n must be at least 2"]),
        (["--statement", "5.1"], ["statement must be one of sparsity, 4.1", "'5.1'"]),
        (["--task", "digits"], ["task must be one of ridge", "'digits'"]),
        (["--delta", "0"], ["delta must be in (0, 1]"]),
        (["--out", "/proc/nowhere"], ["out must be a folder", "/proc/nowhere"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(arguments, words, tmp_path):
    assert_refused("verify", arguments, words, tmp_path)


def test_the_printed_readings_are_readings():
    assert set(verifier.SHOWN) <= set(map(str, verifier.READINGS))


def test_settings_of_python_are_those_of_the_command_line():
    with pytest.raises(TypeError, match="wrong"):
        verify.measure(wrong=1)
    with pytest.raises(ValueError, match="n must be at least 2"):
        VerifySettings(n=(1,)).cells()

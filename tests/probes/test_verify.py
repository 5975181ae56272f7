"""The verifier: verdicts, known counterexamples, exit status, bad input."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from probes import verify
from probes import verify as verifier
from probes.statements import dropout_loss_cases as dropout_loss
from probes.statements import risk_cases as risk
from probes.statements.case import Case, case_table, summarize
from probes.statements.counterexample_cases import (
    NOT_STATIONARY,
    counterexample_cases,
    rank_expansion,
    rank_stability,
)
from probes.statements.setting import Grid
from probes.statements.stability_cases import AS_IT_IS_PRINTED
from probes.verify import VerifySettings
from tests.probes.commands import assert_refused, run_here
from theory.closeness import EXPANSION_STEPS
from theory.readings import NOT_CLOSE

pytestmark = pytest.mark.slow

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
        ({"bound": 0.5, "failed": "convexity"}, "fails without its premise"),
        ({"failed": "convexity"}, "does not apply"),
        ({"failed": "convexity", "measured": float("nan")}, "does not apply"),
        ({"chance": 2.0, "ceiling": 5.0}, "vacuous"),
        ({"chance": 2.5, "ceiling": 5.0}, "holds"),
        ({"bound": 0.5, "p_value": 0.02, "level": 0.01}, "holds"),
        ({"p_value": 0.005, "level": 0.01}, "violated"),
        ({"equal": True}, "violated"),
        ({"equal": True, "bound": 1.0}, "holds"),
        ({"measured": float("nan")}, "violated"),
        ({"bound": float("inf"), "ceiling": 5.0}, "vacuous"),
        ({"measured": 0.0, "bound": 0.0}, "holds"),
    ],
)
def test_verdicts(changes, verdict):
    assert replace(CASE, **changes).verdict == verdict


@pytest.mark.parametrize(
    ("measured", "bound", "ratio"),
    [(2.0, 3.0, 1.5), (0.0, 0.0, 1.0), (0.0, 2.0, float("inf")), (2.0, 0.0, 0.0)],
)
def test_a_ratio_is_how_often_the_measured_side_goes_into_the_bound(measured, bound, ratio):
    assert replace(CASE, measured=measured, bound=bound).ratio == ratio


def test_the_error_of_a_row_is_the_largest():
    cases = [replace(CASE, measured=bound + error, bound=bound, equal=True)
             for bound, error in ((1.0, 0.25), (2.0, -0.5), (3.0, 0.0))]  # fmt: skip
    (row,) = summarize(case_table(cases)).to_dict("records")
    assert row["error"] == 0.5


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


@pytest.mark.parametrize("strength", [2e-6, 1e12])
def test_the_ends_of_what_may_be_set_are_no_violation(strength):
    """A bound whose square is no double, penalties that leave next to nothing to learn."""
    statements = ("4.1", "4.2", "4.3", "4.4", "gap", "hardt", "lei", "coin", "uniform")
    ends = {"p": 0.5, "n": 5, "delta": 5e-324, "coverage_draws": 2, "strength": strength}
    result = verify.measure(statement=statements, task="ridge", **ends)
    assert len(result.violated) == 0


@pytest.mark.parametrize("statement", ["4.5", "loss", "1/N"])
def test_every_statement_about_masks_holds(statement):
    result = verify.measure(statement=statement, p=0.3)
    verdicts = result.cases.set_index("reading")["verdict"]
    assert set(verdicts) <= {"holds", "fails without its premise"}
    failed = verdicts[verdicts == "fails without its premise"]
    assert all("0-1 loss" in reading for reading in failed.index)
    assert len(failed) == (1 if statement == "4.5" else 0)


def test_the_printed_lemma_is_not_among_what_we_claim():
    result = verify.measure(statement="4.3", **TINY)
    printed = result.cases["reading"].str.endswith("as printed")
    assert printed.sum() == 1
    assert result.claimed.index.tolist() == result.cases.index[~printed].tolist()


def test_the_zero_one_loss_is_not_bounded_by_its_average():
    table = verify.measure(statement="4.5", p=0.3).cases
    assert table.loc[table["failed"] != "", "measured"].item() > 0


def test_the_memoriser_alone_meets_every_printed_premise():
    table = case_table(counterexample_cases())
    printed = table[table["verdict"] == "violated as printed"]
    assert printed["statement"].tolist() == ["Lemma 4.3"]
    assert printed["setting"].str.startswith("memoriser").all()
    memoriser = table[table["setting"].str.startswith("memoriser")]
    assert memoriser["measured"].eq(1).all()
    assert set(memoriser["verdict"]) == {"violated as printed", "vacuous"}


def test_where_theta_is_not_close_the_printed_bound_fails_and_the_corrected_one_holds():
    table = case_table(counterexample_cases())
    logistic = table[table["setting"].str.contains("logistic")]
    printed = logistic["reading"].str.contains("printed")
    assert (logistic.loc[printed, "failed"] == NOT_CLOSE).all()
    assert (logistic.loc[printed, "reach"] <= 0.25).all()
    assert set(logistic.loc[~printed, "verdict"]) <= {"holds", "vacuous"}
    one = logistic["setting"].str.startswith("1-d")
    for reading, expected in (
        ("worst example, as printed", [1.25, 1.93, 2.30]),
        ("worst example, printed formula, raw loss", [1.28, 1.96, 2.34]),
    ):
        worst = logistic[one & (logistic["reading"] == reading)]
        assert (1 / worst["ratio"]).to_numpy() == pytest.approx(expected, abs=5e-3)
    beta = logistic[logistic["reading"] == "β of this S, as printed"]
    assert (beta["ratio"] < 1).tolist() == [False, False, False, True, True]


def test_under_a_rank_constraint_the_expansion_is_exact_and_theta_is_not_stationary():
    reach, rise = rank_expansion(400)
    assert reach == EXPANSION_STEPS[-1]
    assert abs(rise) < 0.01
    table = case_table(counterexample_cases())
    rank = table[table["reading"] == "rank 1, as printed"]
    assert (rank["failed"] == NOT_STATIONARY).all()
    assert (rank["ratio"] < 1).tolist() == [False, True, True]


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
    assert len(pd.read_parquet(tmp_path / "here/rows.parquet")) == 48 + 2 + 1
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
    assert {row["chance"] for row in rows if row["statement"] == "Proposition 4.2"} == {1.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--p", "0"], ["p must be in (0, 1)", "got 0.0"]),
        (["--strength", "0"], ["strength must be positive", "0.0"]),
        (["--strength", "1e-9"], ["strength must be at least 1e-06 times", "1e-09"]),
        (["--strength", "1e150"], ["strength must be at most 1e+12 times", "1e+150"]),
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


def test_the_shown_readings_are_readings():
    assert set(verifier.SHOWN) <= set(map(str, verifier.READINGS))


def test_far_from_theta_the_printed_statement_does_not_apply():
    """On separable data the minimisers without an example lie beyond the expansion."""
    result = verify.measure(statement="4.2", task="breast_cancer", n=50, p=0.05, strength=0.01)
    (case,) = result.cases[result.cases["reading"] == AS_IT_IS_PRINTED].to_dict("records")
    assert case["failed"] == NOT_CLOSE
    assert case["reach"] < 1
    assert case["verdict"] == "does not apply"
    assert AS_IT_IS_PRINTED not in result.claimed["reading"].tolist()
    assert result.conclusion == f"All {len(result.claimed)} checks of true statements passed."


def test_settings_of_python_are_those_of_the_command_line():
    with pytest.raises(TypeError, match="wrong"):
        verify.measure(wrong=1)
    with pytest.raises(ValueError, match="n must be at least 2"):
        VerifySettings(n=(1,)).cells()


def test_the_help_names_every_statement(capsys):
    with pytest.raises(SystemExit):
        verify.PROBE.main(["--help"])
    _, _, said = capsys.readouterr().out.partition("--statement TEXT ...")
    listed = " ".join(said.partition(". Default: all")[0].split())
    assert set(re.sub(r" \(.*?\)", "", listed).split(", ")) == set(verify.STATEMENTS)


def test_of_a_statement_none_of_whose_premises_hold_nothing_passed(monkeypatch):
    """That all of no checks passed would be read as a success."""
    cases = [Case("Mine", "as told", "coin", 2.0, 1.0, failed="never")] * 2
    monkeypatch.setitem(verifier.STATEMENTS, "mine", lambda grid: [lambda: cases])
    result = verify.measure(statement="mine")
    assert result.status == 0
    assert result.headline == "No statement that we claim is true was checked."
    assert result.rows["verdict"].tolist() == ["fails without its premise"] * 2


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (lambda: [], "statement 'mine' must be one that has cases; got none"),
        (
            lambda: [Case("Mine", "as told", "coin", np.ones(2), 1.0)],
            r"measured of 'Mine' must be one number; got shape \(2,\)",
        ),
    ],
)
def test_a_statement_without_cases_or_with_arrays_is_refused(cases, message, monkeypatch):
    monkeypatch.setitem(verifier.STATEMENTS, "mine", lambda grid: [cases])
    with pytest.raises(ValueError, match=message):
        verify.measure(statement="mine")

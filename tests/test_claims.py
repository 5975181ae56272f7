"""Claims of README and docs: each stands there and is measured; what differs is found."""

import re

import numpy as np
import pandas as pd
import pytest

from benchmarks.claimed_measurements import (
    ESTIMATED_TASKS,
    LONGEST,
    MASK_PAIRS,
    SECTIONS,
    PlanJob,
    measured,
    plans_of,
    run_plan,
)
from benchmarks.claimed_sentences import SENTENCES, Claim, two_digits
from benchmarks.claims import (
    NOT_COMPARED,
    WIDTH,
    checked,
    pages_text,
    plain,
    tables,
    topics,
)
from benchmarks.influence import LOSSES, errors
from probes.jobs.job import TableKind, silent
from probes.report.regimes import LEARNING_RATES, Regime
from probes.report.sections import ReportSettings
from probes.results.estimate_agreement import agreement
from probes.results.text_tables import print_table

pytestmark = pytest.mark.slow

TEXT = plain(pages_text())


@pytest.fixture
def small(tmp_path):
    return ReportSettings(out=tmp_path, draws=2, n=8, steps=5, workers=1, sections=SECTIONS)


@pytest.mark.parametrize("claim", SENTENCES, ids=lambda claim: claim.sentence[:40])
def test_every_claim_stands_on_one_page(claim):
    assert len(re.findall(claim.pattern, TEXT)) == 1


def test_conclusions_are_found_by_what_they_are_about():
    found = topics(pages_text())
    assert len(found) == len(set(found)) > 20
    assert {"β against p = 0", "over p", "test loss at the end"} <= set(found)
    assert "β on ridge at equal train loss, against shrunk update" in found
    assert {f"what is trusted of the estimates on {task}" for task in ESTIMATED_TASKS} <= set(found)


def test_a_conclusion_that_nothing_measures_is_found(monkeypatch):
    monkeypatch.setattr("benchmarks.claims.SENTENCES", ())
    assert list(checked({}, {}, "- the weather: smaller (p = 0.1) in both.")) == [
        ("the weather: not measured", "differs")
    ]


def test_conclusions_that_are_left_out_for_their_time_are_no_difference(monkeypatch):
    monkeypatch.setattr("benchmarks.claims.SENTENCES", ())
    text = "- β with 8 mask pairs a step against 1: larger (p = 0.7) in both."
    assert list(checked({}, {}, text)) == []
    assert "mask pairs a step" in NOT_COMPARED


def test_a_number_that_differs_is_found(monkeypatch):
    claims = (
        Claim("a loss of {loss:.2f} at the end", lambda measured: {"loss": 0.123}),
        Claim("a gap of {gap:.2f}", lambda measured: {"gap": 0.5}),
    )
    monkeypatch.setattr("benchmarks.claims.SENTENCES", claims)
    text = "There is **a loss of\n0.12** at the end, and a gap of 0.49."
    assert list(checked({}, {}, text)) == [
        ("a loss of 0.12 at the end", "same"), ("a gap of 0.50", "differs"),
    ]  # fmt: skip


def test_a_conclusion_that_reverses_is_found(monkeypatch):
    monkeypatch.setattr("benchmarks.claims.SENTENCES", ())
    said = {"β against p = 0": {"p = 0.1": "larger"}, "other": {"x": "smaller"}}
    regimes = [Regime("digits", lr, 64, 0.1, 0.7, 0.7, lr > 1e-3) for lr in (1e-3, 5e-3)]
    monkeypatch.setattr(
        "benchmarks.claims.claimed", lambda results, plans: [dict.fromkeys(regimes, said)]
    )
    text = "- β against p = 0: smaller (p = 0.1) in both."
    assert list(checked({}, {}, text)) == [
        ("β against p = 0: larger (p = 0.1) in both.", "differs")
    ]


def test_numbers_that_are_not_compared_name_a_command():
    assert all("python -m " in command or "make " in command for command in NOT_COMPARED.values())


def test_what_is_printed_fits_the_terminal(capsys):
    sentences = [(topic + ": " + "smaller (p = 0.1, 0.3) in both; " * 12, "same") for topic in "ab"]
    for table in tables(sentences):
        print_table(table)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= WIDTH
    assert printed.count("smaller") == 24


@pytest.mark.parametrize(
    ("value", "written"), [(0.0123, "0.012"), (9.99, "10"), (107.5, "110"), (12_345, "12,000")]
)
def test_two_digits_are_written(value, written):
    assert two_digits(value) == written


def test_every_plan_runs_in_one_process_and_estimates_in_both_regimes(small):
    plans = plans_of(small)
    assert {getattr(plan.settings, "workers", 1) for plan in plans.values()} == {1}
    assert plans["sensitivity-0.001"].settings.samples == MASK_PAIRS
    assert plans["ablation-0.001"].settings.part == ("dropout when", "dropped where", "inference")
    for task in ESTIMATED_TASKS:
        rates = {plans[f"influence-{task}-{lr:g}"].settings.lr for lr in LEARNING_RATES[task]}
        assert rates == set(LEARNING_RATES[task])
    assert all(any(key.startswith(name) for key in plans) for name in LONGEST)


def test_a_plan_measures_what_its_probe_measures(small):
    key = "influence-breast_cancer-0.03"
    plan = plans_of(small)[key]
    tables = run_plan(PlanJob(small, key), silent)
    expected = plan.probe.run_with(plan.settings)
    pd.testing.assert_frame_equal(tables[TableKind.ROWS], expected.rows)
    (kept,) = measured(small, [key]).values()
    pd.testing.assert_frame_equal(kept.summary, expected.summary)


def test_errors_of_few_checks_are_those_of_the_probes_corrected_beta():
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(generator.random((24, 3)), columns=LOSSES)
    rows = rows.assign(draw=np.repeat([0, 1], 12))
    found = []
    order = np.random.default_rng(0)
    for _, draw in rows.groupby("draw"):
        for _ in range(200):
            chosen = draw.index[order.permutation(len(draw))[:5]]
            known = draw["loss_retrained"].where(draw.index.isin(chosen))
            some = agreement(draw.assign(loss_retrained=known))
            found.append([some["beta_corrected"], some["beta_retrained"]])
            found[-1] = np.array(found[-1]) / agreement(draw)["beta_retrained"] - 1
    expected = np.sqrt(np.square(found).mean(axis=0))
    assert errors(rows, 5) == pytest.approx(tuple(expected), rel=1e-12)

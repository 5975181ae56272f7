"""What the verifier tries of the bounds from information, and that a flaw would be seen."""

import numpy as np
import pytest

from probes import verify
from probes.statements import information_cases as cases
from probes.statements.case import case_table

MISSING = {"loss in [0, C]", "mean over selections", "U a fair coin", "masks independent of U",
           "train loss 0 for every U"}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return case_table(cases.information_cases(0))


def test_every_bound_holds_and_every_premise_is_needed(table):
    assert set(table.loc[table["failed"] == "", "verdict"]) == {"holds", "vacuous"}
    assert set(table.loc[table["failed"] != "", "verdict"]) == {"fails without its premise"}
    assert set(table["failed"]) - {""} == MISSING


def test_every_statement_is_tried_given_the_examples_and_most_on_average(table):
    bounds = cases.TWO_SIDED | cases.ONE_SIDED | cases.FITTED
    for statement in bounds:
        readings = set(table.loc[table["statement"] == statement, "reading"])
        assert {cases.GIVEN_SUPERSAMPLE, cases.ALL_DRAWS} <= readings
    one_out = table[table["statement"].str.startswith("leave-one-out")]
    assert set(one_out["reading"]) == {cases.GIVEN_EXAMPLES}
    assert one_out["statement"].nunique() == 2


def test_where_differences_are_large_and_tell_little_the_root_is_tight(table):
    opposite = table[table["setting"].str.contains("opposite labels") & (table["failed"] == "")]
    ratios = opposite.set_index("statement")["ratio"]
    assert len(ratios) == len(cases.TWO_SIDED | cases.ONE_SIDED)
    assert (ratios[list(cases.TWO_SIDED)] < 1.06).all()
    # By hand: the vote is 1 where more than 4 of 8 are, so where at least 4 of the 7 others are if
    # U_i = 1, and at least 5 if it is 0. The gap is the difference of these probabilities.
    one, zero = (35 + 21 + 7 + 1) / 128, (21 + 7 + 1) / 128
    assert opposite["measured"].to_numpy() == pytest.approx(one - zero)


FLAWS = [
    ("TWO_SIDED", "f-CMI (Harutyunyan 2021)", 0.5),
    ("TWO_SIDED", "e-CMI (Steinke 2020)", np.sqrt(0.5)),
    ("TWO_SIDED", "ld-CMI (Wang 2023)", np.sqrt(0.5)),
    ("ONE_SIDED", "binary kl (Hellström 2022)", 0.5),
    ("ONE_SIDED", "binary kl, ld (derived here)", 0.5),
    ("ONE_SIDED", "fast rate (Wang 2023)", 0.5),
    ("FITTED", "fitted, ld-CMI (Wang 2023)", np.log(2)),
    ("FITTED", "fitted, e-CMI (Steinke 2020)", np.log(2)),
]


@pytest.mark.parametrize(("group", "statement", "factor"), FLAWS)
def test_a_wrong_constant_is_violated(group, statement, factor, monkeypatch):
    right = getattr(cases, group)[statement]
    monkeypatch.setattr(cases, group, {statement: lambda tried: factor * right(tried)})
    for other in {"TWO_SIDED", "ONE_SIDED", "FITTED"} - {group}:
        monkeypatch.setattr(cases, other, {})
    few = cases.Population.random(cases.FEW_POINTS, np.random.default_rng(0))
    pairs = cases.every_draw(few, cases.FEW_PAIRS)
    name = "nearest neighbour"
    found = case_table(cases.supersample_cases(name, cases.LEARNERS[name], few, pairs, ""))
    assert set(found.loc[found["statement"] == statement, "verdict"]) >= {"violated"}


@pytest.mark.parametrize("module", [cases.rammal2022, cases.haghifam2022])
def test_a_leave_one_out_bound_too_small_is_violated(module, monkeypatch):
    right = module.leave_one_out_gap_bound
    monkeypatch.setattr(module, "leave_one_out_gap_bound", lambda **known: right(**known) / 2.5)
    generator = np.random.default_rng(0)
    population = cases.Population.random(cases.MANY_POINTS, generator)
    examples = cases.draws(population, 50, 4, generator)
    found = case_table(
        cases.leave_one_out_cases(
            "memoriser", cases.LEARNERS["memoriser"], population, examples, ""
        )
    )
    assert "violated" in set(found["verdict"])


def test_the_verifier_tries_them_by_name():
    result = verify.measure(statement="information")
    assert result.status == 0
    assert result.conclusion.startswith(f"All {len(result.claimed)} checks of true statements")
    assert result.claimed["command"].unique().tolist() == ["--statement information --seed 0"]

"""Claims of the README: each stands there, and what differs is found."""

import re

import pytest

from benchmarks.claims import BY_REGIME, README, SENTENCES, Claim, checked, plain
from probes.report.claims import CLAIMS

TEXT = plain(README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("claim", SENTENCES, ids=lambda claim: claim.sentence[:40])
def test_every_claim_stands_in_the_readme(claim):
    assert len(re.findall(claim.pattern, TEXT)) == 1


def test_every_conclusion_is_one_that_the_report_draws():
    """Lines of the README that say in which regime something holds begin with a claim's topic."""
    lines = re.findall(r"^ *- (.*?): ", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len([line for line in lines if not line.startswith("**")]) > 15
    assert {name.partition("-")[0] for name in BY_REGIME} <= set(CLAIMS)


def test_a_number_that_differs_is_found(monkeypatch):
    claims = (
        Claim("a loss of {loss:.2f} at the end", lambda measured: {"loss": 0.123}),
        Claim("a gap of {gap:.2f}", lambda measured: {"gap": 0.5}),
    )
    monkeypatch.setattr("benchmarks.claims.SENTENCES", claims)
    monkeypatch.setattr("benchmarks.claims.BY_REGIME", {})
    readme = plain("There is **a loss of\n0.12** at the end, and a gap of 0.49.")
    assert list(checked(None, readme)) == [
        ("a loss of 0.12 at the end", "same"), ("a gap of 0.50", "differs"),
    ]  # fmt: skip


def test_a_conclusion_that_reverses_is_found(monkeypatch):
    monkeypatch.setattr("benchmarks.claims.SENTENCES", ())
    monkeypatch.setattr("benchmarks.claims.BY_REGIME", {"stability": None})
    monkeypatch.setattr(
        "benchmarks.claims.conclusions",
        lambda measured, name: ["β against p = 0: larger (p = 0.1) in both.", "other: x."],
    )
    readme = "- β against p = 0: smaller (p = 0.1) in both."
    assert list(checked(None, readme)) == [
        ("β against p = 0: larger (p = 0.1) in both.", "differs")
    ]

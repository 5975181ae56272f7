"""Claims of the README: each stands there, and what differs is found."""

import re
from types import SimpleNamespace

import pytest

from benchmarks.claims import README, SENTENCES, TOPIC, Claim, checked, plain

#: Nothing is measured.
NOTHING = SimpleNamespace(plans={})
TEXT = plain(README.read_text(encoding="utf-8"))


@pytest.mark.parametrize("claim", SENTENCES, ids=lambda claim: claim.sentence[:40])
def test_every_claim_stands_in_the_readme(claim):
    assert len(re.findall(claim.pattern, TEXT)) == 1


def test_conclusions_are_found_by_what_they_are_about():
    topics = TOPIC.findall(README.read_text(encoding="utf-8"))
    assert len(topics) == len(set(topics)) > 20
    assert {"β against p = 0", "over p", "test loss at the end"} <= set(topics)
    assert "β on ridge at equal train loss, against shrunk update" in topics


def test_a_conclusion_that_nothing_measures_is_found(monkeypatch):
    monkeypatch.setattr("benchmarks.claims.SENTENCES", ())
    assert list(checked(NOTHING, "  - the weather: smaller (p = 0.1) in both.")) == [
        ("the weather: not measured", "differs")
    ]


def test_a_number_that_differs_is_found(monkeypatch):
    claims = (
        Claim("a loss of {loss:.2f} at the end", lambda measured: {"loss": 0.123}),
        Claim("a gap of {gap:.2f}", lambda measured: {"gap": 0.5}),
    )
    monkeypatch.setattr("benchmarks.claims.SENTENCES", claims)
    readme = "There is **a loss of\n0.12** at the end, and a gap of 0.49."
    assert list(checked(NOTHING, readme)) == [
        ("a loss of 0.12 at the end", "same"), ("a gap of 0.50", "differs"),
    ]  # fmt: skip


def test_a_conclusion_that_reverses_is_found(monkeypatch):
    monkeypatch.setattr("benchmarks.claims.SENTENCES", ())
    monkeypatch.setattr("benchmarks.claims.by_question", lambda plans: {"stability": plans})
    monkeypatch.setattr(
        "benchmarks.claims.conclusions",
        lambda plans, measured: ["β against p = 0: larger (p = 0.1) in both.", "other: x."],
    )
    readme = "  - β against p = 0: smaller (p = 0.1) in both."
    assert list(checked(NOTHING, readme)) == [
        ("β against p = 0: larger (p = 0.1) in both.", "differs")
    ]

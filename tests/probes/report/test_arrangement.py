"""Which network a section speaks of: every question with its regimes, each result in its own."""

import base64
import json
from types import SimpleNamespace

import pandas as pd

from probes.report import page
from probes.report.claims import CLAIMS
from probes.report.findings import Finding, of_regimes
from probes.report.page import Measured, Section, by_question, claims_of
from probes.report.regimes import Regime, alike, compare
from probes.report.sections import Plan
from probes.results.text_tables import TEXT_COLUMNS

FITS = Regime("digits", 1e-3, 64, 0.07, 0.72, 0.71, overfits=False)
OVERFITS = Regime("digits", 5e-3, 64, 0.0007, 1.19, 0.76, overfits=True)
OTHER = Regime("ridge", 2e-3, 64, 0.1, 0.2, 0.2, overfits=None)


def plan(key, regime=None, joint=""):
    return Plan(key, None, SimpleNamespace(lr=regime and regime.settings.lr), joint, regime)


def of(regime):
    key = f"regime-{regime.task}-{regime.lr:g}"
    return Plan(key, None, SimpleNamespace(lr=regime.lr))


PLAIN = {regime: of(regime) for regime in (FITS, OVERFITS, OTHER)}
ASKED = [
    plan("stability", PLAIN[OTHER], "stability"), plan("ensemble-0.001", PLAIN[FITS], "ensemble"),
    plan("cost"), plan("ensemble-0.005", PLAIN[OVERFITS], "ensemble"),
]  # fmt: skip
PLANS = [*PLAIN.values(), *ASKED]
OUTCOMES = {"ensemble-0.001": "smaller", "ensemble-0.005": "larger", "stability": "?", "cost": "?"}
RESULTS = {one.key: OUTCOMES.get(one.key) for one in ASKED} | {
    of(regime).key: regime for regime in PLAIN
}


def test_every_section_names_its_regime_and_what_all_have_in_common_comes_first(monkeypatch):
    monkeypatch.setattr(Regime, "of", staticmethod(lambda result: result))
    monkeypatch.setitem(CLAIMS, "ensemble", lambda result: {"loss": {"N = 4": result}})
    measured = {}
    for one in PLANS:
        finding = Finding(f"{one.name}?", f"with {one.key}", [f"so {one.key}"], [])
        section = Section(one.key, finding, [one.key], f"run {one.key}")
        measured[one.key] = Measured(section, RESULTS[one.key], kept=False)
    regimes, stability, both, fits, overfits, cost = page._arranged(PLANS, measured)
    assert regimes.key == "regimes"
    assert regimes.finding.verdicts == of_regimes(list(PLAIN)).verdicts
    assert regimes.command.splitlines() == [f"run {one.key}" for one in PLAIN.values()]
    claims = {FITS: {"loss": {"N = 4": "smaller"}}, OVERFITS: {"loss": {"N = 4": "larger"}}}
    assert both.finding.verdicts == [alike(claims), *compare(claims)]
    assert (both.key, both.finding.question, both.together) == ("ensemble", "ensemble?", True)
    shown = [
        (stability, "stability", OTHER, ""),
        (fits, "ensemble-0.001", FITS, "learning rate 0.001 (does not overfit)"),
        (overfits, "ensemble-0.005", OVERFITS, "learning rate 0.005 (overfits)"),
        (cost, "cost", None, ""),
    ]  # fmt: skip
    for section, key, regime, name in shown:
        assert (section.key, section.regime, section.together) == (key, name, False)
        assert section.finding.setting == f"with {key}" + (f"; {regime}" if regime else "")
        assert section.finding.verdicts == [f"so {key}"]
        assert (section.pictures, section.command) == ([key], f"run {key}")


def test_without_regimes_there_is_no_section_of_them():
    (cost,) = [one for one in PLANS if one.key == "cost"]
    finding = Finding("cost?", "here", ["so"], [])
    measured = {"cost": Measured(Section("cost", finding, [], ""), None, kept=True)}
    assert page._arranged([cost], measured) == [measured["cost"].section]


def test_claims_are_those_of_the_regime_in_which_they_were_measured(monkeypatch):
    monkeypatch.setattr(Regime, "of", staticmethod(lambda result: result))
    monkeypatch.setitem(CLAIMS, "ensemble", lambda result: result)
    questions = by_question(PLANS)
    assert {name: [one.key for one in some] for name, some in questions.items()} == {
        "stability": ["stability"], "cost": ["cost"],
        "ensemble": ["ensemble-0.001", "ensemble-0.005"],
    }  # fmt: skip
    assert claims_of([*questions["ensemble"], *questions["cost"]], RESULTS) == {
        FITS: "smaller", OVERFITS: "larger",
    }  # fmt: skip


def test_a_section_shows_what_this_run_wrote_and_says_whether_it_measured(tmp_path):
    for name in ("one", "rivals", "left_over"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    files = ["rows.parquet", "one.png", "rivals.png"]
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    cell = tmp_path / "cells/cell.parquet"
    cell.parent.mkdir()

    def measured(figure, run):
        probe = SimpleNamespace(name="ensemble", run_with=lambda settings: run())
        settings = SimpleNamespace(out=tmp_path, __dataclass_fields__={})
        asked = SimpleNamespace(
            key="key", probe=probe, settings=settings, figure=figure, describe=str
        )  # fmt: skip
        found = page._measured(asked)
        pictures = [base64.b64decode(one).decode() for one in found.section.pictures]
        return pictures, found.kept, found.section.finding

    assert measured("", lambda: 1) == (["one", "rivals"], False, "1")
    assert measured("rivals", lambda: cell.write_text("a")) == (["rivals"], False, "1")
    assert measured("", lambda: 2)[1:] == (True, "2")
    # One that was damaged is written again under its name.
    assert not measured("", lambda: (cell.unlink(), cell.write_text("b")))[1]


def test_the_verdict_stands_behind_the_first_column_of_words():
    word, other = [name for name in TEXT_COLUMNS if name != "verdict"][:2]
    for names, expected in (
        (["p", word, "n", "verdict", other], ["p", word, "verdict", "n", other]),
        (["p", "n", "verdict"], ["p", "verdict", "n"]),
        (["p", word, "verdict", "n"], ["p", word, "verdict", "n"]),
        (["p", word, "n"], ["p", word, "n"]),
    ):
        table = pd.DataFrame([range(len(names))], columns=names)
        found = page._verdict_first(table)
        assert found.columns.tolist() == expected
        assert found.iloc[0].to_dict() == table.iloc[0].to_dict()

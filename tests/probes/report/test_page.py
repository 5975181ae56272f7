"""The report: one page, self-contained, that says how to have its numbers again."""

import base64
import io
import re
import shlex
from dataclasses import replace

import pandas as pd
import pytest
import tyro

import figures.ensemble
from probes.report.claims import CLAIMS
from probes.report.findings import Finding
from probes.report.page import GLOSSARY, LONG_TABLE, Section, render, write_report
from probes.report.regimes import LEARNING_RATES
from probes.report.sections import FINDINGS, SECTIONS, ReportSettings, words_of
from probes.results.text_tables import TextTable
from tests.probes.commands import assert_refused, run_here
from tests.probes.report.pages import cell, read_page

pytestmark = pytest.mark.slow

SMALL = {"n": 8, "draws": 2, "steps": 4, "workers": 1, "task": "breast_cancer", "lr": (3e-3,)}
MEASURED = ("stability", "matched", "ensemble", "rivals", "calibration", "ablation", "methods")
KEYS = ["stability", "matched-ridge", *MEASURED[2:]]
#: What says whether the network without dropout overfits.
REGIMES = ["regime-breast_cancer-0.003", "regime-ridge-0.003"]
#: Figures that the page shows of every section, in its order.
DRAWN = {
    "stability": ["stability", "gap"], "matched-ridge": ["matched"], "ensemble": ["ensemble"],
    "rivals": ["rivals"], "calibration": ["calibration"], "ablation": ["ablation"],
    "methods": ["rivals"],
}  # fmt: skip
#: Half the width of Student's interval over two draws, in units of half their distance.
STUDENT = 12.7062


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Settings, and the page's text."""
    folder = tmp_path_factory.mktemp("report")
    settings = ReportSettings(out=folder, sections=MEASURED, matched_tasks=("ridge",), **SMALL)
    return settings, write_report(settings).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sections(written):
    return read_page(written[1])[0]


def rows_of(settings, key, name="rows"):
    return pd.read_parquet(settings.out / key / f"{name}.parquet")


def cell_files(folder):
    files = folder.rglob("cells/*")
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def interval(values):
    first, second = values
    mean, half = (first + second) / 2, STUDENT * abs(first - second) / 2
    if 1e-12 < half < 5e-5:  # which four decimals would hide
        return f"{mean:{'.2g' if abs(mean) < 5e-5 else '.4f'}} ± {half:.1g}"
    return f"{mean:.4f}".replace("-0.0000", "0.0000") + f" ± {half:.4f}"


# What the page is


def test_the_page_needs_nothing_outside_of_it(written):
    _, text = written
    _, pointers = read_page(text)
    assert pointers
    assert all(one.startswith(("data:image/png;base64,", "#")) for one in pointers)
    without_pictures = re.sub(r"base64,[^\"]*", "", text)
    assert "http" not in without_pictures
    assert "url(" not in without_pictures
    assert "<script" not in text


def test_every_section_has_question_verdict_figure_table_and_command(sections):
    assert list(sections) == ["regimes", *KEYS, "how"]
    for key in KEYS:
        section = sections[key]
        assert section.question.endswith("?")
        assert section.verdicts
        assert all(verdict.strip() for verdict in section.verdicts)
        assert len(section.pictures) == len(DRAWN[key])
        assert all(len(table) > 2 for table in section.tables)
        assert section.command.startswith("python -m probes.")


def test_the_links_lead_to_the_sections(written):
    _, pointers = read_page(written[1])
    assert [one for one in pointers if one.startswith("#")] == [
        f"#{key}" for key in ["words", "how", "regimes", *KEYS]
    ]


def test_the_pictures_are_the_figures_of_the_folders(written, sections):
    settings, _ = written
    for key, names in DRAWN.items():
        files = [(settings.out / key / f"{name}.png").read_bytes() for name in names]
        assert [base64.b64decode(picture) for picture in sections[key].pictures] == files


def test_a_finding_is_written_as_it_is():
    """Two columns, one of words; what looks like HTML is text."""
    table = pd.DataFrame({"verdict": ["holds", "<b>fails</b>"], "p": ["0.1", "0.3"]})
    tables = [TextTable(table, "A & B", "the caption"), TextTable(table)]
    finding = Finding("1 < 2?", "the setting", ["first", "second"], tables)
    text = render([Section("key", finding, ["AAAA", "BBBB"], "python -m probes.x --p 1 > 0")])
    shown = read_page(text)[0]["key"]
    assert shown.question == "1 < 2?"
    assert shown.notes == ["the setting", "the caption"]
    assert shown.verdicts == ["first", "second"]
    assert shown.pictures == ["AAAA", "BBBB"]
    assert shown.titles == ["A & B"]
    assert len(shown.tables) == 2
    assert all(one.equals(table) for one in shown.tables)
    assert shown.command == "python -m probes.x --p 1 > 0"
    words = re.findall(r'class="word">([^<]*)<', text.partition('id="how"')[0])
    assert words == ["verdict", "holds", "&lt;b&gt;fails&lt;/b&gt;"] * 2


# Its numbers


def test_the_ensembles_numbers_stand_at_their_rate_and_size(written, sections):
    rows = rows_of(written[0], "ensemble").set_index("draw")
    (table,) = sections["ensemble"].tables
    assert len(table) == rows.groupby(["p", "ensemble"]).ngroups == 3 * 8
    for (p, size), group in rows.groupby(["p", "ensemble"]):
        name = f"ensemble, N = {size}" if size else "expected weight"
        where = {"p": f"{p:g}", "inference": name}
        assert cell(table, "test loss", **where) == interval(group["test_loss"])
        assert cell(table, "test accuracy", **where) == f"{group['test_score'].mean():.3f}"
        members = f"{group['members'].mean():.4f}" if size else ""
        assert cell(table, "members", **where) == members
        expected = rows[(rows["p"] == p) & (rows["ensemble"] == 0)]["test_loss"]
        less = interval(group["test_loss"] - expected) if size else ""
        assert cell(table, "less expected weight", **where) == less


def test_the_stabilitys_numbers_stand_at_their_rate_and_inference(written, sections):
    rows = rows_of(written[0], "stability")
    table, *_ = sections["stability"].tables
    rows["change"] = (rows["loss_left_out"] - rows["loss_kept"]).abs()
    assert len(table) == rows.groupby(["p", "ensemble"]).ngroups == 5 * 4
    for (p, size), group in rows.groupby(["p", "ensemble"]):
        name = f"ensemble, N = {size}" if size else "expected weight"
        where = {"p": f"{p:g}", "inference": name}
        assert cell(table, "β", **where) == interval(group.groupby("draw")["change"].mean())
        draws = group.groupby("draw")[["train_loss", "test_loss"]].first()
        assert cell(table, "test loss", **where) == f"{draws['test_loss'].mean():.4f}"
        assert cell(table, "gap", **where) == interval(draws["test_loss"] - draws["train_loss"])


def test_the_matched_numbers_stand_at_their_rate_and_quantity(written, sections):
    rows = rows_of(written[0], "matched-ridge")
    dropout = rows[rows["variant"] == "dropout"].groupby("value")
    reached = 0
    for table, quantity in zip(sections["matched-ridge"].tables, ("beta", "gap"), strict=True):
        for row in table[table["draws"] == "2"].to_dict("records"):
            group = dropout.get_group(float(row["p"]))
            assert row["dropout"] == f"{group[quantity].mean():.4f}"
            assert row["train loss"] == f"{group['train_loss'].mean():.4f}"
            reached += 1
    assert reached > 16


def test_calibrations_numbers_at_the_end_stand_at_their_inference(written, sections):
    rows = rows_of(written[0], "calibration")
    (table,) = sections["calibration"].tables
    for (p, inference), group in rows[rows["step"] == SMALL["steps"]].groupby(["p", "inference"]):
        where = {"p": f"{p:g}", "inference": inference, "checkpoint": "end"}
        assert cell(table, "ECE", **where) == interval(group["ece"])
        assert cell(table, "mean confidence", **where) == f"{group['confidence'].mean():.3f}"
    assert len(table) == 2 * 3


def test_ablations_numbers_stand_at_their_part_and_variant(written, sections):
    rows = rows_of(written[0], "ablation").set_index("draw")
    table, differences, noise = sections["ablation"].tables
    groups = rows.groupby(["part", "variant"])
    references = {
        "dropout when": "never", "dropped where": "both", "inference": "expected weight",
        "mask kind": "Bernoulli, N = 1",
    }  # fmt: skip
    assert len(differences) == 5 * 3
    assert len(noise) == 3 * 3
    assert len(table) == groups.ngroups
    for (part, variant), group in groups:
        where = {"part": part, "variant": variant, "p": "0.3"}
        assert cell(table, "test loss", **where) == interval(group["test_loss"])
        reference = groups.get_group((part, references[part]))["test_loss"]
        is_reference = variant == references[part]
        expected = "reference" if is_reference else interval(group["test_loss"] - reference)
        assert cell(table, "difference", **where) == expected


# What is made again, and what is not


def test_a_second_run_measures_nothing_but_draws_anew(written, capfd, monkeypatch):
    """Also, what an earlier run may have left in a folder is not taken for a figure."""
    settings, text = written
    stale = settings.out / "ensemble" / "abandoned.png"
    stale.write_bytes(b"a figure of long ago")
    draw, before = figures.ensemble.draw, cell_files(settings.out)
    monkeypatch.setattr(
        "figures.ensemble.draw", lambda summary, *rest: draw(summary.tail(1), *rest)
    )
    again = read_page(write_report(settings).read_text(encoding="utf-8"))[0]
    stale.unlink()
    assert capfd.readouterr().err.splitlines() == [
        f"[{number}/{len(REGIMES) + len(KEYS)}] {key} ... kept from before"
        for number, key in enumerate([*REGIMES, *KEYS], start=1)
    ]
    assert len(before) > len(KEYS)
    assert cell_files(settings.out) == before
    first = read_page(text)[0]
    for key in KEYS:
        assert (again[key].pictures == first[key].pictures) == (key != "ensemble")
        assert again[key].verdicts == first[key].verdicts
        assert all(map(pd.DataFrame.equals, again[key].tables, first[key].tables))
    (picture,) = again["ensemble"].pictures
    assert base64.b64decode(picture) == (settings.out / "ensemble" / "ensemble.png").read_bytes()


def test_what_is_concluded_is_concluded_anew(written, monkeypatch):
    settings, _ = written
    finding = Finding("Which?", "here", ["Nothing."], [])
    monkeypatch.setitem(FINDINGS, "ensemble", lambda result: finding)
    before = cell_files(settings.out)
    page = write_report(replace(settings, sections=("ensemble",)))
    section = read_page(page.read_text(encoding="utf-8"))[0]["ensemble"]
    assert (section.question, section.verdicts) == ("Which?", ["Nothing."])
    assert cell_files(settings.out) == before


def test_a_damaged_cell_is_set_aside_and_measured_again(written, sections, capfd):
    settings, _ = written
    folder = settings.out / "ensemble" / "cells"
    whole = sorted(folder.glob("*.parquet"))
    damaged, *others = whole
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-9])
    untouched = [file.stat().st_mtime_ns for file in others]
    page = write_report(replace(settings, sections=("ensemble",)))
    assert f"{damaged} is damaged: set aside as {damaged.stem}.damaged" in capfd.readouterr().err
    assert damaged.with_suffix(".damaged").read_bytes() == content[:-9]
    assert sorted(folder.glob("*.parquet")) == whole
    assert [file.stat().st_mtime_ns for file in others] == untouched
    pd.testing.assert_frame_equal(
        pd.read_parquet(damaged), pd.read_parquet(io.BytesIO(content)), rtol=1e-9
    )
    (table,) = read_page(page.read_text(encoding="utf-8"))[0]["ensemble"].tables
    assert table.equals(sections["ensemble"].tables[0])


# Its commands


@pytest.mark.parametrize("plan", ReportSettings(draws=4).plans(), ids=lambda plan: plan.key)
def test_the_flags_of_every_section_give_its_settings(plan):
    words = words_of(plan.settings)
    kind = plan.probe.settings
    parsed = tyro.cli(kind, args=words, config=(tyro.conf.FlagCreatePairsOff,))
    assert parsed == plan.settings


def test_the_plans_are_those_of_all_sections():
    names = [plan.name for plan in ReportSettings().plans()]
    assert list(dict.fromkeys(names)) == ["regime", *SECTIONS] == list(FINDINGS)


def test_everything_that_trains_is_planned_in_two_regimes():
    plans = ReportSettings().plans()
    keys = [plan.key for plan in plans]
    assert len(set(keys)) == len(keys) == len({plan.settings.out for plan in plans})
    by_section = {}
    for plan in plans:
        if plan.joint:
            assert plan.regime.settings.lr == plan.settings.lr
            assert plan.regime.settings.task == plan.settings.task
            by_section.setdefault(plan.joint, []).append(plan.settings.lr)
    assert set(by_section) == {f"matched-{task}" for task in LEARNING_RATES} | set(CLAIMS) - {
        "matched"
    }
    for joint, rates in by_section.items():
        task = joint.partition("-")[2] or "digits"
        assert tuple(rates) == LEARNING_RATES[task]


def test_the_command_of_a_section_asks_its_probe_with_its_settings(written, sections):
    settings, _ = written
    plans = {plan.key: plan for plan in settings.plans()}
    assert list(plans) == [*REGIMES, *KEYS]
    for key in KEYS:
        plan = plans[key]
        python, option, module, *words = shlex.split(sections[key].command)
        assert (python, option, module) == ("python", "-m", f"probes.{plan.probe.name}")
        parsed = tyro.cli(plan.probe.settings, args=words, config=(tyro.conf.FlagCreatePairsOff,))
        assert parsed == plan.settings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sections", "weather"], ["sections must be one of stability", "weather"]),
        (["--draws", "1"], ["draws must be at least 2"]),
        (["--lr", "0"], ["lr must be", "0"]),
        (["--n", "9999"], ["n must be from 2 to"]),
        (["--task", "breast_cancer", "--n", "200"], ["section information: n must be", "400"]),
        (["--task", "ridge"], ["task must be one of digits, breast_cancer"]),
        (["--runs", "nowhere"], ["runs must be folders of finished runs", "nowhere"]),
    ],
)
def test_bad_values_are_refused(arguments, words, tmp_path):
    assert_refused("report", arguments, words, tmp_path)


def test_runs_of_another_question_are_refused_before_anything_is_measured(tmp_path):
    for name in ("rows", "diagram"):
        pd.DataFrame({"p": [0.3]}).to_parquet(tmp_path / f"{name}.parquet")
    quick = "--sections curves --task breast_cancer --n 8 --draws 2 --steps 3 --workers 1 --runs ."
    assert_refused("report", quick.split(), ["another question"], tmp_path)


def test_the_command_line_names_the_page(tmp_path):
    done = run_here(
        "report", "--sections", "curves", "--task", "breast_cancer", "--n", "8", "--draws", "2",
        "--steps", "3", "--workers", "1", "--out", "here", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith("here/index.html")
    assert (tmp_path / "here" / "index.html").exists()


def test_of_two_regimes_the_page_says_what_holds_in_both(tmp_path):
    settings = ReportSettings(
        out=tmp_path, sections=("ensemble",), **SMALL | {"lr": (3e-3, 3e-2), "steps": 20}
    )
    sections = read_page(write_report(settings).read_text(encoding="utf-8"))[0]
    assert list(sections) == ["regimes", "ensemble", "ensemble-0.003", "ensemble-0.03", "how"]
    alike, verdict = sections["ensemble"].verdicts
    assert re.fullmatch(
        r"The outcome is the same in both regimes in \d of 3 comparisons; .*", alike
    )
    assert verdict.startswith("test loss of 64 members against expected weight: ")
    for lr in ("0.003", "0.03"):
        question = sections[f"ensemble-{lr}"].question
        assert re.search(rf"\? learning rate {lr} \((does not overfit|overfits)\)$", question)
        (setting, *_) = sections[f"ensemble-{lr}"].notes
        assert f"learning rate {lr}: the network without dropout " in setting
    (table,) = sections["regimes"].tables
    assert table["learning rate"].tolist() == ["0.003", "0.03"]


def test_a_verdict_stands_beside_what_it_is_about():
    table = pd.DataFrame({"p": ["0.1"], "statement": ["A"], "bound": ["2"], "verdict": ["holds"]})
    finding = Finding("Question?", "the setting", ["answer", "more"], [TextTable(table)])
    text = render([Section("key", finding, [], "")])
    (shown,) = read_page(text)[0]["key"].tables
    assert list(shown.columns) == ["p", "statement", "verdict", "bound"]


def test_the_page_begins_with_every_answer_and_the_words():
    finding = Finding("Question?", "the setting", ["the answer", "more"], [])
    top = render([Section("key", finding, [], "")]).partition("<h2")[0]
    assert top.count("the answer") == 1
    assert "more</span>" not in top
    assert all(f"<dt>{word}</dt>" in top for word in GLOSSARY)


def test_where_there_are_regimes_the_answers_are_theirs():
    """How much they have in common is said further down."""
    both = Section("a", Finding("Question?", "", ["the same in 3 of 4"], []), [], "", together=True)
    one = Section(
        "a-1", Finding("Question?", "", ["so it is"], []), [], "", regime="learning rate 1"
    )
    top = render([both, one]).partition("<h2")[0]
    assert "the same in 3 of 4" not in top
    assert top.count("Question?") == top.count("learning rate 1") == top.count("so it is") == 1


def test_long_tables_are_folded():
    def shown(rows):
        table = pd.DataFrame({"p": ["0.1"] * rows})
        finding = Finding("Question?", "", ["answer"], [TextTable(table)])
        return render([Section("key", finding, [], "")])

    assert f"All {LONG_TABLE + 1} rows" in shown(LONG_TABLE + 1)
    assert f"All {LONG_TABLE} rows" not in shown(LONG_TABLE)

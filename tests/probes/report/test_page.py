"""The report: one page, self-contained, that says how to have its numbers again."""

import re
import shlex

import pandas as pd
import pytest
import tyro

from probes.report.page import SETTINGS, ReportSettings, report
from tests.probes.commands import assert_refused, run_probe

SMALL = {"n": 8, "draws": 2, "steps": 4, "workers": 1, "task": "breast_cancer"}
SECTIONS = ("stability", "matched", "ensemble", "calibration", "ablation")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    settings = ReportSettings(out=folder, sections=SECTIONS, matched_tasks=("ridge",), **SMALL)
    return settings, report(settings)


def test_the_page_needs_nothing_outside_of_it(written):
    _, page = written
    text = page.read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{1,30})', text)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert "<script" not in text


def test_every_section_has_verdict_figure_table_and_command(written):
    _, page = written
    sections = page.read_text(encoding="utf-8").split('<h2 id="')[1:-1]
    assert [section.split('"')[0] for section in sections] == [
        "stability", "matched-ridge", "ensemble", "calibration", "ablation",
    ]  # fmt: skip
    for section in sections:
        assert re.search(r'<div class="verdict"><p>\S', section)
        assert "data:image/png;base64," in section
        assert section.count("<tr>") > 2
        assert re.search(r"<pre>python -m probes\.\w+ .*--out", section)


def test_numbers_of_the_page_are_those_of_the_rows(written):
    settings, page = written
    rows = pd.read_parquet(settings.out / "ensemble" / "rows.parquet")
    best = rows.query("ensemble == 0").groupby("p")["test_loss"].mean()
    text = page.read_text(encoding="utf-8")
    for loss in best:
        assert f"{loss:.4f} ±" in text


def test_what_is_measured_is_not_measured_again(written, capfd):
    settings, page = written
    before = page.read_text(encoding="utf-8")
    report(settings)
    assert capfd.readouterr().err.count("kept from before") == len(SECTIONS)
    after = page.read_text(encoding="utf-8")
    stamp = r"Written [-0-9: ]+ UTC"
    assert re.sub(stamp, "", after) == re.sub(stamp, "", before)


def test_a_damaged_section_is_made_again(written, capfd):
    settings, _ = written
    (settings.out / "ensemble" / "section.json").write_text('{"key": ')
    report(settings)
    assert capfd.readouterr().err.count("kept from before") == len(SECTIONS) - 1


@pytest.mark.parametrize("plan", ReportSettings(draws=4).plans(), ids=lambda plan: plan.key)
def test_the_command_has_the_settings_of_its_section(plan):
    python, _, module, *arguments = shlex.split(plan.command)
    assert (python, module) == ("python", plan.module)
    kind = next(kind for probe, kind in SETTINGS.items() if probe.__name__ == module)
    parsed = tyro.cli(kind, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    assert parsed == plan.settings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sections", "weather"], ["sections must be one of stability", "weather"]),
        (["--draws", "1"], ["draws must be at least 2"]),
        (["--n", "9999"], ["n must be from 2 to"]),
        (["--task", "ridge"], ["task must be one of digits, breast_cancer"]),
    ],
)
def test_bad_values_are_refused(arguments, words, tmp_path):
    assert_refused("report", arguments, words, tmp_path)


def test_the_command_line_names_the_page(tmp_path):
    done = run_probe(
        "report", "--sections", "curves", "--task", "breast_cancer", "--n", "8", "--draws", "2",
        "--steps", "3", "--workers", "1", "--out", "here", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith("here/index.html")
    assert (tmp_path / "here" / "index.html").exists()

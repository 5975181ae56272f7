"""The page: every section measured or taken from before, drawn and written as one file of HTML."""

import base64
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from figures.line_breaks import unbroken
from probes import finetune
from probes.cli.probe import from_keywords
from probes.jobs.atomic_files import make_folder, write_whole
from probes.jobs.manifest import MANIFEST, environment
from probes.jobs.store import CELLS
from probes.report.claims import CLAIMS, Claims
from probes.report.findings import Finding, of_finetune, of_regimes
from probes.report.regimes import Regime, alike, compare
from probes.report.sections import Plan, ReportSettings, words_of
from probes.results.text_tables import TEXT_COLUMNS

TITLE = "Does LoRA Dropout’s theory explain what it does?"
#: What a reader must know before the first answer.
LEAD = (
    "LoRA Dropout (arXiv 2404.09610) drops columns of A and rows of B, at rate p, while the update "
    "of a frozen network is trained. Its paper argues that this lowers β, the mean change of an "
    "example’s loss when it is left out of training, and with β the gap between the loss on new "
    "examples and the loss on the training set; it bounds both. Here networks are trained again "
    "without each of their examples, so that β and the gap are measured and stand beside the "
    "bounds. A bound that is not below the largest possible loss says nothing."
)
#: What the page explains before it says anything.
GLOSSARY = {
    "S": "a training set of n examples; a draw is one such set, and intervals are over draws",
    "β": "mean change of an example's loss when it is left out of training (Definition 4.1)",
    "gap": "loss on new examples less loss on S",
    "p": "dropout rate of A's columns and B's rows: 2p − p² of the update is dropped",
    "N": "number of members that the test-time ensemble averages",
    "expected weight": "the network without masks, its update times (1 − p)²: one pass",
    "bound": "what a theorem says that β or the gap does not exceed",
    "vacuous": "of a bound: at least the largest possible loss, so that it says nothing",
    "assumption failed": "the theorem does not speak of this case; the verdict names the premise",
    "regime": "a learning rate at which the network without dropout overfits, or does not",
    "not told apart": "no difference was detected, which does not mean that there is none",
}
#: Tables of more rows are folded.
LONG_TABLE = 40


@dataclass(frozen=True)
class Section:
    """A question, measured: what the page shows of it.

    Attributes:
        key: name of the section.
        finding: what is said.
        pictures: PNG files, base64.
        command: the command line that measures it.
        regime: learning rate, in words, of one of several regimes.
        together: whether the section compares the regimes that follow it, which have the answers.
    """

    key: str
    finding: Finding
    pictures: list[str]
    command: str
    regime: str = ""
    together: bool = False


def write_report(settings: ReportSettings) -> Path:
    """Measure what is not measured yet and write the page.

    Finished cells are kept in the folders of their sections, so that what was killed goes on from
    there. What is said and drawn is made anew each time.

    Args:
        settings: of the report.

    Returns:
        The page.

    Raises:
        ValueError: a value is out of range, or the folder cannot be written.
    """
    plans = settings.plans()
    # First: what is wrong with them is said before hours of measuring.
    kept = [full_scale(run, number) for number, run in enumerate(settings.runs, start=1)]
    folder = make_folder(settings.out)
    measured = {
        plan.key: _said(plan, f"[{number}/{len(plans)}]") for number, plan in enumerate(plans, 1)
    }
    sections = [*_arranged(plans, measured), *kept]
    page = folder / "index.html"
    write_whole(page, lambda path: path.write_text(render(sections), encoding="utf-8"))
    return page


@dataclass(frozen=True)
class Measured:
    """A plan, measured: the section, the result, and whether all cells were kept from before."""

    section: Section
    result: Any
    kept: bool


def _said(plan: Plan, number: str) -> Measured:
    """Measure a section, and say on standard error how long that took."""
    start = time.perf_counter()
    print(f"{number} {plan.key} ...", end="", file=sys.stderr, flush=True)
    try:
        measured = _measured(plan)
    except BaseException:
        print(file=sys.stderr)
        raise
    took = "kept from before" if measured.kept else f"{time.perf_counter() - start:.0f} s"
    print(f" {took}", file=sys.stderr)
    return measured


def _measured(plan: Plan) -> Measured:
    """Measure a section as far as it is not kept."""
    folder = plan.settings.out
    before = _cell_files(folder)
    result = plan.probe.run_with(plan.settings)
    # Those of this run, and not what an earlier one may have left in the folder.
    written = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    shown = f"{plan.figure}.png" if plan.figure else ".png"
    pictures = [_encoded((folder / name).read_bytes()) for name in written if name.endswith(shown)]
    command = _command(plan.probe.name, plan.settings)
    section = Section(plan.key, plan.describe(result), pictures, command)
    return Measured(section, result, bool(before) and _cell_files(folder) == before)


def _arranged(plans: Sequence[Plan], measured: dict[str, Measured]) -> list[Section]:
    """The sections in order: what the regimes are, then every question, its regimes together."""
    regimes = {
        plan.key: Regime.of(measured[plan.key].result) for plan in plans if plan.name == "regime"
    }
    sections = []
    if regimes:
        commands = "\n".join(measured[key].section.command for key in regimes)
        sections.append(Section("regimes", of_regimes(list(regimes.values())), [], commands))
    results = {key: one.result for key, one in measured.items()}
    for joint, some in by_question(plans).items():
        if len(some) > 1:
            question = measured[some[0].key].section.finding.question
            claims = claims_of(some, results)
            sections.append(_joint(joint, question, [alike(claims), *compare(claims)]))
        for plan in some:
            section = measured[plan.key].section
            if plan.regime:
                setting = f"{section.finding.setting}; {regimes[plan.regime.key]}"
                section = replace(section, finding=replace(section.finding, setting=setting))
            if len(some) > 1:
                found = f" ({regimes[plan.regime.key].verdict})" if plan.regime else ""
                name = f"learning rate {plan.settings.lr:g}{found}"
                section = replace(section, regime=name)
            sections.append(section)
    return sections


def _joint(name: str, question: str, verdicts: list[str]) -> Section:
    """What the regimes of a question have in common, and what not."""
    setting = "All regimes together; differences are tested, all of a table at 5 % (Holm)"
    return Section(name, Finding(question, setting, verdicts, []), [], "", together=True)


def by_question(plans: Sequence[Plan]) -> dict[str, list[Plan]]:
    """Put the regimes of every question together.

    Args:
        plans: of :meth:`ReportSettings.plans`.

    Returns:
        The plans of every question, by the name of its section, in order.
    """
    questions: dict[str, list[Plan]] = {}
    for plan in plans:
        if plan.name != "regime":
            questions.setdefault(plan.joint or plan.key, []).append(plan)
    return questions


def claims_of(plans: Sequence[Plan], results: Mapping[str, Any]) -> dict[Regime, Claims]:
    """What a question's results say, by regime.

    Args:
        plans: the question in every regime.
        results: of these plans and of those of their regimes, by key.

    Returns:
        Claims by topic and item, of every regime in which the question was measured.
    """
    return {
        Regime.of(results[plan.regime.key]): CLAIMS[plan.name](results[plan.key])
        for plan in plans
        if plan.regime
    }


def full_scale(folder: Path, number: int) -> Section:
    """Make a section of the runs that ``probes.finetune`` kept in a folder.

    Args:
        folder: of the runs.
        number: of the section.

    Returns:
        The section, with the pictures drawn.

    Raises:
        ValueError: there are no finished runs, or the files are damaged.
    """
    result = finetune.read_result(folder)
    figures = [result.plot(), result.curves().plot()]
    if "ece" in result.rows and result.rows["method"].nunique() == 1:
        figures.append(result.calibration().plot())
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["settings"]
    known = {field.name for field in fields(finetune.FinetuneSettings)}
    settings = from_keywords(
        finetune.FinetuneSettings, {key: manifest[key] for key in known & manifest.keys()}
    )
    pictures = [_encoded(figure.png()) for figure in figures]
    command = _command("finetune", settings)
    return Section(f"finetune-{number}", of_finetune(result), pictures, command)


def render(sections: Sequence[Section]) -> str:
    """Return the page as HTML without anything outside of it.

    Args:
        sections: in order.
    """
    from jinja2 import Environment

    pages = Environment(autoescape=True, trim_blocks=True)
    pages.filters["unbroken"] = lambda cell: unbroken(str(cell))
    template = pages.from_string(
        files("probes.report").joinpath("report_page.html").read_text(encoding="utf-8")
    )
    return template.render(
        title=TITLE,
        lead=LEAD,
        subtitle=f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by python -m probes.report",
        sections=sections,
        glossary=GLOSSARY,
        words=TEXT_COLUMNS,
        long=LONG_TABLE,
        verdict_first=_verdict_first,
        environment=environment(),
    )


def _verdict_first(table: pd.DataFrame) -> pd.DataFrame:
    """Put the verdict behind the first column of words: it is then on the screen, if narrow."""
    names = [name for name in table.columns if name != "verdict"]
    place = 1 + next((number for number, name in enumerate(names) if name in TEXT_COLUMNS), 0)
    if "verdict" not in list(table.columns)[place + 1 :]:
        return table
    return table[[*names[:place], "verdict", *names[place:]]]


def _cell_files(folder: Path) -> set[tuple[str, int]]:
    """Name and time of every kept cell: one that was damaged is written again under its name."""
    return {(path.name, path.stat().st_mtime_ns) for path in (folder / CELLS).glob("*.parquet")}


def _command(name: str, settings: Any) -> str:
    return shlex.join(["python", "-m", f"probes.{name}", *words_of(settings)])


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()

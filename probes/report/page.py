"""The whole study on one page: tables, figures, verdicts, and how to have each number again.

python -m probes.report --out report/
python -m probes.report --out report/ --sections matched calibration --draws 16
"""

import base64
import hashlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from jinja2 import Environment

from probes import (
    ablation,
    calibration,
    comparison,
    cost,
    curves,
    ensemble,
    finetune,
    generalization,
    sensitivity,
    stability,
    verify,
)
from probes.cli.stability_settings import StabilitySettings, from_keywords
from probes.jobs.atomic_files import make_folder, write_whole
from probes.jobs.engine_options import EngineOptions
from probes.jobs.fingerprint import code_fingerprint
from probes.jobs.manifest import environment
from probes.jobs.sweep import InterruptedSweepError
from probes.jobs.validation import check_one_of, require
from probes.report import findings
from probes.report.findings import Finding, Table
from probes.results.text_tables import TEXT_COLUMNS

DEFAULT_OUT = Path("report")
#: Tasks on which dropout is compared with its controls.
MATCHED_TASKS = ("digits", "breast_cancer", "ridge")


@dataclass(frozen=True)
class Section:
    """A question, measured: what the page shows of it."""

    key: str
    finding: Finding
    pictures: list[str]
    command: str


@dataclass(frozen=True)
class Plan:
    """A section before it is measured.

    Attributes:
        key: name of the section and of its folder.
        module: of the probe.
        settings: of the probe, with its folder.
        measure: runs the probe.
        describe: what the page says of the result.
    """

    key: str
    module: str
    settings: Any
    measure: Callable[[Any], Any]
    describe: Callable[[Any], Finding]

    @property
    def command(self) -> str:
        """The command line that measures it."""
        return command_line(self.module, self.settings)


SECTIONS = (
    "stability", "matched", "generalization", "ensemble", "curves", "calibration", "ablation",
    "sensitivity", "cost", "verify", "comparison",
)  # fmt: skip


#: The settings of every probe.
SETTINGS: dict[ModuleType, type] = {
    stability: stability.StabilitySettings,
    generalization: generalization.GeneralizationSettings,
    ensemble: ensemble.EnsembleSettings,
    curves: curves.CurvesSettings,
    calibration: calibration.CalibrationSettings,
    ablation: ablation.AblationSettings,
    sensitivity: sensitivity.SensitivitySettings,
    cost: cost.CostSettings,
    verify: verify.VerifySettings,
    comparison: comparison.ComparisonSettings,
}


@dataclass(frozen=True)
class ReportSettings(EngineOptions):
    """Run or reuse the study and write it as one page of HTML."""

    out: Path = DEFAULT_OUT
    """Folder of the page (index.html) and of everything that it was made of."""

    sections: tuple[str, ...] = SECTIONS
    """What to measure: stability, matched, generalization, ensemble, curves, calibration, ablation,
    sensitivity, cost, verify, comparison. Default: all."""

    task: str = "digits"
    """Task of all sections but matched, verify and comparison: digits or breast_cancer."""

    matched_tasks: tuple[str, ...] = MATCHED_TASKS
    """Tasks on which dropout is compared with its controls."""

    n: int = 64
    """Number of training examples."""

    draws: int = 8
    """Number of independent training sets S; sensitivity takes half of them."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    seed: int = 0
    """Seed of everything random."""

    workers: int = 2
    """Processes of one thread each that run the cells."""

    runs: tuple[Path, ...] = ()
    """Folders of probes.finetune, whose full-scale runs are shown as well."""

    def plans(self) -> list[Plan]:
        """Check every value and return the sections in order.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(len(self.sections) > 0, "sections", "at least one", "none")
        for name in self.sections:
            check_one_of("sections", name, SECTIONS)
        check_one_of("task", self.task, ("digits", "breast_cancer"))
        for task in self.matched_tasks:
            check_one_of("matched_tasks", task, MATCHED_TASKS)
        require(self.draws >= 2, "draws", "at least 2", self.draws)
        for folder in self.runs:
            there = (folder / "rows.parquet").is_file()
            require(there, "runs", "folders of finished runs of probes.finetune", folder)
        StabilitySettings(
            task=self.task, n=self.n, steps=self.steps, seed=self.seed, **self.engine_settings
        ).cells()
        return [plan for plan in self._plans() if plan.key.split("-")[0] in self.sections]

    def _plans(self) -> Iterator[Plan]:
        known: dict[str, Any] = {
            "n": self.n, "draws": self.draws, "steps": self.steps, "seed": self.seed,
            **self.engine_settings,
        }  # fmt: skip
        here = known | {"task": self.task}
        rates = (0.0, 0.1, 0.3, 0.5, 0.7)
        yield self._plan("stability", stability, here | {"p": rates, "ensemble": (1, 4, 16)})
        for task in dict.fromkeys(self.matched_tasks):
            controls = known | {"matched": True, "task": task, "n": (self.n,)}
            yield self._plan(f"matched-{task}", generalization, controls)
        sizes = tuple(sorted({max(4, self.n // 2), self.n, 2 * self.n}))
        yield self._plan("generalization", generalization, here | {"p": rates[:-1], "n": sizes})
        for module in (ensemble, curves, calibration, ablation):
            yield self._plan(module.__name__.rpartition(".")[2], module, here)
        yield self._plan("sensitivity", sensitivity, here | {"draws": max(2, self.draws // 2)})
        for module in (cost, verify, comparison):
            yield self._plan(module.__name__.rpartition(".")[2], module, {"seed": self.seed})

    def _plan(self, key: str, module: ModuleType, settings: dict[str, Any]) -> Plan:
        kind = SETTINGS[module]
        return Plan(
            key, module.__name__, kind(**settings, out=self.out / key), module.run_probe,
            getattr(findings, f"of_{key.partition('-')[0]}"),
        )  # fmt: skip


@dataclass(frozen=True)
class CommandLine(ReportSettings):
    """Run or reuse the study and write it as one page of HTML."""


def report(settings: ReportSettings) -> Path:
    """Measure what is not measured yet and write the page.

    Finished sections are kept in their folders, and unfinished ones cell by cell where their probe
    keeps cells: what was killed goes on from there.

    Returns:
        The page.

    Raises:
        ValueError: a value is out of range, or the folder cannot be written.
    """
    plans = settings.plans()
    folder = make_folder(settings.out)
    sections = []
    for number, plan in enumerate(plans, start=1):
        start = time.perf_counter()
        print(f"[{number}/{len(plans)}] {plan.key} ...", end="", file=sys.stderr, flush=True)
        try:
            section, reused = _section(plan)
        except BaseException:
            print(file=sys.stderr)
            raise
        took = "kept from before" if reused else f"{time.perf_counter() - start:.0f} s"
        print(f" {took}", file=sys.stderr)
        sections.append(section)
    sections += [full_scale(run, number) for number, run in enumerate(settings.runs, start=1)]
    page = folder / "index.html"
    write_whole(page, lambda path: path.write_text(render(sections), encoding="utf-8"))
    return page


def full_scale(folder: Path, number: int) -> Section:
    """Make a section of the runs that ``probes.finetune`` kept in a folder."""
    result = finetune.read_result(folder)
    figures = [result.plot(), result.curves().plot()]
    if "ece" in result.rows and result.rows["method"].nunique() == 1:
        figures.append(result.calibration().plot())
    pictures = [base64.b64encode(figure._repr_png_()).decode() for figure in figures]  # type: ignore[attr-defined]
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["settings"]
    known = {field.name for field in fields(finetune.FinetuneSettings)}
    settings = from_keywords(
        finetune.FinetuneSettings, {key: manifest[key] for key in known & manifest.keys()}
    )
    command = command_line(finetune.__name__, settings)
    return Section(f"finetune-{number}", findings.of_finetune(result), pictures, command)


def render(sections: Sequence[Section]) -> str:
    """Return the page as HTML without anything outside of it."""
    template = Environment(autoescape=True, trim_blocks=True).from_string(
        files("probes.report").joinpath("report_page.html").read_text(encoding="utf-8")
    )
    return template.render(
        title="LoRA Dropout: stability, generalization, calibration, cost",
        subtitle=f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by python -m probes.report",
        sections=sections,
        words=TEXT_COLUMNS,
        environment=environment(),
    )


def command_line(module: str, settings: Any) -> str:
    """Return the command that has these settings, without those that are defaults."""
    words = ["python", "-m", module]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value in (field.default, None, {}):
            continue
        if isinstance(value, dict):
            words += [word for name, one in value.items() for word in (f"--{name}", str(one))]
            continue
        words.append("--" + field.name.replace("_", "-"))
        if value is not True:
            several = value if isinstance(value, tuple) else (value,)
            words += [f"{one:g}" if isinstance(one, float) else str(one) for one in several]
    return shlex.join(words)


def _section(plan: Plan) -> tuple[Section, bool]:
    """Measure a section, or read what is kept of it; also return which."""
    place = plan.settings.out / "section.json"
    content = json.dumps([plan.key, asdict(plan.settings)], sort_keys=True, default=str)
    key = hashlib.sha256(f"{content} {code_fingerprint()}".encode()).hexdigest()
    kept = _read_section(place, key)
    if kept:
        return kept, True
    finding = plan.describe(plan.measure(plan.settings))
    pictures = [
        base64.b64encode(picture.read_bytes()).decode()
        for picture in sorted(plan.settings.out.glob("*.png"), reverse=True)
    ]
    section = Section(plan.key, finding, pictures, plan.command)
    text = json.dumps({"key": key, "section": asdict(section)}, ensure_ascii=False)
    write_whole(place, lambda path: path.write_text(text, encoding="utf-8"))
    return section, False


def _read_section(place: Path, key: str) -> Section | None:
    try:
        held = json.loads(place.read_text(encoding="utf-8"))
        if held["key"] != key:
            return None
        content = held["section"]
        finding = content.pop("finding")
        tables = [Table(**table) for table in finding.pop("tables")]
        return Section(finding=Finding(tables=tables, **finding), **content)
    except (OSError, ValueError, KeyError, TypeError):
        # Not there, or not readable: it is measured again and written anew.
        return None


def main(settings: CommandLine) -> None:
    """Write the report from the command line."""
    start = time.perf_counter()
    try:
        page = report(settings)
    except (KeyboardInterrupt, InterruptedSweepError):
        raise KeyboardInterrupt from None
    print(f"{page} ({time.perf_counter() - start:.0f} s)")

"""What the report measures: its settings, and a plan for every section."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from probes import (
    ablation,
    calibration,
    comparison,
    cost,
    curves,
    ensemble,
    generalization,
    sensitivity,
    stability,
    verify,
)
from probes.cli.probe import Probe
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.engine_options import EngineOptions
from probes.jobs.validation import check_one_of, require
from probes.report import findings
from probes.report.findings import Finding

DEFAULT_OUT = Path("report")
#: Tasks on which dropout is compared with its controls.
MATCHED_TASKS = ("digits", "breast_cancer", "ridge")
#: What the page says of the result of each section, by the section's name.
FINDINGS: dict[str, Callable[[Any], Finding]] = {
    "stability": findings.of_stability,
    "matched": findings.of_matched,
    "generalization": findings.of_generalization,
    "ensemble": findings.of_ensemble,
    "curves": findings.of_curves,
    "calibration": findings.of_calibration,
    "ablation": findings.of_ablation,
    "sensitivity": findings.of_sensitivity,
    "cost": findings.of_cost,
    "verify": findings.of_verify,
    "comparison": findings.of_comparison,
}
SECTIONS = tuple(FINDINGS)


@dataclass(frozen=True)
class Plan:
    """A section before it is measured.

    Attributes:
        key: name of the section and of its folder.
        probe: the question.
        settings: of the probe, with its folder.
    """

    key: str
    probe: Probe[Any, Any]
    settings: Any

    @property
    def describe(self) -> Callable[[Any], Finding]:
        """Says what the page says of the result."""
        return FINDINGS[self.key.partition("-")[0]]


@dataclass(frozen=True)
class ReportSettings(EngineOptions):
    """Run or reuse the study and write it as one page of HTML."""

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = DEFAULT_OUT
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
        return [plan for plan in self._plans() if plan.key.partition("-")[0] in self.sections]

    def _plans(self) -> Iterator[Plan]:
        known: dict[str, Any] = {
            "n": self.n, "draws": self.draws, "steps": self.steps, "seed": self.seed,
            **self.engine_settings,
        }  # fmt: skip
        here = known | {"task": self.task}
        rates = (0.0, 0.1, 0.3, 0.5, 0.7)
        yield self._plan("stability", stability.PROBE, here | {"p": rates, "ensemble": (1, 4, 16)})
        for task in dict.fromkeys(self.matched_tasks):
            controls = known | {"matched": True, "task": task, "n": (self.n,)}
            yield self._plan(f"matched-{task}", generalization.PROBE, controls)
        sizes = tuple(sorted({max(4, self.n // 2), self.n, 2 * self.n}))
        over_n = here | {"p": rates[:-1], "n": sizes}
        yield self._plan("generalization", generalization.PROBE, over_n)
        for module in (ensemble, curves, calibration, ablation):
            yield self._plan(module.PROBE.name, module.PROBE, here)
        half = here | {"draws": max(2, self.draws // 2)}
        yield self._plan("sensitivity", sensitivity.PROBE, half)
        yield self._plan("cost", cost.PROBE, {"seed": self.seed, "reuse": True})
        for module in (verify, comparison):
            yield self._plan(module.PROBE.name, module.PROBE, {"seed": self.seed})

    def _plan(self, key: str, probe: Probe[Any, Any], settings: dict[str, Any]) -> Plan:
        return Plan(key, probe, probe.settings(**settings, out=self.out / key))


def words_of(settings: Any) -> list[str]:
    """Return the flags that give these settings, without those that are defaults.

    Args:
        settings: of a question.
    """
    words: list[str] = []
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
            words += [_in_words(one) for one in several]
    return words


def _in_words(value: Any) -> str:
    """Write a value so that it is read again as it is."""
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)

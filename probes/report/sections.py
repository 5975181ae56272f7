"""What the report measures: its settings, and a plan for every section."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from probes import (
    ablation,
    calibration,
    comparison,
    cost,
    coverage,
    curves,
    ensemble,
    generalization,
    information,
    rivals,
    sensitivity,
    stability,
    verify,
)
from probes.cli.probe import Probe
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.engine_options import EngineOptions
from probes.jobs.validation import check_count, check_one_of, require
from probes.report import findings
from probes.report.findings import Finding
from probes.report.regimes import LEARNING_RATES

DEFAULT_OUT = Path("report")
#: Tasks on which dropout is compared with its controls.
MATCHED_TASKS = tuple(LEARNING_RATES)
#: What the page says of the result of each section, by the section's name.
FINDINGS: dict[str, Callable[[Any], Finding]] = {
    "regime": findings.of_curves,
    "stability": findings.of_stability,
    "matched": findings.of_matched,
    "generalization": findings.of_generalization,
    "information": findings.of_information,
    "matched_information": findings.of_matched_information,
    "network_comparison": findings.of_network_comparison,
    "ensemble": findings.of_ensemble,
    "rivals": findings.of_rivals,
    "curves": findings.of_curves,
    "calibration": findings.of_calibration,
    "coverage": findings.of_coverage,
    "ablation": findings.of_ablation,
    "sensitivity": findings.of_sensitivity,
    "cost": findings.of_cost,
    "methods": findings.of_methods,
    "verify": findings.of_verify,
    "comparison": findings.of_comparison,
}
SECTIONS = tuple(name for name in FINDINGS if name != "regime")
#: Selections of a supersample: half of what the question takes by itself.
SELECTIONS = 64
#: Rates, members and networks on halves with which the mask ensemble is compared with its rivals.
RIVALS: dict[str, Any] = {"p": (0.0, 0.3), "sizes": (8,), "rivals": 8, "bags": 400}

#: Methods that are tuned beside LoRA, and trainings that a method gets: a part of the question's.
METHODS: dict[str, Any] = {
    "method": ("LoRA Dropout", "PEFT lora_dropout", "weight decay", "label smoothing"),
    "trainings": 8,
}


@dataclass(frozen=True)
class Plan:
    """A section before it is measured.

    Attributes:
        key: name of the section and of its folder.
        probe: the question.
        settings: of the probe, with its folder.
        joint: name of the section that says what the regimes have in common; "" where the question
            has no learning rate.
        regime: the plan that says what the network without dropout does in this regime.
        figure: name of the one figure that is shown; all of the question's where it is "".
    """

    key: str
    probe: Probe[Any, Any]
    settings: Any
    joint: str = ""
    regime: "Plan | None" = None
    figure: str = ""

    @property
    def name(self) -> str:
        """The section's name in ``SECTIONS``."""
        return self.key.partition("-")[0]

    @property
    def describe(self) -> Callable[[Any], Finding]:
        """Says what the page says of the result."""
        return FINDINGS[self.name]


@dataclass(frozen=True)
class ReportSettings(EngineOptions):
    """Run or reuse the study and write it as one page of HTML."""

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = DEFAULT_OUT
    """Folder for the page (index.html) and for the tables and figures behind it."""

    sections: tuple[str, ...] = SECTIONS
    """What to measure: stability, matched, generalization, information, matched_information,
    network_comparison, ensemble, rivals, curves, calibration, coverage, ablation, sensitivity,
    cost, methods, verify, comparison. Default: all."""

    task: str = "digits"
    """Task of all sections except matched, verify and comparison: digits or breast_cancer."""

    matched_tasks: tuple[str, ...] = MATCHED_TASKS
    """Tasks on which dropout is compared with its controls."""

    n: int = 64
    """Number of training examples."""

    draws: int = 8
    """Number of independent training sets S; information, matched_information,
    network_comparison, rivals, sensitivity and methods take half of them."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    lr: tuple[float, ...] | None = None
    """Learning rates: every section that trains is measured at each of them. Default: two for each
    task; at one of them the network without dropout overfits."""

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
        check_count("draws", self.draws, least=2)
        for folder in self.runs:
            there = (folder / "rows.parquet").is_file()
            require(there, "runs", "folders of finished runs of probes.finetune", folder)
        require(self.lr != (), "lr", "at least one value", "none")
        for lr in self._rates(self.task):
            StabilitySettings(
                task=self.task, n=self.n, steps=self.steps, lr=lr, seed=self.seed,
                **self.engine_settings,
            ).cells()  # fmt: skip
        plans = [plan for plan in self._plans() if plan.name in self.sections]
        for plan in plans:
            _check(plan)
        regimes = {plan.regime.key: plan.regime for plan in plans if plan.regime}
        return [*regimes.values(), *plans]

    @property
    def _known(self) -> dict[str, Any]:
        return {
            "n": self.n, "draws": self.draws, "steps": self.steps, "seed": self.seed,
            **self.engine_settings,
        }  # fmt: skip

    def _rates(self, task: str) -> tuple[float, ...]:
        return LEARNING_RATES[task] if self.lr is None else tuple(dict.fromkeys(self.lr))

    def _plans(self) -> Iterator[Plan]:
        here = self._known | {"task": self.task}
        rates = (0.0, 0.1, 0.3, 0.5, 0.7)
        point = here | {"p": rates, "ensemble": (1, 4, 16)}
        yield from self._regimes("stability", stability.PROBE, point)
        for task in dict.fromkeys(self.matched_tasks):
            controls = self._known | {"matched": True, "task": task, "n": (self.n,)}
            yield from self._regimes(f"matched-{task}", generalization.PROBE, controls)
        sizes = tuple(sorted({max(4, self.n // 2), self.n, 2 * self.n}))
        over_n = here | {"p": rates[:-1], "n": sizes}
        yield from self._regimes("generalization", generalization.PROBE, over_n)
        half = here | {"draws": max(2, self.draws // 2)}
        few = half | {"selections": SELECTIONS}
        yield from self._regimes("information", information.PROBE, few | {"n": sizes})
        matched = few | {"matched": True, "n": (self.n,), "p": (0.1, 0.3)}
        yield from self._regimes("matched_information", information.PROBE, matched)
        networks = few | {"model": "network", "n": sizes}
        yield from self._regimes("network_comparison", comparison.PROBE, networks)
        yield from self._regimes("ensemble", ensemble.PROBE, here)
        for plan in self._regimes("rivals", ensemble.PROBE, half | RIVALS):
            yield replace(plan, figure="rivals")
        for module in (curves, calibration, coverage, ablation):
            yield from self._regimes(module.PROBE.name, module.PROBE, here)
        yield from self._regimes("sensitivity", sensitivity.PROBE, half)
        yield self._plan("cost", cost.PROBE, {"seed": self.seed, "reuse": True})
        yield self._plan("methods", rivals.PROBE, self._methods())
        for module in (verify, comparison):
            yield self._plan(module.PROBE.name, module.PROBE, {"seed": self.seed})

    def _methods(self) -> dict[str, Any]:
        """Settings of the comparison after tuning; it chooses its own learning rates."""
        known = {name: value for name, value in self._known.items() if name != "n"}
        draws = max(2, self.draws // 2)
        return known | METHODS | {
            "task": self.task, "n": (self.n,), "draws": draws, "tuning_draws": draws,
        }  # fmt: skip

    def _regimes(
        self, name: str, probe: Probe[Any, Any], settings: dict[str, Any]
    ) -> Iterator[Plan]:
        """One plan a learning rate."""
        task, rates = settings["task"], self._rates(settings["task"])
        for lr in rates:
            plain = {"task": task, "lr": lr, "p": (0.0,), "methods": ("LoRA",)}
            regime = self._plan(f"regime-{task}-{lr:g}", curves.PROBE, self._known | plain)
            key = f"{name}-{lr:g}" if len(rates) > 1 else name
            plan = self._plan(key, probe, settings | {"lr": lr})
            yield replace(plan, joint=name, regime=regime)

    def _plan(self, key: str, probe: Probe[Any, Any], settings: dict[str, Any]) -> Plan:
        return Plan(key, probe, probe.settings(**settings, out=self.out / key))


def _check(plan: Plan) -> None:
    """Refuse at once what a section would refuse after hours."""
    try:
        plan.probe.cells(plan.settings)
    except ValueError as error:
        raise ValueError(f"section {plan.name}: {error}") from None


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

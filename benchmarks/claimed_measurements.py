"""What the claims are measured with: plans of the report, and a few of their own."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from probes import attribution, comparison, coverage, information, stability
from probes.ablation import PARTS
from probes.cli.probe import from_keywords
from probes.jobs.engine_options import EngineOptions
from probes.jobs.engines import run_jobs
from probes.jobs.fingerprint import code_fingerprint
from probes.jobs.job import Progress, Tables, silent
from probes.jobs.store import Store
from probes.jobs.sweep import Sweep
from probes.report.regimes import LEARNING_RATES
from probes.report.sections import Plan, ReportSettings

#: What is measured as the report measures it.
SECTIONS = (
    "stability", "matched", "ensemble", "curves", "calibration", "ablation", "sensitivity",
    "verify",
)  # fmt: skip
#: Numbers of mask pairs a step that the conclusions compare; the report measures more.
MASK_PAIRS = (1, 8)
#: Parts of the ablation that are claimed: masks of other kinds take two thirds of its time.
CLAIMED_PARTS = tuple(part for part in PARTS if part != "mask kind")
#: What takes longest begins first, so that no process waits for another at the end.
LONGEST = ("matched-digits", "verify", "ablation", "sensitivity", "influence-digits")
#: Tasks whose estimates of leaving an example out are checked, and rates at which they are.
ESTIMATED_TASKS, ESTIMATED_RATES = ("digits", "breast_cancer"), (0.0, 0.1, 0.3, 0.5)
ATTRIBUTED_RATES = (0.1, 0.3)
#: Rates at which the gap is bounded by information, by task.
INFORMED_RATES = {"digits": (0.0, 0.3), "breast_cancer": (0.0, 0.5)}
#: Strengths of the penalty at whose minimisers single estimates are checked.
PENALTIES = (0.1, 1.0)


def plans_of(settings: ReportSettings) -> dict[str, Plan]:
    """Return what is measured, by key.

    Args:
        settings: of the report; estimates and attributions take half of its draws of S.

    Returns:
        The plans, each to be run in one process.

    Raises:
        ValueError: a value is out of range.
    """
    found = {plan.key: _in_one_process(plan) for plan in settings.plans()}
    more = (*_estimates(settings, found), *_bounds(settings), *_sets(settings))
    return found | {plan.key: plan for plan in more}


def _in_one_process(plan: Plan) -> Plan:
    changes: dict[str, Any] = {}
    if hasattr(plan.settings, "workers"):
        changes["workers"] = 1
    if plan.name == "sensitivity":
        changes["samples"] = MASK_PAIRS
    if plan.name == "ablation":
        changes["part"] = CLAIMED_PARTS
    return replace(plan, settings=replace(plan.settings, **changes))


def _estimates(settings: ReportSettings, known: Mapping[str, Plan]) -> Iterator[Plan]:
    """Estimated effects of leaving an example out, attributions, and estimates at minimisers."""
    here = {"n": settings.n, "draws": max(2, settings.draws // 2), "seed": settings.seed}
    checked = {"method": "influence", "validate": settings.n}
    for task in ESTIMATED_TASKS:
        for lr in LEARNING_RATES[task]:
            regime = known[f"regime-{task}-{lr:g}"]
            where = here | {"task": task, "lr": lr, "steps": settings.steps}
            yield _plan(
                settings, f"influence-{task}-{lr:g}", stability,
                where | checked | {"p": ESTIMATED_RATES}, joint="influence", regime=regime,
            )  # fmt: skip
            for p in ATTRIBUTED_RATES:
                yield _plan(
                    settings, f"attribution-{task}-{lr:g}-{p:g}", attribution, where | {"p": p}
                )
    for strength in PENALTIES:
        # Long enough to end at a minimiser.
        trained = {"task": "breast_cancer", "steps": settings.steps or 3000, "lr": 1e-2, "p": 0.1}
        penalty = {"objective": "penalty", "strength": strength}
        yield _plan(
            settings, f"minimiser-{strength:g}", stability, here | checked | trained | penalty
        )


def _bounds(settings: ReportSettings) -> Iterator[Plan]:
    """Bounds from supersamples, in both regimes, and those of minimisers and SGD side by side."""
    yield _plan(settings, "comparison", comparison, {"seed": settings.seed})
    draws = max(2, settings.draws // 3)
    here = {"n": settings.n, "draws": draws, "seed": settings.seed, "steps": settings.steps}
    for task, rates in INFORMED_RATES.items():
        for lr in LEARNING_RATES[task]:
            yield _plan(
                settings, f"bounds-{task}-{lr:g}", information,
                here | {"task": task, "lr": lr, "p": rates},
            )  # fmt: skip


def _sets(settings: ReportSettings) -> Iterator[Plan]:
    """Prediction sets, of every task in both regimes."""
    here = {"n": settings.n, "draws": settings.draws, "seed": settings.seed}
    for task, rates in LEARNING_RATES.items():
        for lr in rates:
            where = here | {"task": task, "lr": lr, "steps": settings.steps}
            yield _plan(settings, f"coverage-{task}-{lr:g}", coverage, where)


def _plan(
    settings: ReportSettings, key: str, module: Any, keywords: Mapping[str, Any], **more: Any
) -> Plan:
    made = from_keywords(module.PROBE.settings, dict(keywords) | {"out": settings.out / key})
    return Plan(key, module.PROBE, made, **more)


@dataclass(frozen=True)
class PlanJob:
    """A plan, to be run in any process.

    Attributes:
        settings: as for :func:`plans_of`.
        key: of the plan.
    """

    settings: ReportSettings
    key: str

    @property
    def replica_steps(self) -> int:
        """Size of the work: a plan."""
        return 1

    @property
    def libraries(self) -> tuple[str, ...]:
        """Its cells say what they depend on."""
        return ()

    @property
    def plan(self) -> Plan:
        """The plan."""
        return plans_of(self.settings)[self.key]


def run_plan(job: PlanJob, progress: Progress) -> Tables:
    """Measure a plan, but for the cells that are kept, without drawing anything.

    Args:
        job: which one.
        progress: not told anything.

    Returns:
        The tables of all its cells.
    """
    probe, settings = job.plan.probe, job.plan.settings
    cells, run = probe.cells(settings), probe.run(settings)
    store = Store(settings.out, code_fingerprint(run))
    swept = Sweep(run, store, kinds=probe.kinds(settings), doing=probe.doing)
    return probe.gather(settings, cells, swept)


def measured(settings: ReportSettings, keys: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure all plans, as many at a time as there are workers, and say which are done.

    Args:
        settings: as for :func:`plans_of`; finished cells are kept in its folder.
        keys: of plans; all if left out.

    Returns:
        The results, by key.

    Raises:
        ValueError: a value is out of range, or the folder cannot be written.
    """
    plans = plans_of(settings)
    jobs = [PlanJob(settings, key) for key in sorted(keys or plans, key=_place)]
    found: dict[str, Any] = {}
    for job, tables in run_jobs(EngineOptions(settings.workers), jobs, run_plan, silent):
        plan = plans[job.key]
        found[job.key] = plan.probe.result(plan.settings, tables)
        # What it says is worked out while others are still measured.
        _ = found[job.key].summary
        print(f"[{len(found)}/{len(jobs)}] {job.key}", file=sys.stderr)
    return found


def _place(key: str) -> int:
    """Place of a plan in the order in which they begin."""
    starts = [place for place, name in enumerate(LONGEST) if key.startswith(name)]
    return starts[0] if starts else len(LONGEST)

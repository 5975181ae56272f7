"""Do the statements hold where their assumptions do? Exact minimisers, enumeration, known failures.

python -m probes.verify
python -m probes.verify --statement 4.2 --task breast_cancer --strength 0.01 0.1 --n 50 200 400
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import tyro

from probes.cli.command_line import run
from probes.cli.stability_settings import from_keywords
from probes.jobs.atomic_files import make_folder, write_figure, write_whole
from probes.jobs.manifest import write_manifest
from probes.jobs.sweep import progress_bar
from probes.jobs.validation import check_count, check_one_of, require
from probes.results.text_tables import print_table
from probes.statements import counterexample_cases as counterexamples
from probes.statements import dropout_loss_cases as dropout_loss
from probes.statements import ensemble_cases as ensembles
from probes.statements import risk_cases as risk
from probes.statements import stability_cases as stability
from probes.statements.case import VIOLATED, Case, case_table, summarize
from probes.statements.exact_minimisers import TASKS
from probes.statements.setting import Grid, Setting
from theory.readings import CORRECTED, PRINTED, READINGS, Reading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where the command line puts its files unless ``--out`` says otherwise.
DEFAULT_OUT = Path("runs/verify")
#: Rates at which masked training is compared with the optimum: it takes seconds for each.
TRAINED_RATES = 2
#: Readings of Proposition 4.2 that the printed table shows; the files hold all 36.
SHOWN = [
    str(reading)
    for reading in (
        PRINTED,
        CORRECTED,
        Reading(curvature="penalty", region="ball"),
        Reading(loss="regularized", curvature="segment"),
        Reading(form="sum", curvature="segment"),
    )
]


@dataclass(frozen=True)
class VerifySettings:
    """Try every statement where its assumptions hold, and say where they fail."""

    statement: tuple[str, ...] = ()
    """sparsity, 4.1, 4.2, 4.3, 4.4, 4.5, gap, loss, 1/N, counterexamples. Default: all."""

    task: tuple[str, ...] = TASKS
    """Data sets of the exact minimisers: ridge, breast_cancer, wine."""

    strength: tuple[float, ...] = (0.01, 0.1)
    """Values of lambda, positive."""

    p: tuple[float, ...] = (0.05, 0.1, 0.3, 0.5, 0.9)
    """Dropout rates in (0, 1)."""

    n: tuple[int, ...] = (50, 200)
    """Sizes of S, at least 2, drawn with replacement from the data set."""

    draws: int = 1
    """Draws of S for the statements that hold for every S."""

    coverage_draws: int = 20
    """Draws of S for the statements about the draw of S, 4.3 and 4.4."""

    delta: float = 0.05
    """Failure probability of the risk bounds, in (0, 1]."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the cases, the table, the manifest and the figure. Default: runs/verify from the
    command line, none from Python."""

    def grid(self) -> Grid:
        """Check every value and return the grid.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        for name in self.statement:
            check_one_of("statement", name, tuple(STATEMENTS))
        for name in self.task:
            check_one_of("task", name, TASKS)
        for p in self.p:
            require(0 < p < 1, "p", "in (0, 1), as without a penalty minimisers need not exist", p)
        for strength in self.strength:
            require(0 < strength < float("inf"), "strength", "positive and finite", strength)
        for n in self.n:
            require(n >= 2, "n", "at least 2", n)
        check_count("draws", self.draws)
        require(self.coverage_draws >= 2, "coverage_draws", "at least 2", self.coverage_draws)
        require(0 < self.delta <= 1, "delta", "in (0, 1]", self.delta)
        require(0 <= self.seed < 2**63, "seed", "from 0 to 2**63 - 1", self.seed)
        for name in ("task", "p", "strength", "n"):
            require(len(getattr(self, name)) > 0, name, "at least one value", "none")
        return Grid(
            self.task, self.n, self.p, self.strength, self.draws, self.coverage_draws,
            self.delta, self.seed,
        )  # fmt: skip


@dataclass(frozen=True)
class CommandLine(VerifySettings):
    """Try every statement where its assumptions hold, and say where they fail."""

    json: bool = False
    """Print JSON in place of the table."""


@dataclass(frozen=True, repr=False)
class VerifyResult:
    """What came of every statement.

    Attributes:
        cases: one row a case, with the fields of ``probes.statements.case.Case``, its ``verdict``
            and its tightness ``ratio``.
    """

    cases: pd.DataFrame

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a statement, reading and data set: see ``probes.statements.case.summarize``."""
        return summarize(self.cases)

    @property
    def violated(self) -> pd.DataFrame:
        """The cases in which something fails that the project holds to be true."""
        return self.cases[self.cases["verdict"] == VIOLATED]

    def plot(self) -> "Figure":
        """Draw how tight Proposition 4.2 is in its readings, and where it fails as printed."""
        return import_module("figures.verify").draw(self.cases)

    def to_json(self) -> str:
        """Return the table as a JSON document; infinity becomes a word."""
        words = self.table.replace(np.inf, "inf")
        return words.to_json(orient="records", indent=2, force_ascii=False)

    def text(self) -> pd.DataFrame:
        """The table as it is printed."""
        return _text(self.table)

    def __repr__(self) -> str:
        return self.text().to_string(index=False)

    def _repr_html_(self) -> str:
        return self.text().to_html(index=False)


def verify(**settings: Any) -> VerifyResult:
    """Try the statements.

    Args:
        **settings: fields of :class:`VerifySettings`, the same as the flags of
            ``python -m probes.verify``; the plural ones take one value or several.

    Raises:
        ValueError: a value is out of range.
        TypeError: there is no such setting.

    >>> result = verify(statement="sparsity", p=0.3)
    >>> result.table["verdict"].tolist()
    ['holds', 'holds']
    """
    return run_probe(from_keywords(VerifySettings, settings))


def run_probe(settings: VerifySettings) -> VerifyResult:
    """Run the verifier; with ``settings.out``, keep cases, table, manifest and figure there.

    Raises:
        ValueError: a value is out of range, or the folder cannot be written.
    """
    grid = settings.grid()
    folder = make_folder(settings.out) if settings.out else None
    start = time.perf_counter()
    jobs = [job for name in settings.statement or STATEMENTS for job in STATEMENTS[name](grid)]
    with progress_bar(len(jobs), "verifying", "setting") as bar:
        cases = []
        for job in jobs:
            cases += list(job())
            bar.update()
    result = VerifyResult(case_table(cases))
    if folder:
        write_whole(folder / "cases.parquet", result.cases.to_parquet)
        write_whole(folder / "table.csv", lambda path: result.table.to_csv(path, index=False))
        write_figure(folder / "verify.png", result.plot())
        write_manifest(folder / "manifest.json", settings, time.perf_counter() - start)
    return result


def main(settings: CommandLine) -> int:
    """Run the verifier from the command line; 1 if something fails that should hold."""
    settings = replace(settings, out=settings.out or DEFAULT_OUT)
    result = run_probe(settings)
    if settings.json:
        print(result.to_json())
    else:
        shown = result.table[
            result.table["reading"].isin(SHOWN) | ~result.table["reading"].isin(map(str, READINGS))
        ]
        print_table(
            _text(shown),
            title="Statements, where their assumptions hold and where not",
            caption=(
                "measured, bound: of the tightest case; ratio: bound / measured; equalities show "
                "the largest error. All cases and readings are in the files."
            ),
            width=190,
        )
        print(f"cases, table, manifest and figure: {settings.out}/")
    for case in result.violated.to_dict("records"):
        print(f"violated: {case['statement']} ({case['reading']}; {case['setting']}): "
              f"python -m probes.verify {case['command']}")  # fmt: skip
    return int(len(result.violated) > 0)


#: A piece of work: the cases of one statement in one setting.
Job = Callable[[], Iterable[Case]]


def _each_setting(cases: Callable[[Setting], Iterable[Case]]) -> Callable[[Grid], Iterator[Job]]:
    return lambda grid: (partial(cases, setting) for setting in grid.settings())


def _each_rate(
    cases: Callable[[float, int], Iterable[Case]], rates: int | None = None
) -> Callable[[Grid], Iterator[Job]]:
    return lambda grid: (partial(cases, p, grid.seed) for p in grid.p[:rates])


def _only(
    statement: str, cases: Callable[[Setting], Iterable[Case]]
) -> Callable[[Setting], list[Case]]:
    return lambda setting: [case for case in cases(setting) if case.statement == statement]


def _loss(grid: Grid) -> Iterator[Job]:
    yield from _each_rate(dropout_loss.expected_loss_cases)(grid)
    yield from _each_rate(dropout_loss.optimum_cases, TRAINED_RATES)(grid)


def _ensemble_law(grid: Grid) -> Iterator[Job]:
    yield from _each_rate(ensembles.squared_cases)(grid)
    yield from _each_rate(ensembles.cross_entropy_cases, TRAINED_RATES)(grid)


#: What ``--statement`` takes.
STATEMENTS: dict[str, Callable[[Grid], Iterator[Job]]] = {
    "sparsity": _each_rate(dropout_loss.sparsity_cases),
    "4.1": _each_setting(stability.definition_cases),
    "4.2": _each_setting(stability.proposition_cases),
    "4.3": _each_setting(_only("Lemma 4.3", risk.bound_cases)),
    "4.4": _each_setting(_only("Theorem 4.4", risk.bound_cases)),
    "4.5": _each_rate(ensembles.jensen_cases, TRAINED_RATES),
    "gap": _each_setting(risk.identity_cases),
    "loss": _loss,
    "1/N": _ensemble_law,
    "counterexamples": lambda grid: iter([counterexamples.counterexample_cases]),
}


def _text(table: pd.DataFrame) -> pd.DataFrame:
    """The table's cells as text."""
    ratio = [
        f"error {row.error:.1e}" if row.equal
        else f"{row.ratio_smallest:.3g}, {row.ratio_median:.3g}"
        for row in table.itertuples()
    ]  # fmt: skip
    verdict = table["verdict"] + table["failed"].map(lambda why: f": {why}" if why else "")
    return pd.DataFrame(
        {
            "statement": table["statement"],
            "reading": table["reading"],
            "data": table["data"],
            "cases": table["cases"].astype(str),
            "measured": table["measured"].map("{:.4g}".format),
            "bound": table["bound"].map("{:.4g}".format),
            "ratio: least, median": ratio,
            "assumptions": table["assumptions"],
            "verdict": verdict,
        }
    )


if __name__ == "__main__":
    run(CommandLine, main)

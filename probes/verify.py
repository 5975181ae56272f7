"""Do the statements hold where their assumptions do? Exact minimisers, enumeration, known failures.

python -m probes.verify
python -m probes.verify --statement 4.2 --task breast_cancer --strength 0.01 0.1 --n 50 200 400

>>> measure(statement="sparsity", p=0.3).summary["verdict"].tolist()
['holds', 'holds']
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import pandas as pd
import tyro

from probes.cli.probe import Probe
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, check_one_of, check_seed, require
from probes.results.result import Result
from probes.results.text_tables import TextTable
from probes.statements import counterexample_cases as counterexamples
from probes.statements import dropout_loss_cases as dropout_loss
from probes.statements import ensemble_cases as ensembles
from probes.statements import risk_cases as risk
from probes.statements import stability_cases as stability
from probes.statements.case import VIOLATED, Case, case_table, summarize
from probes.statements.counterexample_cases import COMMAND
from probes.statements.exact_minimisers import TASKS
from probes.statements.setting import Grid, Setting
from theory.readings import CORRECTED, PRINTED, READINGS, Reading

if TYPE_CHECKING:
    from figures.style import Drawing

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

#: The readings that are drawn, from the printed one to the loosest.
DRAWN = {
    str(Reading()): "as printed",
    str(Reading(curvature="segment")): "curvature: segment",
    str(Reading(curvature="penalty")): "curvature: 2s",
    str(Reading(curvature="penalty", region="ball")): "2s, η: ball",
    str(Reading(form="sum", curvature="segment")): "S^i: sum / n",
    str(Reading(loss="regularized", curvature="segment")): "regularized loss",
}


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

    engine_options: ClassVar[EngineOptions] = EngineOptions()

    def cells(self) -> "list[VerifyCell]":
        """Check every value and return one cell a statement.

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
        check_seed(self.seed)
        for name in ("task", "p", "strength", "n"):
            require(len(getattr(self, name)) > 0, name, "at least one value", "none")
        grid = Grid(
            self.task, self.n, self.p, self.strength, self.draws, self.coverage_draws,
            self.delta, self.seed,
        )  # fmt: skip
        names = dict.fromkeys(self.statement or STATEMENTS)
        return [VerifyCell(name, grid) for name in names]


@dataclass(frozen=True)
class VerifyCell:
    """One statement in all settings of a grid.

    Attributes:
        statement: one of ``STATEMENTS``.
        grid: the settings.
    """

    statement: str
    grid: Grid

    @property
    def libraries(self) -> tuple[str, ...]:
        """What its numbers are computed with."""
        return ("torch", "numpy", "scipy", "scikit-learn")

    @property
    def replica_steps(self) -> int:
        """Size of the work, in settings."""
        return len(list(STATEMENTS[self.statement](self.grid)))


class VerifyResult(Result):
    """What came of every statement.

    One row a case, with the fields of ``probes.statements.case.Case``, its ``verdict`` and its
    tightness ``ratio``.
    """

    name = "verify"
    question = "Statements, where their assumptions hold and where not"
    setting = "linear models, exact minimisers, risks over a known population"
    note = (
        "measured, bound: of the tightest case; ratio: bound / measured; equalities show "
        "the largest error. All cases and readings are in the files."
    )

    @property
    def cases(self) -> pd.DataFrame:
        """The rows."""
        return self.rows

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a statement, reading and data set: see ``probes.statements.case.summarize``."""
        return summarize(self.rows)

    @property
    def violated(self) -> pd.DataFrame:
        """The cases in which something fails that the project holds to be true."""
        return self.rows[self.rows["verdict"] == VIOLATED]

    @property
    def status(self) -> int:
        """1 if something fails that should hold."""
        return int(len(self.violated) > 0)

    @property
    def conclusion(self) -> str:
        """The cases that fail and should hold, each with the command that tries it again."""
        return "\n".join(
            f"violated: {case['statement']} ({case['reading']}; {case['setting']}): "
            f"python -m probes.verify {case['command']}"
            for case in self.violated.to_dict("records")
        )

    def text(self) -> pd.DataFrame:
        """The summary as text, with all readings of Proposition 4.2."""
        return _text(self.summary)

    def text_tables(self) -> list[TextTable]:
        """The summary, with the readings that matter most."""
        readings = self.summary["reading"]
        shown = self.summary[readings.isin(SHOWN) | ~readings.isin(map(str, READINGS))]
        title = f"{self.question}\n{self.setting}"
        return [TextTable(_text(shown), title, self.note, width=190)]

    def spreadsheets(self) -> dict[str, pd.DataFrame]:
        """The summary."""
        return {"table": self.summary}

    def plot(self) -> "Drawing":
        """Draw how tight Proposition 4.2 is in its readings, and where it fails as printed."""
        from figures.verify import draw

        drawn = self.rows[self.rows["reading"].isin(DRAWN) & np.isfinite(self.rows["ratio"])]
        readings = drawn.assign(
            data=drawn["setting"].str.split(",").str[0], name=drawn["reading"].map(DRAWN)
        ).sort_values("name", key=lambda name: name.map(list(DRAWN.values()).index), kind="stable")
        known = self.rows["command"] == COMMAND
        known &= ~self.rows["reading"].str.startswith("β")
        counterexamples = self.rows[known].assign(
            kind=np.where(self.rows.loc[known, "provable"], "corrected", "as printed")
        )
        caption = "exact minimisers of the penalized objective; left of the line a statement fails"
        return draw(readings, counterexamples, caption)


def measure_cell(cell: VerifyCell, progress: Progress) -> Tables:
    """Try a statement in every setting.

    Args:
        cell: the statement and the grid of settings.
        progress: told 1 after every setting.

    Returns:
        One row a case: see :class:`probes.statements.case.Case`.
    """
    cases: list[Case] = []
    for case_of in STATEMENTS[cell.statement](cell.grid):
        cases += list(case_of())
        progress(1)
    return {TableKind.ROWS: case_table(cases)}


#: Makes the cases of one statement in one setting.
Cases = Callable[[], Iterable[Case]]


def _each_setting(cases: Callable[[Setting], Iterable[Case]]) -> Callable[[Grid], Iterator[Cases]]:
    return lambda grid: (partial(cases, setting) for setting in grid.settings())


def _each_rate(
    cases: Callable[[float, int], Iterable[Case]], rates: int | None = None
) -> Callable[[Grid], Iterator[Cases]]:
    return lambda grid: (partial(cases, p, grid.seed) for p in grid.p[:rates])


def _only(
    statement: str, cases: Callable[[Setting], Iterable[Case]]
) -> Callable[[Setting], list[Case]]:
    return lambda setting: [case for case in cases(setting) if case.statement == statement]


def _loss(grid: Grid) -> Iterator[Cases]:
    yield from _each_rate(dropout_loss.expected_loss_cases)(grid)
    yield from _each_rate(dropout_loss.optimum_cases, TRAINED_RATES)(grid)


def _ensemble_law(grid: Grid) -> Iterator[Cases]:
    yield from _each_rate(ensembles.squared_cases)(grid)
    yield from _each_rate(ensembles.cross_entropy_cases, TRAINED_RATES)(grid)


#: What ``--statement`` takes.
STATEMENTS: dict[str, Callable[[Grid], Iterator[Cases]]] = {
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


PROBE = Probe(
    "verify",
    VerifySettings,
    cells=VerifySettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: VerifyResult.of(tables),
    doing="verifying",
)
measure = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

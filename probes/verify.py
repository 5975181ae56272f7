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

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import tyro

from probes.cli.measures import MeasureVerify
from probes.cli.probe import Probe
from probes.jobs.amounts import how_many
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import LARGEST_SIZE, check_count, check_one_of, check_seed, require
from probes.results.answer_words import listed
from probes.results.result import Result
from probes.results.text_tables import TextTable
from probes.statements import average_stability_cases as average_stability
from probes.statements import coin_cases as coin
from probes.statements import counterexample_cases as counterexamples
from probes.statements import counting_cases as counting
from probes.statements import descent_cases as descent
from probes.statements import dropout_loss_cases as dropout_loss
from probes.statements import ensemble_cases as ensembles
from probes.statements import held_out_set_cases as held_out_set
from probes.statements import information_cases as information
from probes.statements import jackknife_cases as jackknife
from probes.statements import pac_bayes_cases as pac_bayes
from probes.statements import place_cases as places
from probes.statements import random_cases as random
from probes.statements import risk_cases as risk
from probes.statements import stability_cases as stability
from probes.statements import stochastic_descent_cases as stochastic_descent
from probes.statements import subbagging_cases as subbagging
from probes.statements import uniform_stability_cases as uniform
from probes.statements.case import AS_PRINTED, NEEDED, VIOLATED, Case, case_table, summarize
from probes.statements.counterexample_cases import COMMAND
from probes.statements.exact_minimisers import TASKS
from probes.statements.setting import Grid, Setting
from probes.statements.stability_cases import AS_IT_IS_PRINTED
from theory import sparsity
from theory.readings import AT_POINT, CORRECTED, READINGS, WHERE_CLOSE, Reading

if TYPE_CHECKING:
    from figures.style import Drawing

V = TypeVar("V")
#: Statements that are tried at exact minimisers, and the smallest and the largest weight of the
#: penalty with which these are exact: Newton's method stops at a gradient of 1e-10, and changes of
#: a loss that fall like one over the weight must not be those of rounding.
AT_MINIMISERS = ("4.1", "4.2", "4.3", "4.4", "gap", "hardt", "lei")
LEAST_PENALTY, LARGEST_PENALTY = 1e-6, 1e12
#: Rates at which masked training is compared with the optimum: it takes seconds for each.
TRAINED_RATES = 2
#: Readings of Proposition 4.2 that the printed table shows; the files hold all 48.
SHOWN = [
    str(reading)
    for reading in (
        WHERE_CLOSE,
        AT_POINT,
        CORRECTED,
        Reading(curvature="penalty", region="ball"),
        Reading(loss="regularized", curvature="segment"),
        Reading(form="sum", curvature="segment"),
    )
]

#: The readings that are drawn, from the printed one to the loosest.
DRAWN = {
    AS_IT_IS_PRINTED: "as printed,\nθ(S^i) close to θ(S)",
    str(WHERE_CLOSE): "1.6 in place of 2,\nθ(S^i) close to θ(S)",
    str(Reading(loss="regularized", curvature="segment")): "L_λ,\ncurvature along the way",
    str(CORRECTED): "raw loss,\ncurvature along the way",
    str(Reading(curvature="penalty")): "raw loss, curvature\nof the penalty alone",
    str(Reading(curvature="penalty", region="ball")): "the same,\ngradients on the ball",
    str(Reading(form="sum", curvature="segment")): "raw loss, S^i divided\nby n, not by n - 1",
}
#: The groups of known failures, and what they are called where they are drawn.
ALL_MET, ONE_MISSING = "all printed premises met", "a printed premise is missing"


@dataclass(frozen=True)
class VerifySettings:
    """Try every statement where its assumptions hold, and say where they fail."""

    statement: tuple[str, ...] = ()
    """sparsity, 4.1, 4.2, 4.3, 4.4, 4.5, gap, loss, 1/N, coin (4.3 and 4.4 where they can fail),
    random (4.2 on random problems), uniform, subbagging, jackknife, hardt, lei, pac-bayes,
    test-set, counting, arora, information, counterexamples. Default: all."""

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
    """Draws of S for the statements that hold with high probability over S: 4.3 and 4.4."""

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
            check_count("n", n, least=2, most=LARGEST_SIZE)
        check_count("draws", self.draws)
        check_count("coverage_draws", self.coverage_draws, least=2)
        require(0 < self.delta <= 1, "delta", "in (0, 1]", self.delta)
        check_seed(self.seed)
        for name in ("task", "p", "strength", "n"):
            require(len(getattr(self, name)) > 0, name, "at least one value", "none")
        grid = Grid(
            _once(self.task), _once(self.n), _once(self.p), _once(self.strength), self.draws,
            self.coverage_draws, self.delta, self.seed,
        )  # fmt: skip
        names = dict.fromkeys(self.statement or STATEMENTS)
        if set(names) & set(AT_MINIMISERS):
            weak, strong = min(self.strength), max(self.strength)
            every = "times 1/(2p - p^2) at every p"
            exact = weak * float(sparsity(min(self.p))) >= LEAST_PENALTY
            require(exact, "strength", f"at least {LEAST_PENALTY:g} {every}", weak)
            exact = strong * float(sparsity(max(self.p))) <= LARGEST_PENALTY
            require(exact, "strength", f"at most {LARGEST_PENALTY:g} {every}", strong)
        return [VerifyCell(name, grid) for name in names]


def _once(values: tuple[V, ...]) -> tuple[V, ...]:
    return tuple(dict.fromkeys(values))


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
        "measured, bound: of the tightest case; ratio: bound / measured; equalities show the "
        "largest error. C: that of a model that knows nothing (log 2 for a coin), and the largest "
        "loss on the ball; a bound at or above either is vacuous. Statements about the draw of S "
        "are tested so that a run in which all are true reports one as violated with probability "
        "0.001 at most. All cases and readings are in the files."
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
    def claimed(self) -> pd.DataFrame:
        """The cases in which we claim that the statement is true: all its premises are met."""
        return self.rows[self.rows["provable"] & (self.rows["failed"] == "")]

    @property
    def violated(self) -> pd.DataFrame:
        """The cases in which a statement fails that we claim is true."""
        return self.rows[self.rows["verdict"] == VIOLATED]

    @property
    def status(self) -> int:
        """1 if a statement that we claim is true fails."""
        return int(len(self.violated) > 0)

    @property
    def headline(self) -> str:
        """Whether the true statements passed, in a sentence."""
        checks, failed = len(self.claimed), len(self.violated)
        if failed:
            return f"{failed:,} of {checks:,} checks of true statements failed:"
        found = self.rows[self.rows["verdict"] == AS_PRINTED]
        names = listed(list(dict.fromkeys(found["statement"])))
        count = how_many(len(found), "case")
        fails = f"; as printed, {names} fail{'s' * (' and ' not in names)} in {count}"
        return f"{_passed(checks)}{fails if len(found) else ''}."

    @property
    def finding(self) -> str:
        """Whether the true statements passed; those that did not, with their commands."""
        return "\n".join([self.headline, *map(_said, self.violated.to_dict("records"))])

    @property
    def intervals(self) -> str:  # type: ignore[override]
        """What the columns count."""
        return (
            "checks: where all premises hold; printed fails: cases in which the statement as it is "
            "printed does not hold; premise needed: cases in which it fails without a premise"
        )

    def brief(self) -> pd.DataFrame:
        """One row a statement."""
        return pd.DataFrame(
            [_brief(str(name), group) for name, group in self.rows.groupby("statement", sort=False)]
        )

    @property
    def conclusion(self) -> str:
        """What passed, what failed, and what fails as printed, with the command to try it again."""
        lines = [self.headline, *map(_said, self.violated.to_dict("records"))]
        for verdict, title in (
            (AS_PRINTED, "Fails as printed, though every printed premise is met:"),
            (NEEDED, "Fails where a premise is not met, so that the premise is needed:"),
        ):
            found = self.rows[self.rows["verdict"] == verdict]
            if len(found):
                lines += [title, *_failures(found)]
        return "\n".join(lines)

    def text(self) -> pd.DataFrame:
        """The summary as text, with all readings of Proposition 4.2."""
        return _text(self.summary)

    def text_tables(self) -> list[TextTable]:
        """The summary, with the readings that matter most."""
        readings = self.summary["reading"]
        shown = self.summary[readings.isin(SHOWN) | ~readings.isin(map(str, READINGS))]
        title = f"{self.question}\n{self.setting}"
        return [TextTable(_text(shown), title, self.note, width=190)]

    def plot(self) -> "Drawing":
        """Draw how tight Proposition 4.2 is in its readings, and where printed statements fail."""
        from figures.verify import draw

        drawn = self.claimed
        drawn = drawn[drawn["reading"].isin(DRAWN) & np.isfinite(drawn["ratio"])]
        readings = drawn.assign(
            data=drawn["setting"].str.split(",").str[0], name=drawn["reading"].map(DRAWN)
        ).sort_values("name", key=lambda name: name.map(list(DRAWN.values()).index), kind="stable")
        caption = "exact minimisers of the penalized objective; left of the line a statement fails"
        return draw(readings, self._known_failures(), caption).titled(self.headline)

    def _known_failures(self) -> pd.DataFrame:
        """The counterexamples, those that meet all premises apart from those that do not."""
        known = self.rows[self.rows["command"] == COMMAND]
        known = known[~known["reading"].str.startswith("β")]
        known = known[~known["reading"].str.contains("raw loss")]
        printed = known["reading"].str.endswith("as printed")
        missing = known.groupby("setting")["failed"].transform(lambda why: bool((why != "").any()))
        reach = known.groupby("setting")["reach"].transform("min")
        names = [
            f"{setting}\nexpansion good for {100 * share:.0f} % of the way"
            if share < 1
            else setting
            for setting, share in zip(known["setting"], reach, strict=True)
        ]
        return known.assign(
            kind=np.where(printed, "as printed", "corrected"),
            group=np.where(missing.astype(bool), ONE_MISSING, ALL_MET),
            setting=names,
        )


def _passed(checks: int) -> str:
    """Say that so many checks passed; of none nothing is known."""
    if checks == 0:
        return "No statement that we claim is true was checked"
    if checks == 1:
        return "The 1 check of a true statement passed"
    return f"All {checks:,} checks of true statements passed"


def _brief(statement: str, cases: pd.DataFrame) -> dict[str, str]:
    """Count what became of a statement's cases."""
    claimed = cases[cases["provable"] & (cases["failed"] == "")]
    counts = cases["verdict"].value_counts()
    ratios = claimed.loc[~claimed["equal"], "ratio"]
    ratios = ratios[np.isfinite(ratios)]
    return {
        "statement": statement,
        "checks": str(len(claimed)),
        "failed": str(counts.get(VIOLATED, 0)),
        "printed fails": str(counts.get(AS_PRINTED, 0)),
        "premise needed": str(counts.get(NEEDED, 0)),
        "tightest bound / measured": f"{ratios.min():.3g}" if len(ratios) else "",
    }


def _said(case: dict[Hashable, Any]) -> str:
    return (
        f"violated: {case['statement']} ({case['reading']}; {case['setting']}): "
        f"{_command(case['command'])}"
    )


def _command(flags: str) -> str:
    return f"python -m probes.verify {flags}".strip()


def _failures(found: pd.DataFrame) -> list[str]:
    """One line a statement, reading and reason."""
    lines = []
    for (statement, reading, why), group in found.groupby(
        ["statement", "reading", "failed"], sort=False
    ):
        worst = group.sort_values("ratio").iloc[0]
        reason = f"; {why}" if why else ""
        count = f"{len(group)} cases, worst: " if len(group) > 1 else ""
        lines.append(
            f"  {statement} ({reading}{reason}): {count}{worst['measured']:.3g} against a bound "
            f"of {worst['bound']:.3g} in {worst['setting']}: "
            f"{_command(worst['command'])}"
        )
    return lines


def measure_cell(cell: VerifyCell, progress: Progress) -> Tables:
    """Try a statement in every setting.

    Args:
        cell: the statement and the grid of settings.
        progress: told 1 after every setting.

    Returns:
        One row a case: see :class:`probes.statements.case.Case`.

    Raises:
        ValueError: the statement has no case, or one whose sides are not numbers.
    """
    cases: list[Case] = []
    for case_of in STATEMENTS[cell.statement](cell.grid):
        cases += list(case_of())
        progress(1)
    require(len(cases) > 0, f"statement {cell.statement!r}", "one that has cases", "none")
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


def _subbagging(grid: Grid) -> Iterator[Cases]:
    yield partial(subbagging.subbagging_cases, grid.seed)
    yield from _each_rate(subbagging.network_cases, TRAINED_RATES)(grid)


def _descent(grid: Grid) -> Iterator[Cases]:
    # Without a penalty, rate and strength do not matter.
    for setting in replace(grid, p=grid.p[:1], strength=grid.strength[:1]).settings():
        yield partial(descent.convex_cases, setting)
    few = replace(grid, n=grid.n[:1])
    yield from _each_setting(descent.strongly_convex_cases)(few)
    yield from _each_setting(stochastic_descent.random_order_cases)(few)
    yield descent.long_step_cases
    yield stochastic_descent.hilltop_cases
    yield stochastic_descent.all_examples_cases


def _uniform(grid: Grid) -> Iterator[Cases]:
    yield from (partial(uniform.uniform_stability_cases, p, grid.delta) for p in grid.p)
    yield uniform.memoriser_cases


def _average_stability(grid: Grid) -> Iterator[Cases]:
    # Every draw of a few examples is enumerated: n does not matter.
    yield from _each_setting(average_stability.average_stability_cases)(replace(grid, n=grid.n[:1]))
    yield average_stability.linear_loss_cases


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
    "coin": lambda grid: (partial(coin.coin_cases, p, grid.delta) for p in grid.p),
    "random": lambda grid: iter([partial(random.random_cases, grid.seed)]),
    "uniform": _uniform,
    "information": lambda grid: iter([partial(information.information_cases, grid.seed)]),
    "subbagging": _subbagging,
    "jackknife": lambda grid: iter([partial(jackknife.jackknife_cases, grid.seed)]),
    "hardt": _descent,
    "lei": _average_stability,
    "pac-bayes": lambda grid: iter([partial(pac_bayes.pac_bayes_cases, grid.delta)]),
    "test-set": lambda grid: iter([partial(held_out_set.held_out_set_cases, grid.delta)]),
    "counting": lambda grid: iter([counting.counting_cases]),
    "arora": _each_rate(places.place_cases),
    "counterexamples": lambda grid: iter([counterexamples.counterexample_cases]),
}


def _text(table: pd.DataFrame) -> pd.DataFrame:
    """The table's cells as text."""
    ratio = [
        f"error {row.error:.1e}" if row.equal
        else f"{row.ratio_smallest:.3g}, {row.ratio_median:.3g}"
        for row in table.itertuples()
    ]  # fmt: skip
    return pd.DataFrame(
        {
            "statement": table["statement"],
            "reading": table["reading"],
            "data": table["data"],
            "cases": table["cases"].astype(str),
            "measured": table["measured"].map("{:.4g}".format),
            "bound": table["bound"].map("{:.4g}".format),
            "ratio: least, median": ratio,
            "C": [
                f"{chance:.3g}, {ceiling:.3g}" if np.isfinite(ceiling) else ""
                for chance, ceiling in table[["chance", "ceiling"]].to_numpy(float)
            ],
            "assumptions": table["assumptions"],
            "verdict": [_verdict(row) for row in table.to_dict("records")],
        }
    )


def _verdict(row: dict[Hashable, Any]) -> str:
    why = f": {row['failed']}" if row["failed"] else ""
    if row["failed"] and row["reach"] < 1:
        share = 100 * row["reach"]
        why += f", expansion accurate to 10 % for the first {share:.0f} % of the way"
    return f"{row['verdict']}{why}"


PROBE = Probe(
    "verify",
    VerifySettings,
    cells=VerifySettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: VerifyResult.of(tables),
    doing="verifying",
)
measure: MeasureVerify[VerifyResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

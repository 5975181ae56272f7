"""How wide are prediction intervals and sets from leave-one-out, and do they cover?

python -m probes.coverage
python -m probes.coverage --task ridge --p 0 0.1 0.3 0.5 --alpha 0.1 --draws 16

>>> result = measure(task="ridge", p=0.3, n=12, draws=2, steps=20)
>>> result.summary["method"].tolist()
['jackknife+', 'jackknife', 'jackknife, widened']
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from probes.cells.cell import CellJob
from probes.cells.prediction_sets import PLAIN, PLUS, WIDENED, measure_sets
from probes.cli.measures import MeasureCoverage
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.amounts import how_many
from probes.jobs.job import Progress, Tables
from probes.jobs.validation import require
from probes.metrics.confidence_intervals import means
from probes.metrics.multiple_comparisons import LEVEL, holm
from probes.metrics.paired_differences import paired_differences
from probes.results.answer_words import in_draws, intervals_in_words, least_and_largest
from probes.results.result import ALL_DIVERGED, Result
from probes.results.text_tables import (
    MARKED,
    TextTable,
    averages,
    decimals,
    rates,
    with_interval,
)
from probes.statements.declared_error import RUN_ERROR, mean_p_value
from theory.barber2021 import jackknife_coverage, jackknife_plus_coverage

if TYPE_CHECKING:
    from figures.style import Drawing

#: What the coverage is compared with: a theorem, the same with a premise that is estimated, or the
#: level that is asked for and nobody guarantees.
GROUNDS = {PLUS: "guaranteed", WIDENED: "guaranteed if ν is as estimated", PLAIN: "nominal"}
KEPT, BELOW, UNKNOWN = "no contradiction", "covers too seldom", "not measured"


@dataclass(frozen=True)
class CoverageSettings(StudySettings):
    """Measure width and coverage of prediction intervals and sets from leave-one-out networks."""

    p: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5)
    """Dropout rates in [0, 1)."""

    alpha: float = 0.1
    """Level alpha, from 1/(n + 1) to below 0.5. The jackknife+ covers with a probability of at
    least 1 - 2 alpha, and of about 1 - alpha in practice."""

    def cells(self) -> "list[CoverageCell]":
        """Check every value and return the cells of the grid.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        bases = self.base_cells()
        least = 1 / (self.n + 1)
        allowed = f"from 1/(n + 1) = {least:.3g} to below 0.5"
        # As alpha of 0.1 and n of 9 are, also where 1/10 is not a double.
        require(least * (1 - 1e-9) <= self.alpha < 0.5, "alpha", allowed, self.alpha)
        return [CoverageCell(base, self.alpha) for base in bases]


@dataclass(frozen=True)
class CoverageCell(CellJob):
    """One draw of S at one rate, with the networks of all S^i.

    Attributes:
        base: the cell.
        alpha: level of the sets.
    """

    alpha: float

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return self.base.replica_steps


class CoverageResult(Result):
    """One row a rate, draw and method: see ``probes.cells.prediction_sets.measure_sets``."""

    name = "coverage"
    question = "Prediction intervals, or sets of classes, from leave-one-out networks"
    note = (
        "means over draws, 95 % intervals (Student); size: mean width of an interval in units of "
        "the value, or classes in a set (one of all classes says nothing); widened: by ε, so that "
        "scores moved by more on leaving one out in a share of ν = (α/2)² (estimated on the test "
        "examples); at least: what the coverage is tested against, 1 - 2α for jackknife+ whatever "
        "the network does (Barber et al. 2021); 1 - α is nobody's guarantee; p-value: exact for "
        "the mean of a bounded quantity over draws (Hoeffding 1963), corrected for the number of "
        f"rows (Holm); size less p = 0: paired over draws; {MARKED}"
    )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a rate and method.

        Means over draws with 95 % Student intervals of ``coverage``, ``size``, ``empty``,
        ``widening``, ``unstable`` and ``change``, and of ``larger``, the size less that at p = 0,
        paired over draws, with ``larger_holm``; ``guarantee`` (what the coverage is compared
        with) and ``ground`` (why), ``p_value`` of "the coverage is at least that", corrected for
        the number of rows, and ``verdict``.
        """
        quantities = ("coverage", "size", "empty", "widening", "unstable", "change")
        table = means(self.rows, ["p", "method"], quantities)
        alpha = float(self.rows["alpha"].iloc[0])
        table = table.merge(self._against_none(), on=["p", "method"], how="left")
        table["guarantee"] = [_guarantee(row, alpha) for _, row in table.iterrows()]
        table["ground"] = table["method"].map(GROUNDS)
        groups = self.rows.groupby(["p", "method"], sort=False)["coverage"]
        missed = [1 - group.dropna().to_numpy() for _, group in groups]
        p_values = [
            mean_p_value(values, 1.0, 1 - guarantee) if len(values) else float("nan")
            for values, guarantee in zip(missed, table["guarantee"], strict=True)
        ]
        table["p_value"] = holm(np.array(p_values))
        table["verdict"] = np.select(
            [table["p_value"].isna(), table["p_value"] <= LEVEL], [UNKNOWN, BELOW], KEPT
        )
        return table

    def _against_none(self) -> pd.DataFrame:
        """How much larger intervals or sets are than at p = 0; NaN where that was not measured."""
        rows = self.rows.assign(larger=self.rows["size"])
        none = rows["p"] == 0
        if not none.any() or none.all():
            return rows[["p", "method"]].drop_duplicates().assign(
                larger=np.nan, larger_low=np.nan, larger_holm=np.nan
            )  # fmt: skip
        found = paired_differences(rows, none, ["larger"], keys=["p", "method"], within=["method"])
        return found.drop(columns="draws")

    def text_tables(self) -> list[TextTable]:
        """The summary."""
        title = f"{self.question}\n{self.setting}"
        return [TextTable(self.text(), title, self.caption, width=190)]

    @property
    def conclusion(self) -> str:
        """Whether the guaranteed coverage was contradicted, in a sentence."""
        sure = self.summary[self.summary["method"] == PLUS]
        known = sure[sure["verdict"] != UNKNOWN]
        if known.empty:
            return ALL_DIVERGED
        least, *_ = least_and_largest(known, "coverage")
        below = int((known["verdict"] == BELOW).sum())
        lost = len(sure) - len(known)
        return (
            f"Jackknife+: coverage from {least['coverage']:.3f}{in_draws(least, 'coverage')} up, "
            f"guaranteed {least['guarantee']:g}; the guarantee is contradicted at {below} of "
            f"{how_many(len(known), 'rate')}{f', and not known at {lost} more' if lost else ''}."
        )

    @property
    def status(self) -> int:
        """1 if a guarantee that is proved is contradicted, at the level of the verifier."""
        sure = self.summary[self.summary["method"] == PLUS]
        return int((sure["p_value"] <= RUN_ERROR).any())

    def plot(self) -> "Drawing":
        """Draw coverage and size against p."""
        from figures.coverage import draw

        alpha = float(self.rows["alpha"].iloc[0])
        intervals = intervals_in_words(self.draw_count)
        caption = f"{self.setting}, objective dropout, α = {alpha:g}; {intervals}"
        summary = self.summary.rename(columns={"method": "label"})
        return draw(summary, caption, alpha).titled(self.answer)

    def brief(self) -> pd.DataFrame:
        """Coverage, what it should be and why, and the size."""
        text = self.text()
        said = text["method"].map({PLUS: "", PLAIN: " nominal", WIDENED: " if ν"})
        known = self.summary["guarantee"].notna()
        text["at least"] = (text["at least"] + said).where(known, "not known")
        return text[["p", "method", "coverage", "at least", "size"]]

    @property
    def said_of_brief(self) -> str:
        """What stands beside the guarantees."""
        return "nominal: not guaranteed; if ν: guaranteed if ν is as estimated"

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary = self.summary
        return pd.DataFrame(
            {
                "p": rates(summary["p"]),
                "method": summary["method"],
                "coverage": with_interval(summary, "coverage"),
                "at least": decimals(summary["guarantee"], 2),
                "against": summary["ground"],
                "verdict": [
                    f"{said} (p {value:.2g})"
                    for said, value in zip(summary["verdict"], summary["p_value"], strict=True)
                ],
                "size": with_interval(summary, "size"),
                "size less p = 0": pd.Series(with_interval(summary, "larger")).where(
                    summary["larger"].notna(), ""
                ),
                "empty": averages(summary, "empty", 3),
                "ε": averages(summary, "widening"),
                "mean change": averages(summary, "change"),
            }
        )


def _guarantee(row: pd.Series, alpha: float) -> float:
    if row["method"] == PLUS:
        return float(jackknife_plus_coverage(alpha))
    if row["method"] == WIDENED:
        share = row["unstable"]
        return float(jackknife_coverage(alpha, share)) if np.isfinite(share) else float("nan")
    return 1 - alpha


def measure_cell(cell: CoverageCell, progress: Progress) -> Tables:
    """Train the networks of S and of all S^i, and measure their intervals or sets.

    Args:
        cell: one draw of S at one rate.
        progress: told the number of replicas after every step of a block.

    Returns:
        As ``probes.cells.prediction_sets.measure_sets``.
    """
    return measure_sets(cell.base, cell.alpha, progress)


PROBE = Probe(
    "coverage",
    CoverageSettings,
    cells=CoverageSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: CoverageResult.of(tables),
)
measure: MeasureCoverage[CoverageResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

"""How large is the generalization gap, and does LoRA Dropout buy stability beyond fitting less?

python -m probes.generalization --n 32 64 128 --p 0 0.1 0.3 0.5
python -m probes.generalization --matched --p 0.1 0.3 0.5 0.7 --draws 16

>>> result = measure(task="ridge", p=0.5, n=[6, 8], draws=2, steps=20)
>>> result.summary["n"].tolist()
[6, 8]
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import tyro

from probes.cells.cell import Cell
from probes.cells.matched_controls import (
    QUANTITIES,
    ControlCell,
    decide,
    match,
    measure_controls,
)
from probes.cells.run_cell import CellRun
from probes.cli.measures import MeasureGeneralization
from probes.cli.probe import Probe
from probes.cli.stability_settings import StabilitySettings
from probes.cli.text_options import TextOptions
from probes.jobs.amounts import how_many
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import RunJob, Tables
from probes.jobs.validation import require
from probes.metrics.confidence_intervals import means
from probes.metrics.inference_names import network_name
from probes.results.answer_words import (
    MATCHED_VERDICTS,
    differences_in_words,
    draws_in_words,
    ends_in_words,
    intervals_in_words,
)
from probes.results.first_screen import MOST_ROWS
from probes.results.json_records import as_json
from probes.results.matched_comparison import MatchedComparison
from probes.results.result import caveats
from probes.results.stability_result import POINT, StabilityResult
from probes.results.stability_text import bound_in_words
from probes.results.text_tables import (
    TextTable,
    averages,
    decimals,
    leading,
    rates,
    train_losses,
    with_interval,
)

if TYPE_CHECKING:
    from figures.style import Drawing


@dataclass(frozen=True)
class GeneralizationSettings(TextOptions, EngineOptions):
    """Measure the generalization gap over p and n, or compare p with p = 0 at equal train loss."""

    p: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7)
    """Dropout rates in [0, 1); with --matched, those that are compared with the controls."""

    n: tuple[int, ...] = (64,)
    """Numbers of training examples."""

    matched: bool = False
    """Compare each p with p = 0 stopped early, with weight decay, with a smaller learning rate and
    with its update shrunk, at the train loss that p reached."""

    ensemble: tuple[int, ...] = ()
    """Sizes N of test-time ensembles to measure as well; not with --matched."""

    task: str = "digits"
    """What is learned: digits, breast_cancer, ridge, tweets, or text (a file of your own)."""

    draws: int = 8
    """Number of independent training sets S; intervals are over these."""

    rank: int | None = None
    """Rank r of the update. Default: the task's."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    lr: float | None = None
    """Learning rate. Default: the task's."""

    delta: float = 0.05
    """Failure probability of the bounds, in (0, 1]."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/generalization from the
    command line, none from Python."""

    def cells(self) -> list[Cell]:
        """Check every value and return the cells of the grid.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(len(self.n) > 0, "n", "at least one value", "none")
        if self.matched:
            require(all(p > 0 for p in self.p), "p", "above 0 with --matched", min(self.p))
            require(not self.ensemble, "ensemble", "left out with --matched", self.ensemble)
        return [
            cell
            for n in dict.fromkeys(self.n)
            for cell in StabilitySettings(
                p=self.p, ensemble=self.ensemble, task=self.task, n=n, draws=self.draws,
                rank=self.rank, steps=self.steps, lr=self.lr, delta=self.delta, seed=self.seed,
                **self.text_options, **self.engine_settings,
            ).cells()
        ]  # fmt: skip

    def control_cells(self) -> list[ControlCell]:
        """Check every value and return one cell a draw and size, for ``--matched``."""
        first = self.p[0] if self.p else None
        tried = tuple(dict.fromkeys(float(p) for p in self.p))
        return [ControlCell(cell, tried) for cell in self.cells() if cell.p == first]


class GapResult(StabilityResult):
    """The gap over p and n, beside Theorem 4.4: a stability result that says and draws that."""

    name = "generalization"
    question = "Generalization gap"

    @property
    def setting(self) -> str:
        """Task, training and draws; n stands in the rows."""
        first = self.rows.iloc[0]
        return (
            f"{first['task']}, rank {first['rank']}, {how_many(first['steps'], 'step')}, "
            f"learning rate {first['lr']:g}, {draws_in_words(self.draw_count)}, "
            f"objective {first['objective']}"
        )

    @property
    def finding(self) -> str:
        """How large the gap is at both ends of the grid, and what the bound says of it."""
        known = self.summary[self.summary["ensemble"] == 0]
        said = ends_in_words(known, "gap", lambda row: f"n = {row['n']}, p = {row['p']:g}")
        return f"Test loss less train loss is {said or 'not known'}. {self._worth}."

    @property
    def _worth(self) -> str:
        """The bound of Theorem 4.4 where it is least beside the largest loss there."""
        known = self._bound_and_ceiling
        ratio = known["bound"] / known["loss_bound_used"]
        if not ratio.notna().any():
            return "Theorem 4.4 has no value at any λ tried"
        least = known.iloc[int(ratio.argmin())]
        bound, largest = float(least["bound"]), float(least["loss_bound_used"])
        if np.isinf(bound):
            return "The bound of Theorem 4.4 is infinite: it says nothing"
        said, ceiling = f"{bound:.3g}", f"{largest:.3g}"
        there = "the largest loss there" + ("" if said == ceiling else f", {ceiling}")
        if bound < largest:
            return f"The bound of Theorem 4.4 is at best {said}, below {there}"
        how = "at least" if said == ceiling else "above"
        return f"The bound of Theorem 4.4 is at best {said}, {how} {there}: it says nothing"

    def brief(self) -> pd.DataFrame:
        """The gap and its bound before the losses."""
        first = ["n", "p", "inference", "N", "gap", "Theorem 4.4", "C"]
        text = self.text()
        return leading(text if (text["N"] != "").any() else text.drop(columns="N"), first)

    def text(self) -> pd.DataFrame:
        """The gap and its bounds as they are printed."""
        joined = self._bound_and_ceiling
        return pd.DataFrame(
            {
                "n": joined["n"].astype(str),
                "p": rates(joined["p"]),
                "inference": joined["inference"],
                "N": joined["ensemble"].map(lambda size: str(size) if size else ""),
                "train loss": train_losses(joined),
                "test loss": averages(joined, "test_loss"),
                "gap": with_interval(joined, "gap"),
                "without test set": with_interval(joined, "gap_estimate"),
                "Theorem 4.4": joined["bound"].map(bound_in_words),
                "C": joined["loss_bound_used"].map("{:.4g}".format),
            }
        )

    def text_tables(self) -> list[TextTable]:
        """The gap with its bounds, and the audit."""
        caption = (
            "means over draws, 95 % intervals (Student); the least bound over λ = "
            f"{', '.join(f'{value:g}' for value in self.strengths)}, which is a curve and no "
            "theorem for this objective; – where the regularized Hessian is positive for none; a "
            "bound of at least C says nothing"
        )
        said = "; ".join([caption, *caveats(self.table)])
        return [
            TextTable(self.text(), f"{self.question}\n{self.setting}", said),
            TextTable(self.audit, "Audit of the assumptions, over all cells"),
        ]

    def plot(self) -> "Drawing":
        """Draw the gap against n, with the bound of Theorem 4.4 at the largest lambda."""
        from figures.generalization import draw

        strength = max(self.strengths)
        largest = self.bound_summary[self.bound_summary["strength"] == strength]
        points = self._with_bound(largest, "mean")
        intervals = intervals_in_words(self.draw_count)
        caption = f"{self.setting}, {network_name(points['inference'].iloc[0])}; {intervals}"
        shown = points[points["ensemble"] == 0].sort_values(["p", "n"], kind="stable")
        if self.summary["ensemble"].any():
            caption += "; ensembles stand in the table alone"
        return draw(shown, caption, strength, self.delta).titled(self.answer)

    def figures(self) -> "dict[str, Drawing]":
        """The gap against n."""
        return {self.name: self.plot()}

    @property
    def _bound_and_ceiling(self) -> pd.DataFrame:
        """The summary with the least bound over λ, and C."""
        ceilings = self.table.groupby(POINT, sort=False)["loss_bound_used"].mean().reset_index()
        return self._with_bound(self.bound_summary, "min").merge(ceilings, how="left")

    def _with_bound(self, bounds: pd.DataFrame, how: str) -> pd.DataFrame:
        theorem = bounds[bounds["statement"] == "Theorem 4.4"]
        least = theorem.groupby(POINT)["bound"].agg(how).reset_index()
        return self.summary.merge(least, how="left")


class MatchedResult(MatchedComparison):
    """Dropout against its controls at equal train loss.

    One row a trained, stopped or shrunk network: see
    :func:`probes.cells.matched_controls.measure_controls`.
    """

    name = "matched"
    question = "Does LoRA Dropout buy stability beyond fitting less?"
    note = (
        "difference: control less dropout, paired over the draws in which the control passed "
        "through dropout's train loss, 95 % intervals (Student); * and verdict: at 5 % for all "
        "rows of the table together (Holm); diverged: draws in which dropout did; at a train loss "
        "near 0, β is the leave-one-out loss"
    )

    @property
    def setting(self) -> str:
        """Task, training and draws; n, where there are several, stands in the rows."""
        first, sizes = self.rows.iloc[0], self.rows["n"].unique()
        n = f"n = {sizes[0]}, " if len(sizes) == 1 else ""
        return (
            f"{first['task']}, {n}rank {first['rank']}, {how_many(first['steps'], 'step')}, "
            f"learning rate {first['lr']:g}, {draws_in_words(self.draw_count)}"
        )

    @property
    def finding(self) -> str:
        """In how many comparisons dropout is stabler than a control, and in how many not."""
        return _counted(self.summary)

    def brief(self) -> pd.DataFrame:
        """The decision on stability; of many rows, against the stablest control at each n and p."""
        text = self.text()[["n", "p", "control", "difference", "verdict", "dropout", "p = 0"]]
        if not self._has_many_rows:
            return text
        order = self.summary.sort_values("difference", kind="stable")
        return text.loc[sorted(order.groupby(["n", "p"]).head(1).index)]

    @property
    def said_of_brief(self) -> str:
        """Which of the controls the first screen has."""
        return "of the controls the one with the smallest β" if self._has_many_rows else ""

    @property
    def _has_many_rows(self) -> bool:
        return len(self.summary) > MOST_ROWS

    @cached_property
    def matched(self) -> pd.DataFrame:
        """One row a size, draw, rate and control: see ``probes.cells.matched_controls.match``."""
        return match(self.rows)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The decision on beta."""
        return self.decision("beta")

    def decision(self, quantity: str = "beta") -> pd.DataFrame:
        """One row a size, rate and control: see ``probes.cells.matched_controls.decide``.

        Raises:
            ValueError: no such quantity.
        """
        if quantity not in QUANTITIES:
            raise ValueError(f"quantity must be one of {', '.join(QUANTITIES)}; got {quantity!r}")
        return decide(self.matched, quantity)

    def text(self, quantity: str = "beta") -> pd.DataFrame:
        """The decision on a quantity as it is printed."""
        decision = self.decision(quantity)
        return pd.DataFrame(
            {
                "n": decision["n"].astype(str),
                "p": rates(decision["p"]),
                "control": decision["variant"],
                "draws": decision["difference_draws"].astype(str),
                "diverged": decision["diverged"].astype(str),
                "train loss": train_losses(decision),
                "dropout": decimals(decision["dropout"]),
                "p = 0": decimals(decision["control"]),
                "difference": with_interval(
                    decision.drop(columns="difference_draws"), "difference"
                ),
                "verdict": decision["verdict"].map(MATCHED_VERDICTS),
            }
        )

    def text_tables(self) -> list[TextTable]:
        """The decisions on stability and on the gap."""
        first = self.rows.iloc[0]
        where = (
            f"{first['task']}, {how_many(first['steps'], 'step')}, learning rate {first['lr']:g}; "
            "p against p = 0 at the same train loss"
        )
        return [
            TextTable(
                self.text(quantity),
                f"Does LoRA Dropout buy {name} beyond fitting less?\n{where}",
                self.caption,
            )
            for quantity, name in (("beta", "stability β"), ("gap", "generalization gap"))
        ]

    def plot(self) -> "Drawing":
        """Draw beta against train loss, for dropout and every control, at the smallest n."""
        from figures.matched import draw

        rows = self.rows[self.rows["n"] == self.rows["n"].min()]
        decision = self.summary[self.summary["n"] == self.summary["n"].min()]
        points = means(rows, ["variant", "value"], ["train_loss", "beta"])
        first = rows.iloc[0]
        caption = (
            f"{first['task']}, n = {_smallest(self.rows['n'])}, {draws_in_words(self.draw_count)}, "
            f"objective dropout, expected-weight network, {how_many(first['steps'], 'step')}, "
            f"learning rate {first['lr']:g}; {differences_in_words(self.draw_count)}"
        )
        return draw(points, decision, caption).titled(_counted(decision))

    def to_json(self) -> str:
        """Return the decisions on all quantities as a JSON document."""
        return as_json({name: self.decision(name) for name in QUANTITIES})


def _smallest(sizes: pd.Series) -> str:
    """The smallest size, and where there are several, of which."""
    known = sorted(sizes.unique())
    of = f", the smallest of {', '.join(map(str, known))}" if len(known) > 1 else ""
    return f"{known[0]}{of}"


def _counted(decision: pd.DataFrame) -> str:
    """In how many of the comparisons dropout is stabler than a control, and in how many not."""
    counts = decision["verdict"].value_counts()
    more = [
        f"{name} in {counts[key]}"
        for key, name in (
            ("control", "a larger one"), ("undecided", "undecided"),
            ("not reached", "not comparable"),
        )
        if counts.get(key, 0)
    ]  # fmt: skip
    return (
        f"At equal train loss, dropout has a smaller β than a network without it in "
        f"{counts.get('dropout', 0)} of {how_many(len(decision), 'comparison')}"
        + (f" ({', '.join(more)})." if more else ".")
    )


def _cells(settings: GeneralizationSettings) -> Sequence[Cell | ControlCell]:
    return settings.control_cells() if settings.matched else settings.cells()


def _run(settings: GeneralizationSettings) -> RunJob[Any]:
    return measure_controls if settings.matched else CellRun(processes=settings.workers)


def _result(settings: GeneralizationSettings, tables: Tables) -> GapResult | MatchedResult:
    if settings.matched:
        return MatchedResult.of(tables)
    return GapResult.of(tables, delta=settings.delta)


PROBE = Probe("generalization", GeneralizationSettings, cells=_cells, run=_run, result=_result)
measure: MeasureGeneralization[GapResult | MatchedResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

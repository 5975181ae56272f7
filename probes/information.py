"""Which bound says something about a real network? Information of the selection, by replicas.

python -m probes.information
python -m probes.information --task breast_cancer --n 32 64 --p 0 0.5 --draws 8
python -m probes.information --matched --n 64 --p 0.1 0.3 --draws 8

>>> result = measure(task="breast_cancer", p=0.5, n=8, draws=2, steps=20, selections=8)
>>> result.summary["name"].unique().tolist()[:4]
['f-CMI', 'e-CMI', 'ld-CMI', 'binary kl']
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

from probes.cells.bounded_loss import CLIPPED, LOSSES, ZERO_ONE
from probes.cells.information_bounds import STRENGTHS, WITHOUT_CHANCE
from probes.cells.information_cell import InformationCell, measure_information
from probes.cells.matched_information import MatchedInformationCell, measure_matched
from probes.cli.measures import MeasureInformation
from probes.cli.probe import Probe
from probes.cli.stability_settings import StabilitySettings
from probes.cli.text_options import TextOptions
from probes.jobs.amounts import how_many
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import RunJob, Tables
from probes.jobs.validation import check_count, check_one_of, require
from probes.metrics.confidence_intervals import means
from probes.metrics.inference_names import named_inference
from probes.metrics.multiple_comparisons import LEVEL
from probes.results.answer_words import (
    draws_in_words,
    in_draws,
    intervals_in_words,
    listed,
    times,
)
from probes.results.matched_information import MatchedInformationResult, loss_in_words
from probes.results.result import Result, pool_as_drawn
from probes.results.text_tables import rates, with_interval
from probes.tasks import load_task

if TYPE_CHECKING:
    from figures.style import Drawing

#: What identifies a point of the grid, and a bound there.
POINT = ["task", "loss", "n", "p", "inference", "ensemble"]
#: Of the paper; it applies where the curvature is positive.
PAPER = "Theorem 4.4"
#: Of the paper too; of training with masks they are no theorems, and nothing violates them.
CURVES = (PAPER, "Lemma 4.3")
QUANTITIES = (
    "bound", "bound_half", "gap", "gap_test", "train_loss", "test_loss", "information",
    "information_bias", "rounding", "loss_bound", "largest_loss",
)  # fmt: skip


@dataclass(frozen=True)
class InformationSettings(TextOptions, EngineOptions):
    """Bound the generalization gap by what losses tell about which half of the data was trained on,
    beside Theorem 4.4."""

    p: tuple[float, ...] = (0.0, 0.1, 0.3)
    """Dropout rates in [0, 1)."""

    n: tuple[int, ...] = (32, 64, 128)
    """Numbers of training examples; a draw takes n pairs of examples."""

    selections: int = 128
    """Number K of selections, each with a network of its own; a multiple of 4. More of them make
    the bounds smaller and more accurate."""

    loss: str | None = None
    """0-1 (whether the class is wrong) or clipped (the task's loss, at most C). Default: 0-1 where
    the task has classes."""

    loss_bound: float | None = None
    """Loss clipped: its largest value C. Default: the largest loss of a draw's networks on its
    pairs."""

    bins: int = 4
    """Loss clipped: number of values that it is rounded to. The error of rounding is added to the
    bounds."""

    matched: bool = False
    """Compare each p above 0 with p = 0 stopped early, with weight decay and with its update
    shrunk, at the train loss and at the train error that p reached."""

    ensemble: tuple[int, ...] = ()
    """Sizes N of test-time ensembles to measure beside the expected-weight network; not with
    --matched."""

    task: str = "digits"
    """What is learned: digits, breast_cancer, ridge, tweets, or text (a file of your own)."""

    draws: int = 5
    """Number of independent supersamples; intervals are over these."""

    rank: int | None = None
    """Rank r of the update. Default: the task's."""

    steps: int | None = None
    """Optimizer steps. Default: the task's."""

    lr: float | None = None
    """Learning rate. Default: the task's."""

    delta: float = 0.05
    """Failure probability of Theorem 4.4 and Lemma 4.3, in (0, 1]; the other bounds are on the
    expected gap."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/information from the command
    line, none from Python."""

    def cells(self) -> list[InformationCell]:
        """Check every value and return the cells of the grid.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(len(self.n) > 0, "n", "at least one value", "none")
        check_count("selections", self.selections, least=4)
        require(self.selections % 4 == 0, "selections", "a multiple of 4", self.selections)
        require(2 <= self.bins <= 256, "bins", "from 2 to 256", self.bins)
        bases = [
            cell
            for n in dict.fromkeys(self.n)
            for cell in StabilitySettings(
                p=self.p, ensemble=self.ensemble, task=self.task, n=n, draws=self.draws,
                rank=self.rank, steps=self.steps, lr=self.lr, delta=self.delta, seed=self.seed,
                loss_bound=self.loss_bound, **self.text_options, **self.engine_settings,
            ).cells()
        ]  # fmt: skip
        loss = self._checked_loss()
        return [
            InformationCell(base, self.selections, loss, self.bins, self.delta) for base in bases
        ]

    def matched_cells(self) -> list[MatchedInformationCell]:
        """Check every value and return one cell a draw and size, for ``--matched``.

        Raises:
            ValueError: as for :meth:`cells`, or there is nothing to compare.
        """
        require(not self.ensemble, "ensemble", "left out with --matched", self.ensemble)
        rates = tuple(dict.fromkeys(float(p) for p in self.p if p > 0))
        cells = self.cells()
        require(len(rates) > 0, "p", "above 0 at least once with --matched", self.p)
        first = self.p[0]
        return [
            MatchedInformationCell(cell.base, rates, cell.selections, cell.loss, cell.bins)
            for cell in cells
            if cell.base.p == first
        ]

    def _checked_loss(self) -> str:
        task = load_task(self.task, self.text_source(self.task))
        # A pair each, and one example at least that no network has seen.
        largest = (len(task) - 1) // 2
        for n in self.n:
            allowed = f"from 2 to {largest}, as {self.task} has {len(task)} examples and n is pairs"
            require(n <= largest, "n", allowed, n)
        labelled = task.loss.score_name == "accuracy"
        loss = self.loss or (ZERO_ONE if labelled else CLIPPED)
        check_one_of("loss", loss, LOSSES if labelled else (CLIPPED,))
        given = self.loss_bound
        require(given is None or loss == CLIPPED, "loss_bound", "left out for loss 0-1", given)
        return loss


class InformationResult(Result):
    """One row a supersample, rate and bound: see ``information_cell.measure_information``."""

    name = "information"
    examples_of_each = 2
    question = "Which bound on the generalization gap says something?"

    @property
    def note(self) -> str:
        """What one must know to read the table."""
        first = self.rows.iloc[0]
        return (
            "means over draws, each with selections, start and masks of its own; the 95 % "
            "intervals (Student) cover what differs between draws and the chance in the K = "
            f"{first['selections']} selections, but not the bias: information is estimated too "
            f"large by up to about {self._bias():.2g} nats, which makes bounds larger, as the "
            "column K/2 shows; gap: on the other example of each pair; held out: on examples in "
            "no pair; of Theorem 4.4 and Lemma 4.3 the gap is that of one network; Theorem 4.4 at "
            f"the best of λ = {', '.join(f'{one:g}' for one in STRENGTHS)}, with η and Λ_min of "
            "the task's loss; vacuous: at least C, or at least the largest loss that was seen"
        )

    def _bias(self) -> float:
        """Largest mean of the first-order bias of the information in a row."""
        return float(np.nan_to_num(self.rows["information_bias"]).max())

    @property
    def setting(self) -> str:
        """Task, loss, training and draws; n stands in the rows."""
        first = self.rows.iloc[0]
        return (
            f"{first['task']}, {loss_in_words(first)}, rank {first['rank']}, "
            f"{how_many(first['steps'], 'step')}, learning rate {first['lr']:g}, "
            f"K = {first['selections']} selections, {draws_in_words(self.draw_count, 'n pairs')}"
        )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a point of the grid and bound: means over draws, 95 % Student intervals.

        Beside the means of ``QUANTITIES``: ``ratio`` (bound / gap), ``margin`` (bound less the gap
        with held-out examples; ``margin_holm`` is the p-value of 0), ``exceeded`` (draws whose gap
        is above the bound), ``vacuous`` (bound at least C, or at least the largest loss that was
        seen, however large a C was given), and ``verdict``:

        - "violated" where the margin is below 0 at ``LEVEL`` for all rows together, or where a
          bound of ``WITHOUT_CHANCE`` is below its gap, which arithmetic excludes;
        - "vacuous" or "holds" otherwise; for Theorem 4.4 and Lemma 4.3, whose premises dropout
          does not meet, "exceeded" where the margin is below 0 and "not exceeded" in the place of
          "holds";
        - "does not apply" where the bound has no value ("no error" needs a train loss of 0,
          Theorem 4.4 a positive curvature), "not measured" where a network diverged in every draw.
        """
        rows = _where_it_applies(pool_as_drawn(self.rows, self.examples_of_each))
        # What rounding of sums of K n numbers may do.
        rounding = rows["bound"] * 1e-9 + 1e-12
        margin = rows["bound"] - rows["gap_test"]
        rows = rows.assign(
            margin=margin.mask(margin.abs() <= rounding, 0.0),
            exceeded=rows["gap"] > rows["bound"] + rounding,
        )
        keys = [*POINT, "name"]
        table = means(rows, keys, QUANTITIES, ["margin"])
        exceeded = rows.groupby(keys, sort=False)["exceeded"].sum().to_numpy()
        table = table.assign(
            exceeded=exceeded, ratio=table["bound"] / table["gap"].where(table["gap"] > 0),
            vacuous=table["bound"] >= _ceiling(table),
        )  # fmt: skip
        return table.assign(verdict=[_verdict(row) for row in table.to_dict("records")])

    def brief(self) -> pd.DataFrame:
        """One row a size and rate: the smallest bound that says something, and Theorem 4.4."""
        shown = self.summary[self.summary["verdict"] != "does not apply"].reset_index(drop=True)
        text = self.text().reset_index(drop=True)
        # A bound that says nothing, or applies in some draws alone, is named if there is no other.
        rank = shown.assign(
            worse=(shown["verdict"] != "holds") | (shown["bound_draws"] < shown["gap_draws"].max())
        )
        order = rank.sort_values(["worse", "bound"], kind="stable").groupby(POINT, sort=False)
        least = order.head(1).sort_index()
        paper = shown[shown["name"] == PAPER].set_index(POINT)["bound"]
        points = least[POINT].itertuples(index=False, name=None)
        names = ["n", "p", "inference", "statement", "bound", "gap", "verdict"]
        brief = text.loc[least.index, [name for name in names if name in text]]
        brief[PAPER] = [f"{paper[point]:.4g}" if point in paper else "–" for point in points]
        return brief.reset_index(drop=True)

    @property
    def said_of_brief(self) -> str:
        """Which bounds the first screen has."""
        return "the smallest bound of each row; –: no bound, as the curvature is negative"

    def text(self) -> pd.DataFrame:
        """The summary as it is printed, without bounds that apply nowhere."""
        shown = self.summary[self.summary["verdict"] != "does not apply"]
        several = shown["inference"].nunique() > 1
        networks = [
            named_inference(one, size)
            for one, size in zip(shown["inference"], shown["ensemble"], strict=True)
        ]
        return pd.DataFrame(
            {"n": shown["n"].astype(str), "p": rates(shown["p"])}
            | ({"inference": networks} if several else {})
            | {
                "statement": shown["name"],
                "train loss": [f"{value:.4f}" for value in shown["train_loss"]],
                "gap": with_interval(shown, "gap"),
                "held out": [_or_dash(value, "{:.4f}") for value in shown["gap_test"]],
                "bound": with_interval(shown, "bound"),
                "at K/2": [_or_dash(value, "{:.4f}") for value in shown["bound_half"]],
                "ratio": [_or_dash(value, "{:.3g}") for value in shown["ratio"]],
                "verdict": shown["verdict"],
            }
        )

    @property
    def finding(self) -> str:
        """At how many sizes and rates a bound says something, and how close the smallest comes."""
        points = self.summary[self.summary["ensemble"] == 0]
        keys = ["n", "p"]
        holds = points[points["verdict"] == "holds"]
        told, of = len(holds[keys].drop_duplicates()), len(points[keys].drop_duplicates())
        first = f"A bound says something at {told} of {how_many(of, 'setting')} of n and p"
        # A bound that applies in some draws alone is compared with the gap of these.
        everywhere = holds[holds["bound_draws"] == points["gap_draws"].max()]
        least = everywhere.loc[everywhere.groupby(keys)["bound"].idxmin()]
        # A gap of 0 has no multiples, and the next bound is not the smallest.
        least = least[np.isfinite(least["ratio"])]
        if not len(least):
            return f"{first}."
        names = listed([f"“{name}”" for name in least["name"].unique()])
        ends = dict.fromkeys(times(ratio) for ratio in (least["ratio"].min(), least["ratio"].max()))
        return f"{first}; the smallest is {' to '.join(ends)} times the gap ({names})."

    @property
    def conclusion(self) -> str:
        """Which bounds say something, and how close the closest comes."""
        table = self.summary[np.isfinite(self.summary["bound"])]
        lines = []
        for (n, p), point in table.groupby(["n", "p"], sort=False):
            said = point[(point["verdict"] == "holds") & (point["ensemble"] == 0)]
            if not len(said):
                lines.append(f"n = {n}, p = {p:g}: no bound says anything.")
                continue
            # A bound that applies in some draws alone is compared with the gap of these.
            everywhere = said[said["bound_draws"] == point["bound_draws"].max()]
            known = everywhere if len(everywhere) else said
            least = known.loc[known["bound"].idxmin()]
            which = (
                "of those that apply in all draws the smallest is"
                if len(everywhere)
                else "none applies in all draws, and the smallest is"
            )
            lines.append(
                f"n = {n}, p = {p:g}: {how_many(len(said), 'bound says', 'bounds say')} "
                f"something; {which} {least['name']}, {least['bound']:.3g} for a gap of "
                f"{least['gap']:.3g}{in_draws(least, 'bound')}."
            )
        return "\n".join(lines)

    def plot(self) -> "Drawing":
        """Draw the gap and every bound, over n and over p."""
        from figures.information import draw

        first = self.rows.iloc[0]
        caption = (
            f"{first['task']}, {loss_in_words(first)}, {how_many(first['steps'], 'step')}, "
            f"learning rate {first['lr']:g}; {how_many(self.draw_count, 'supersample')}, K = "
            f"{first['selections']} selections each, {intervals_in_words(self.draw_count)}; a "
            "bound with a value at one place of a panel stands in the table alone"
        )
        shown = self.summary[self.summary["ensemble"] == 0]
        if (shown["largest_loss"] < shown["loss_bound"]).any():
            caption += "; C: the largest loss that was seen, where that is less"
        return draw(shown.assign(loss_bound=_ceiling(shown)), caption).titled(self.answer)


def _ceiling(table: pd.DataFrame) -> pd.Series:
    """From which value on a bound says nothing."""
    return table[["loss_bound", "largest_loss"]].min(axis=1)


def _where_it_applies(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the gaps of the draws in which a bound has a value: both means are over these.

    That a train loss is 0 depends on the draw, and so does the gap; the held-out gap is then no
    longer comparable.
    """
    applies = np.isfinite(rows["bound"])
    fitted = rows["name"] == "no error"
    return rows.assign(
        gap=rows["gap"].where(applies), gap_test=rows["gap_test"].where(applies & ~fitted)
    )


def _verdict(row: dict[Any, Any]) -> str:
    if not np.isfinite(row["train_loss"]):
        return "not measured"
    if np.isnan(row["bound"]):
        return "does not apply"
    if row["name"] in WITHOUT_CHANCE and row["exceeded"]:
        return "violated"
    curve = row["name"] in CURVES
    if curve and row["margin"] < 0:
        return "exceeded"
    if row["margin"] < 0 and row["margin_holm"] <= LEVEL:
        return "violated"
    if row["vacuous"]:
        return "vacuous"
    return "not exceeded" if curve else "holds"


def _or_dash(value: float, form: str) -> str:
    return "–" if np.isnan(value) else form.format(value)


def _cells(
    settings: InformationSettings,
) -> Sequence[InformationCell | MatchedInformationCell]:
    return settings.matched_cells() if settings.matched else settings.cells()


def _run(settings: InformationSettings) -> RunJob[Any]:
    return measure_matched if settings.matched else measure_information


def _result(
    settings: InformationSettings, tables: Tables
) -> InformationResult | MatchedInformationResult:
    kind = MatchedInformationResult if settings.matched else InformationResult
    return kind.of(tables)


PROBE = Probe("information", InformationSettings, cells=_cells, run=_run, result=_result)
measure: MeasureInformation[InformationResult | MatchedInformationResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

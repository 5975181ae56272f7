"""After everybody is tuned: does LoRA Dropout win, and against whom?

python -m probes.rivals
python -m probes.rivals --task breast_cancer --n 32 64 128 --minutes 20
python -m probes.rivals --method "LoRA Dropout" "weight decay" --draws 16
python -m probes.rivals --task text --data mine.csv --without-beta

>>> result = measure(task="ridge", method="weight decay", n=8, draws=2, tuning_draws=1, steps=10,
...                  trainings=2)
>>> result.summary["method"].tolist()
['LoRA', 'weight decay', 'LoRA, to the end']
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
import tyro

from probes.cells.cell import Cell
from probes.cells.prepare import network_of
from probes.cells.rival_cells import (
    FOLDS,
    SHARES,
    Beside,
    MeasuredCell,
    TuningCell,
    check_size,
    run_rival_cell,
    size_with_folds,
    tried_values,
)
from probes.cells.stopped_training import Setting
from probes.cli.measures import MeasureRivals
from probes.cli.probe import Probe
from probes.cli.stability_settings import StabilitySettings
from probes.cli.text_options import TextOptions
from probes.jobs.amounts import how_many
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import Job, TableKind, Tables
from probes.jobs.sweep import Sweep
from probes.jobs.time_limit import TimeLimit, run_draws
from probes.jobs.validation import check_count, check_one_of, check_seed, require
from probes.metrics.confidence_intervals import means
from probes.metrics.rival_comparison import compare_methods
from probes.metrics.tuned_settings import SETTING, ends_of_the_grid, tuned_settings
from probes.models.network import Network
from probes.results.answer_words import margin_in_words
from probes.results.result import Result
from probes.results.rivals_verdict import BADLY, REFERENCE, counted, doubts, is_dropout, verdict
from probes.results.text_tables import averages, calibration_errors, with_interval
from probes.tasks import load_task
from probes.tasks.labelled_texts import say_once
from probes.training.rival_training import obstacle
from probes.training.rivals import RIVALS

if TYPE_CHECKING:
    from figures.style import Drawing

#: LoRA with a tuned learning rate that is trained to the end: what stopping early adds.
END = "LoRA, to the end"
#: How many methods the first screen has beside LoRA and LoRA Dropout.
FRONT = 5
#: The same as tuning the stopping time of LoRA, which is done for every method.
IMPLIED = "early stopping"
#: Number of the first draw that measures: its start and masks are not those of a draw that tunes.
FIRST_MEASURED = 1000
#: Draws on which all strengths of a method are measured, and not only the tuned one, if there is
#: time; and draws that are measured however long it takes.
FRONTIER_DRAWS, LEAST_DRAWS = 2, 2
#: Share of the time for tuning.
TUNING_TIME = 0.4
QUANTITIES = ("train_loss", "test_loss", "test_score", "gap", "beta", "ece", "ece_floor")
#: Groups of methods, each with a panel of its own in the figure.
FAMILIES = {
    "LoRA": "plain",
    "LoRA Dropout": "LoRA Dropout",
    **dict.fromkeys(("inputs", "rank", "module dropout", "CoTo", "HiddenKey", "noise"),
                    "other random perturbations"),
}  # fmt: skip
WITHOUT_CHANCE = "without chance, and ensembles of networks"


@dataclass(frozen=True)
class RivalsSettings(TextOptions, EngineOptions):
    """Tune every method with the same budget, and compare them on fresh training sets."""

    task: str = "digits"
    """What is learned: digits, breast_cancer, ridge, tweets, or text (a file of your own)."""

    n: tuple[int, ...] = (64,)
    """Numbers of training examples."""

    method: tuple[str, ...] = ()
    """Methods beside LoRA. Default: all that apply to the task."""

    minutes: float = 10.0
    """Time to spend. When it runs out, fewer draws are taken: at least one that tunes and two that
    measure, these at the tuned strengths alone. The same command with --out resumes."""

    draws: int = 12
    """Fresh draws of S on which the tuned methods are measured; at least 2."""

    tuning_draws: int = 10
    """Draws on which methods are tuned, by cross validation."""

    trainings: int = 16
    """Number of trainings of each method on each draw that tunes: strengths times learning rates,
    at least three rates a strength. With fewer trainings, fewer strengths are tried."""

    margin: float = 0.02
    """A method counts as equal to tuned LoRA if their test losses differ by less than this share,
    in (0, 1). Choose it before you look at results. Default: 2 %, within which tuned variants of
    LoRA agree (arXiv 2602.04998)."""

    without_beta: bool = False
    """Do not measure β, which takes n more networks for every strength. A text task then takes
    minutes, not hours."""

    rank: int | None = None
    """Rank r of the update. Default: the task's."""

    steps: int | None = None
    """Largest number of optimizer steps of a training. Default: the task's."""

    lr: float | None = None
    """Smallest learning rate that is tried; the largest is 32 times as large. Default: the
    task's."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/rivals from the command
    line, none from Python."""

    def cells(self) -> list[TuningCell]:
        """Check every value and return the cells that tune, draws outermost.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(0 < self.minutes < float("inf"), "minutes", "positive and finite", self.minutes)
        require(len(self.n) > 0, "n", "at least one value", "none")
        check_count("draws", self.draws, least=LEAST_DRAWS)
        check_count("tuning_draws", self.tuning_draws)
        check_count("trainings", self.trainings)
        require(0 < self.margin < 1, "margin", "in (0, 1)", self.margin)
        check_seed(self.seed)
        task = load_task(self.task, self.text_source(self.task))
        for n in self.n:
            check_size(n, self.task, len(task), self.seed)
        sizes = [self._bases(n) for n in dict.fromkeys(self.n)]
        methods = self._methods(network_of(sizes[0][0]))
        return [
            TuningCell(
                replace(bases[0], draw=draw), "tuning", method,
                *tried_values(method, self.trainings, bases[0].lr, bases[0].rank),
                SHARES, folds=True,
            )
            for draw, bases, method in product(range(self.tuning_draws), sizes, methods)
        ]  # fmt: skip

    @property
    def beside(self) -> Beside:
        """Which networks are trained beside those of S, of which β is made."""
        return "none" if self.without_beta else "examples"

    def _bases(self, n: int) -> list[Cell]:
        return StabilitySettings(
            p=(0.0,), task=self.task, n=n, draws=1, rank=self.rank, steps=self.steps, lr=self.lr,
            seed=self.seed, **self.text_options, **self.engine_settings,
        ).cells()  # fmt: skip

    def _methods(self, network: Network) -> list[str]:
        """LoRA and those that are compared with it."""
        known = tuple(name for name in RIVALS if name != IMPLIED)
        for name in self.method:
            check_one_of("method", name, known)
            reason = obstacle(network, name)
            require(not reason, "method", f"one that applies to {self.task} ({reason})", name)
        if self.method:
            return list(dict.fromkeys([REFERENCE, *self.method]))
        return [name for name in known if not obstacle(network, name)]


@dataclass(frozen=True, repr=False, eq=False)
class RivalsResult(Result):
    """One row a method, setting and fresh draw: see ``probes.cells.rival_cells.measure``.

    The table of kind ``TUNING`` has the draws that tuned.

    Attributes:
        margin: of equivalence, a share of the test loss of tuned LoRA.
    """

    margin: float = field(default=RivalsSettings.margin, kw_only=True)

    name = "rivals"
    question = "After everybody is tuned: does LoRA Dropout win?"

    @property
    def note(self) -> str:
        """How methods were tuned and are compared."""
        tuning = self.more[TableKind.TUNING]
        ends, drawn = self._ends, tuning["draw"].nunique()
        fresh = self.rows["draw"].nunique()
        return (
            f"learning rate, strength and stopping time of every method by {FOLDS}-fold cross "
            f"validation, with n examples to train on{self._fewer}, on "
            f"{how_many(drawn, 'draw')} from {self._tuning_pool} examples that measure "
            f"nothing; means over {fresh} fresh draws from the others, 95 % intervals (Student); "
            "less LoRA: paired over draws; *: not 0, at 5 % for all methods of an n together "
            f"(Holm); equal: within {margin_in_words(self.margin)} of LoRA's test loss, likewise "
            "(two one-sided tests); ECE (of a calibrated predictor on average); passes: of "
            "training, in those of a step of LoRA"
            + (f"; tuned to an end of what was tried: {ends}" if ends else "")
        )

    @property
    def _tuning_pool(self) -> int:
        return int(self.more[TableKind.TUNING]["pool"].iloc[0])

    @property
    def _fewer(self) -> str:
        """Where the part that tunes is too small for it, how many examples there were."""
        pool, trained = self._tuning_pool, (FOLDS - 1) / FOLDS
        sizes = {int(n): round(size_with_folds(n, pool) * trained) for n in self.rows["n"].unique()}
        said = [f"{seen} at n = {n}" for n, seen in sizes.items() if seen < n - 1]
        return f" ({', '.join(said)}: there are no more)" if said else ""

    @cached_property
    def tuned(self) -> pd.DataFrame:
        """One row a size, method and strength: see ``probes.metrics.tuned_settings``.

        ``chosen`` marks the strength of each method; a method of its own is LoRA that is trained to
        the end.
        """
        return choose(self.more[TableKind.TUNING])

    @cached_property
    def chosen_rows(self) -> pd.DataFrame:
        """The rows of the tuned settings, one a size, method and draw."""
        return labelled(self.rows, self.tuned[self.tuned["chosen"]])

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a size and tuned method.

        The setting (``strength``, ``lr``, ``stop``), ``passes`` and ``test_passes``, means of
        ``QUANTITIES``, ``difference`` of the test loss to tuned LoRA and ``beta_difference``, with
        the columns of ``probes.metrics.rival_comparison.compare_methods``.
        """
        parts = []
        for n, rows in self.chosen_rows.groupby("n", sort=False):
            found = means(rows, ["method"], _measured(rows))
            compared_too = {"test_loss": ""} | ({"beta": "beta_"} if "beta" in rows else {})
            for quantity, prefix in compared_too.items():
                compared = compare_methods(rows, REFERENCE, self.margin, quantity)
                names = {name: f"{prefix}{name}" for name in compared if name != "method"}
                found = found.merge(
                    compared.drop(columns="draws").rename(columns=names), how="left", on="method"
                )
            first = rows.drop_duplicates("method")
            settings = first[["method", "strength", "lr", "stop", "passes", "test_passes"]]
            parts.append(settings.merge(found, on="method").assign(n=n))
        return pd.concat(parts, ignore_index=True)

    @cached_property
    def frontier(self) -> pd.DataFrame:
        """One row a size, method and strength (of LoRA, stopping time): means of ``QUANTITIES``.

        Over the draws that measured every strength: one that has more would be no point of a curve.
        """
        tuned = self.tuned[self.tuned["method"] != END]
        parts = []
        for setting in tuned.to_dict("records"):
            same = ["n", "method", "strength", "lr"]
            if setting["method"] != REFERENCE:
                same.append("share")
            own = np.logical_and.reduce([self.rows[name] == setting[name] for name in same])
            parts.append(self.rows[own])
        rows = pd.concat(parts, ignore_index=True)
        first = sorted(rows["draw"].unique())[:FRONTIER_DRAWS]
        shown = rows[rows["draw"].isin(first)]
        return means(shown, ["n", "method", "strength", "share"], _measured(shown))

    @property
    def contender(self) -> dict[int, str]:
        """By size, the form of LoRA Dropout with the least loss on the draws that tuned.

        Where no form of it was asked for, the rival with the least; empty where LoRA is alone.
        """
        rivals = self.tuned[self.tuned["chosen"] & ~self.tuned["method"].isin([REFERENCE, END])]
        forms = rivals[rivals["method"].map(is_dropout)]
        asked = rivals if forms.empty else forms
        best = asked.loc[asked.groupby("n", sort=False)["validation_loss"].idxmin()]
        return {int(n): str(method) for n, method in zip(best["n"], best["method"], strict=True)}

    def text(self) -> pd.DataFrame:
        """The summary as it is printed, the least test loss first."""
        summary = self.summary.sort_values(["n", "test_loss"], kind="stable", ignore_index=True)
        differences = summary.drop(columns="difference_draws")
        table = pd.DataFrame(
            {
                "n": summary["n"].astype(str),
                "method": summary["method"],
                "strength": [
                    "" if RIVALS.get(method, RIVALS[REFERENCE]).strengths == (0.0,) else f"{one:g}"
                    for method, one in zip(summary["method"], summary["strength"], strict=True)
                ],
                "lr": summary["lr"].map("{:.2g}".format),
                "stop": summary["stop"].astype(str),
                "test loss": averages(summary, "test_loss"),
                "less LoRA": [
                    "" if method == REFERENCE else text
                    for method, text in zip(
                        summary["method"], with_interval(differences, "difference"), strict=True
                    )
                ],
                "verdict": summary["verdict"].fillna(""),
                "score": averages(summary, "test_score", 3),
                "gap": averages(summary, "gap", 3),
                "β": averages(summary, "beta", 3) if "beta" in summary else "",
                "ECE": calibration_errors(summary),
                "passes": [
                    f"{passes}" + (f", {test} a prediction" if test > 1 else "")
                    for passes, test in zip(summary["passes"], summary["test_passes"], strict=True)
                ],
            }
        )
        return table if "beta" in summary else table.drop(columns="β")

    def brief(self) -> pd.DataFrame:
        """The methods in front, LoRA, and all that are LoRA Dropout; of several n, three each."""
        text = self.text()
        if text["n"].nunique() > 1:
            sure = text["method"].isin([REFERENCE, *self.contender.values()])
            front = text.groupby("n").cumcount() < 1
        else:
            sure = (text["method"] == REFERENCE) | text["method"].str.startswith("LoRA Dropout")
            front = text.groupby("n").cumcount() < FRONT
        return text[sure | front]

    @property
    def said_of_brief(self) -> str:
        """Which methods the first screen has, where these are not all."""
        shown, known = len(self.brief()), len(self.summary)
        said = f"{shown} of {known} rows: those in front, and what is compared"
        return said if shown < known else ""

    @property
    def setting(self) -> str:
        """Task, training and draws; n stands in the rows."""
        first = self.rows.iloc[0]
        return (
            f"{first['task']}, rank {first['rank']}, at most {how_many(first['steps'], 'step')}, "
            f"{self.rows['draw'].nunique()} fresh draws of S"
        )

    @property
    def conclusion(self) -> str:
        """Who wins, who is as good and cheaper, and at which n."""
        if not self.contender:
            return "LoRA alone was measured: name a method beside it."
        task = str(self.rows["task"].iloc[0])
        said = verdict(self.summary, self.chosen_rows, self.contender, self.margin, task)
        return " ".join(filter(None, [self.doubt, said]))

    @property
    def doubt(self) -> str:
        """Where LoRA may be tuned badly, as fresh draws tell; "" elsewhere."""
        return " ".join(self._doubts.values())

    @cached_property
    def _doubts(self) -> dict[int, str]:
        tuning = labelled(self.more[TableKind.TUNING], self.tuned[self.tuned["chosen"]])
        return doubts(self.chosen_rows, tuning)

    @property
    def answer_counted(self) -> str:
        """How many methods are better than tuned LoRA at the smallest n, and LoRA Dropout."""
        n = int(self.rows["n"].min())
        summary, rows = (table[table["n"] == n] for table in (self.summary, self.chosen_rows))
        return counted(summary, rows, self.contender.get(n, ""))

    def plot(self) -> "Drawing":
        """Draw test loss, and beta if it was measured, against train loss, at the smallest n."""
        from figures.rivals import draw

        n = self.rows["n"].min()
        frontier = self.frontier[self.frontier["n"] == n]
        tuned = self.summary[self.summary["n"] == n]
        families = {name: family_of(name) for name in tuned["method"]}
        several = self.rows["n"].nunique() > 1
        shown = f"n = {n}, the smallest of those measured" if several else f"n = {n}"
        curves = (
            "curves: strengths (LoRA: stopping times), each with its own tuned learning rate, "
            f"means over {min(FRONTIER_DRAWS, self.rows['draw'].nunique())} draws"
        )
        tried = self.tuned[(self.tuned["n"] == n) & ~self.tuned["method"].isin([REFERENCE, END])]
        if len(tried) > (frontier["method"] != REFERENCE).sum():
            curves = "for the other strengths there was no time"
        caption = (
            f"{self.setting}, {shown}; {curves}; large marks: the tuned strength with its 95 % "
            "interval over all draws"
        )
        return draw(
            frontier.assign(family=frontier["method"].map(families)),
            tuned.assign(family=tuned["method"].map(families)),
            self.margin * float(tuned.loc[tuned["method"] == REFERENCE, "test_loss"].iloc[0]),
            caption,
        ).titled(f"{BADLY}. {self.answer_counted}" if n in self._doubts else self.answer_counted)

    @property
    def _ends(self) -> str:
        """Methods whose tuned setting is an end of the grid, by the end."""
        found = ends_of_the_grid(self.more[TableKind.TUNING], self.tuned, ("n", "method"))
        return "; ".join(
            f"{end} ({', '.join(dict.fromkeys(there['method']))})"
            for end, there in found.items()
            if len(there)
        )


def choose(tuning: pd.DataFrame) -> pd.DataFrame:
    """Choose the settings of every method, and of LoRA that is trained to the end.

    Args:
        tuning: one row a size, method, setting and draw that tunes.

    Returns:
        As of ``probes.metrics.tuned_settings``, with ``n``; ``END`` is a method of its own.
    """
    to_the_end = tuning[(tuning["method"] == REFERENCE) & (tuning["share"] == SHARES[-1])]
    together = pd.concat([tuning, to_the_end.assign(method=END)], ignore_index=True)
    return tuned_settings(together, ("n", "method"))


def labelled(rows: pd.DataFrame, settings: pd.DataFrame) -> pd.DataFrame:
    """Take the rows of some settings, under the settings' names.

    Args:
        rows: one row a size, method, setting and draw.
        settings: ``n``, ``method`` (one that was trained, or ``END``), ``strength``, ``lr``,
            ``share``.

    Returns:
        The rows, in the order of the settings, with ``method`` of the settings.
    """
    asked = settings[["n", "method", *SETTING]].assign(
        trained=settings["method"].replace(END, REFERENCE)
    )
    renamed = rows.rename(columns={"method": "trained"})
    return asked.merge(renamed, how="inner", on=["n", "trained", *SETTING]).drop(columns="trained")


def family_of(method: str) -> str:
    """Say to which panel of the figure a method belongs."""
    if method in (REFERENCE, END):
        return FAMILIES[REFERENCE]
    rule = RIVALS[method].rule
    return WITHOUT_CHANCE if rule == REFERENCE else FAMILIES.get(rule, WITHOUT_CHANCE)


def _measured(rows: pd.DataFrame) -> list[str]:
    """Those of ``QUANTITIES`` that were measured: β may be left out."""
    return [name for name in QUANTITIES if name in rows]


def measured_jobs(
    tuning_cells: Sequence[TuningCell], tuned: pd.DataFrame, draws: int, beside: Beside
) -> list[list[Job]]:
    """Return what is measured on every fresh draw: the tuned settings.

    Args:
        tuning_cells: those that tuned.
        tuned: of :func:`choose`.
        draws: number of fresh draws.
        beside: which networks are trained beside those of S.

    Returns:
        One list of jobs a draw.
    """
    chosen = _settings(tuning_cells, tuned[tuned["chosen"]])
    return [_measured_cells(tuning_cells, chosen, draw, beside) for draw in range(draws)]


def frontier_jobs(
    tuning_cells: Sequence[TuningCell], tuned: pd.DataFrame, beside: Beside
) -> list[list[Job]]:
    """Return what the first ``FRONTIER_DRAWS`` measure for the figure, beside the tuned settings.

    Args:
        tuning_cells, tuned, beside: as for :func:`measured_jobs`.

    Returns:
        One list of jobs a draw: the other strengths of every method, and the other stopping times
        of LoRA.
    """
    chosen = _settings(tuning_cells, tuned[tuned["chosen"]])
    left = {}
    for (n, method), settings in _settings(tuning_cells, tuned).items():
        if method == REFERENCE:
            settings = [replace(settings[0], share=share) for share in SHARES]
        left[n, method] = [one for one in settings if one not in chosen[n, method]]
    return [_measured_cells(tuning_cells, left, draw, beside) for draw in range(FRONTIER_DRAWS)]


#: By size and method.
Settings = dict[tuple[int, str], list[Setting]]


def _settings(tuning_cells: Sequence[TuningCell], tuned: pd.DataFrame) -> Settings:
    """The settings of every method; those of LoRA that is trained to the end are LoRA's."""
    found: Settings = {(cell.base.n, cell.method): [] for cell in tuning_cells}
    for row in tuned.to_dict("records"):
        method = REFERENCE if row["method"] == END else row["method"]
        setting = Setting(*(row[name] for name in SETTING))
        if setting not in found[row["n"], method]:
            found[row["n"], method].append(setting)
    return found


def _measured_cells(
    tuning_cells: Sequence[TuningCell], settings: Settings, draw: int, beside: Beside
) -> list[Job]:
    bases = {(cell.base.n, cell.method): cell.base for cell in tuning_cells}
    return [
        MeasuredCell(
            replace(bases[n, method], draw=FIRST_MEASURED + draw), "measuring", method,
            tuple(asked), beside,
        )
        for (n, method), asked in settings.items()
        if asked
    ]  # fmt: skip


def _gather(settings: RivalsSettings, cells: Sequence[TuningCell], sweep: Sweep) -> Tables:
    """Tune, measure the fewest draws, then what the figure has, then draws while there is time."""
    limit = TimeLimit(60 * settings.minutes)
    by_draw = [
        [cell for cell in cells if cell.base.draw == draw] for draw in range(settings.tuning_draws)
    ]
    tuning = run_draws(by_draw, sweep, limit, share=TUNING_TIME)
    tuned = choose(tuning)
    draws = measured_jobs(cells, tuned, settings.draws, settings.beside)
    first, more = draws[:LEAST_DRAWS], draws[LEAST_DRAWS:]
    left, start = _work(first, sweep), limit.spent
    parts = [run_draws(first, sweep, limit, least=LEAST_DRAWS)]
    if not left:
        # All of it was kept, which says nothing of the time that others take.
        left, start = first[0][0].replica_steps, limit.spent
        sweep.unkept(first[0][:1])
    seconds = (limit.spent - start) / left
    frontier = frontier_jobs(cells, tuned, settings.beside)
    if limit.left < 0:
        say_once(
            f"the fewest draws took {limit.spent / 60:.1f} minutes: fewer --method, or "
            "--without-beta, take less"
        )
    if any(frontier) and limit.fits(seconds * _work(frontier, sweep)):
        parts.append(run_draws(frontier, sweep, limit, least=FRONTIER_DRAWS))
    if more and limit.fits(seconds * _work(more[:1], sweep)):
        whole = seconds * sum(job.replica_steps for job in more[0])
        parts.append(run_draws(more, sweep, limit, longest=whole))
    return {TableKind.ROWS: pd.concat(parts, ignore_index=True), TableKind.TUNING: tuning}


def _work(draws: Sequence[Sequence[Job]], sweep: Sweep) -> int:
    """Size of the work of some draws that is left to do."""
    return sum(job.replica_steps for jobs in draws for job in sweep.left(jobs))


PROBE = Probe(
    "rivals",
    RivalsSettings,
    cells=RivalsSettings.cells,
    run=lambda settings: run_rival_cell,
    result=lambda settings, tables: RivalsResult.of(tables, margin=settings.margin),
    gather=_gather,
)
measure: MeasureRivals[RivalsResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

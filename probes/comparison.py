"""Which bound on the generalization gap says anything, and from which n on?

python -m probes.comparison
python -m probes.comparison --model network --task breast_cancer --p 0.3 --n 32 64 128
python -m probes.comparison --task wine --p 0.3 --strength 1 --n 50 100 200 400

>>> len(measure(n=20, draws=5).summary)
12
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import tyro

from probes.cells import information_bounds, weight_bounds
from probes.cells.weight_bounds import TRAIN_LOSSES, WeightBoundsCell, measure_weight_bounds
from probes.cli.measures import MeasureComparison
from probes.cli.probe import Probe
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.amounts import how_many
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import Progress, RunJob, TableKind, Tables
from probes.jobs.validation import (
    LARGEST_SIZE,
    check_count,
    check_left_out,
    check_one_of,
    check_seed,
    require,
)
from probes.metrics.confidence_intervals import overlap_of
from probes.metrics.exceedances import against_bound
from probes.metrics.multiple_comparisons import LEVEL, holm
from probes.results.answer_words import draws_in_words, share_in_words
from probes.results.json_records import as_json
from probes.results.result import Result, caveats
from probes.results.text_tables import TextTable
from probes.statements import bounds_along_descent as descents
from probes.statements import bounds_at_minimisers as minimisers
from probes.statements.exact_minimisers import TASKS
from probes.statements.setting import Setting
from probes.tasks import load_task
from theory.langford2005 import binomial_tail_bound

if TYPE_CHECKING:
    from figures.style import Drawing

#: Sizes at which the bounds are continued beyond those that are measured.
CONTINUED = tuple(round(10**power) for power in np.arange(1.5, 9.01, 0.25))
MODELS = ("minimiser", "network")
#: Penalties and rates within which Newton's method finds the minimisers.
WEAKEST, STRONGEST, RAREST = 1e-9, 1e9, 1e-6
#: Tasks that networks are trained on here: those with classes and no text.
NETWORK_TASKS = ("digits", "breast_cancer")
#: What is measured if nothing else is asked for, by model: data set, sizes, draws.
DEFAULTS: dict[str, dict[str, Any]] = {
    "minimiser": {"task": "breast_cancer", "n": (50, 100, 200, 400), "draws": 100},
    "network": {"task": "digits", "n": (32, 64, 128, 256), "draws": 4},
}
#: The bounds on minimisers and on SGD, with their references.
BOUNDS = minimisers.BOUNDS | descents.BOUNDS
#: The same for networks.
NETWORK_BOUNDS = information_bounds.BOUNDS | weight_bounds.BOUNDS
#: What a bound for networks speaks of, where it is not the network trained on S.
SPEAKS_OF = {
    **dict.fromkeys(information_bounds.FROM_SELECTIONS, "mean over selections"),
    "leave-one-out CMI": "networks without one example",
    "leave-one-out, no error": "networks without one example",
    weight_bounds.PAC_BAYES: "network with noise",
    weight_bounds.QUANTIZED: "quantized network",
    weight_bounds.TEST_SET: minimisers.SPEAKS_OF[minimisers.TEST_SET],
}
NETWORK = "network"
#: Bounds for networks that hold with probability 1 - delta; the others are on the expected gap.
WITH_CHANCE = ("Theorem 4.4", "Lemma 4.3", weight_bounds.PAC_BAYES, weight_bounds.TEST_SET)
#: Bounds that are C over the root of n times what the network is.
ROOT_BOUNDS = ("Theorem 4.4", weight_bounds.AS_TRAINED, weight_bounds.QUANTIZED)
#: Sizes of a test set beyond which nothing new is learned, and the tail takes seconds to sum.
TESTABLE = 10**6


@dataclass(frozen=True)
class ComparisonSettings(EngineOptions):
    """Compare bounds on the generalization gap: their size, and how often they hold."""

    model: str = "minimiser"
    """minimiser (linear models, the theorem's own objective, the data set's loss) or network (LoRA
    Dropout, 0-1 loss)."""

    task: str | None = None
    """Data set. minimiser: ridge, breast_cancer or wine; network: digits or breast_cancer. Default:
    breast_cancer, and digits for networks."""

    p: float = 0.3
    """Dropout rate: model minimiser from 1e-6 to below 1, model network in [0, 1)."""

    strength: float = 1.0
    """Model minimiser: lambda, the strength of the penalty, from 1e-9 to 1e9."""

    n: tuple[int, ...] = ()
    """Sizes of S that are drawn, at least 8; for minimisers with replacement. Default: 50 100 200
    400, and 32 64 128 256 for networks."""

    draws: int | None = None
    """Draws of S at every size. Default: 100, and 4 for networks."""

    selections: int = 64
    """Model network: number K of selections for the bounds from information, a multiple of 4."""

    bits: int = 4
    """Model network: bits of each number of the quantized update, from 2 to 32."""

    steps: int | None = None
    """Model network: optimizer steps. Default: the task's."""

    lr: float | None = None
    """Model network: learning rate. Default: the task's."""

    delta: float = 0.05
    """Failure probability, in (0, 1]."""

    seed: int = 0
    """Seed of everything random."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the table, the manifest and the figure. Default: runs/comparison from the command
    line, none from Python."""

    @property
    def known(self) -> dict[str, Any]:
        """Data set, sizes and draws, where they are not asked for those of ``DEFAULTS``."""
        asked = {"task": self.task, "n": tuple(sorted(set(self.n))) or None, "draws": self.draws}
        given = {name: value for name, value in asked.items() if value is not None}
        return DEFAULTS[self.model] | given

    def cells(self) -> "Sequence[ComparisonCell | WeightBoundsCell]":
        """Check every value and return the cells: one of minimisers, or one a size and draw.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        check_one_of("model", self.model, MODELS)
        known = self.known
        check_one_of("task", known["task"], TASKS if self.model == "minimiser" else NETWORK_TASKS)
        allowed = f"from {WEAKEST:g} to {STRONGEST:g}"
        require(WEAKEST <= self.strength <= STRONGEST, "strength", allowed, self.strength)
        for n in known["n"]:
            check_count("n", n, least=8, most=LARGEST_SIZE)
        check_count("draws", known["draws"], least=2)
        require(0 < self.delta <= 1, "delta", "in (0, 1]", self.delta)
        check_count("selections", self.selections, least=4)
        require(self.selections % 4 == 0, "selections", "a multiple of 4", self.selections)
        require(2 <= self.bits <= 32, "bits", "from 2 to 32", self.bits)
        check_seed(self.seed)
        self.check_engine()
        return self._network_cells() if self.model == "network" else self._minimiser_cells()

    def _minimiser_cells(self) -> "list[ComparisonCell]":
        require(RAREST <= self.p < 1, "p", f"from {RAREST:g} to below 1", self.p)
        check_left_out(self, ("steps", "lr", "selections", "bits"), "for minimisers")
        task, sizes, draws = (self.known[name] for name in ("task", "n", "draws"))
        return [ComparisonCell(task, self.p, self.strength, sizes, draws, self.delta, self.seed)]

    def _network_cells(self) -> list[WeightBoundsCell]:
        check_left_out(self, ("strength",), "for networks")
        task, sizes, draws = (self.known[name] for name in ("task", "n", "draws"))
        # A test set of n, and one example at least that no network has seen.
        largest = (len(load_task(task)) - 1) // 2
        for n in sizes:
            require(n <= largest, "n", f"at most {largest} for {task}", n)
        return [
            WeightBoundsCell(cell, self.selections, self.bits, self.delta)
            for n in sizes
            for cell in StabilitySettings(
                p=(self.p,), task=task, n=n, draws=draws, steps=self.steps, lr=self.lr,
                delta=self.delta, seed=self.seed, **self.engine_settings,
            ).cells()
        ]  # fmt: skip


@dataclass(frozen=True)
class ComparisonCell:
    """All sizes of the minimisers together, as the bounds are continued beyond the largest.

    Attributes:
        task, p, strength, n, draws, delta, seed: of the settings.
    """

    task: str
    p: float
    strength: float
    n: tuple[int, ...]
    draws: int
    delta: float
    seed: int

    @property
    def libraries(self) -> tuple[str, ...]:
        """What its numbers are computed with."""
        return ("torch", "numpy", "scipy", "scikit-learn")

    @property
    def replica_steps(self) -> int:
        """Size of the work, in draws: of minimisers, and of SGD by each rule."""
        return len(self.n) * self.draws * (1 + len(descents.BOUNDS))

    def setting(self, n: int) -> Setting:
        """The setting at one size."""
        return Setting(self.task, n, self.p, self.strength, 1, self.draws, self.delta, self.seed)


def measure_cell(cell: ComparisonCell, progress: Progress) -> Tables:
    """Draw S at every size, and state every bound there and beyond.

    Args:
        cell: the data set, the rate and the sizes.
        progress: told the number of draws that were minimised, and then descended, on.

    Returns:
        One row a size and bound, all in units of the largest possible loss C: ``n``, ``name``,
        ``of`` (what the bound speaks of), ``train_loss`` (of that; on the test set where the bound
        starts from there), ``bound`` (on the gap), ``vacuous`` (with the train loss at least 1),
        ``measured`` (the 1 - delta quantile of the gap that it bounds, or the mean where it is a
        bound on that), ``coverage`` (share of the draws in which it held; NaN for a bound on the
        mean), ``p_value`` (of the test that it is exceeded no more than it allows), ``stability``
        (largest change of a loss when an example is replaced, mean over draws and replaced
        examples; NaN for what does not bound it), ``draws``; NaN where n was not drawn.
    """
    records: list[dict[str, Any]] = []
    for n in cell.n:
        draws = minimisers.measure_draws(cell.setting(n), progress)
        records += minimisers.drawn_records(cell.setting(n), draws)
        runs = descents.measure_descents(cell.setting(n), progress)
        records += descents.drawn_records(cell.setting(n), runs)
    last = minimisers.mean_of(draws)
    for n in sorted(set(CONTINUED) - set(cell.n)):
        records += minimisers.continued_records(cell.setting(n), last)
        records += descents.continued_records(cell.setting(n), runs)
    return {TableKind.ROWS: pd.DataFrame(records)}


@dataclass(frozen=True, repr=False, eq=False)
class ComparisonResult(Result):
    """Bounds on the gap of minimisers side by side.

    Attributes:
        rows: one row a size and bound: see :func:`measure_cell`.
        settings: of the run.
    """

    settings: ComparisonSettings = ComparisonSettings()

    name = "comparison"
    question = "Bounds on the generalization gap"
    intervals = "bound and measured gap: at the largest n drawn"

    @property
    def note(self) -> str:
        """What one must know to read the table."""
        return (
            "bound, measured (1 - δ quantile of the gap that it bounds, or the mean gap where it "
            "is a bound on that) and coverage (share of the draws in which it held) at the largest "
            f"n drawn; vacuous: bound and train loss together are at least {self.limit}"
            f"{self._said_of_stability}{self._said_of_exceeded}"
        )

    @property
    def _said_of_exceeded(self) -> str:
        """What that word means in the last column, where it stands there."""
        means = "; exceeded: the gaps measured at that n contradict the bound (Holm, all bounds)"
        return means if self.exceeded else ""

    @property
    def _said_of_stability(self) -> str:
        """What the column of that name holds."""
        return (
            "; stability: largest change of a loss when an example is replaced, which bounds by "
            "Hardt et al. are on, mean over draws and replaced examples; SGD takes "
            f"{descents.STEPS} steps, one example each, with L measured along them and the "
            "smoothness bounded for the whole data set"
        )

    @property
    def limit(self) -> str:
        """What a bound must not reach to say anything."""
        return "the largest loss"

    @property
    def ceiling(self) -> float:
        """The limit, in units of the largest loss."""
        return 1.0

    @property
    def references(self) -> Mapping[str, str]:
        """The bounds, with their references."""
        return BOUNDS

    @property
    def points(self) -> pd.DataFrame:
        """One row a size and bound, with the columns of :func:`measure_cell`."""
        return self.rows

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a bound: ``name``, ``reference``, ``first_n`` from which on it is not vacuous.

        Among the sizes at which the bound has a value; infinite where none suffices. ``largest_n``
        is the largest of these.
        """
        records = []
        for name, group in self.points.groupby("name", sort=False):
            vacuous = group.loc[group["vacuous"], "n"]
            later = group.loc[group["n"] > (vacuous.max() if len(vacuous) else 0), "n"]
            first = later.min() if len(later) else float("inf")
            records.append(
                {
                    "name": name,
                    "reference": self.references[str(name)],
                    "first_n": first,
                    "largest_n": group["n"].max(),
                }
            )
        return pd.DataFrame(records)

    @property
    def setting(self) -> str:
        """What was compared."""
        s, known = self.settings, self.settings.known
        return (
            f"{known['task']}, exact minimisers and SGD of {descents.STEPS} steps, p = {s.p:g}, "
            f"λ = {s.strength:g}, δ = {s.delta:g}, {draws_in_words(known['draws'])}; in units "
            "of the largest possible loss C"
        )

    @property
    def conclusion(self) -> str:
        """How many bounds say something at the largest n drawn, and how close the closest comes."""
        last, exceeded = self._last, self.exceeded
        if not len(last):
            return ""
        where = f"At n = {last['n'].iloc[0]}, the largest drawn"
        above = f" Exceeded by what was measured: {', '.join(exceeded)}." if exceeded else ""
        said = last[~last["vacuous"].astype(bool) & ~last.index.isin(exceeded)]
        if not len(said):
            others = "each of the others" if exceeded else "each"
            why = f": with the train loss {others} is at least {self.limit}"
            all_exceeded = len(exceeded) == len(last)
            return (
                f"{where}, none of {how_many(len(last), 'bound')} says anything"
                f"{'' if all_exceeded else why}.{above}"
            )
        counted = (
            f"{where}, {len(said)} of {len(last)} bounds "
            f"{'says' if len(said) == 1 else 'say'} something (with the train loss below "
            f"{self.limit})"
        )
        untested = said[said["of"] != minimisers.SPEAKS_OF[minimisers.TEST_SET]]
        if not len(untested):
            return f"{counted}, none of them without a test set.{above}"
        least = untested.sort_values("bound", kind="stable").iloc[0]
        return (
            f"{counted}; the smallest without a test set is {least.name}, {least['bound']:.3g} "
            f"for a measured {least['measured']:.3g}.{above}"
        )

    @property
    def exceeded(self) -> list[str]:
        """Names of the bounds that the gaps at the largest n drawn contradict, by tests (Holm).

        A bound on the mean gap is below it; one that holds with probability 1 - delta is exceeded
        in more draws than that allows.
        """
        return list(self._last.index[holm(self._last["p_value"]) <= LEVEL])

    @property
    def _last(self) -> pd.DataFrame:
        """The points at the largest n drawn, by the bound's name."""
        drawn = self.points[self.points["draws"] > 0]
        return drawn[drawn["n"] == drawn["n"].max()].set_index("name")

    def brief(self) -> pd.DataFrame:
        """One row a bound: at the largest n drawn, and from which n on it says something."""
        names = ["statement", "bound", "measured", "not vacuous from n"]
        text = self.text()
        return text[[name for name in names if name in text]]

    def text(self) -> pd.DataFrame:
        """The thresholds as they are printed."""
        last, exceeded = self._last, self.exceeded
        return pd.DataFrame(
            [
                {
                    "statement": row["name"],
                    "reference": row["reference"],
                    "on the gap of": at["of"],
                    "n": str(at["n"]),
                    "train loss": f"{at['train_loss']:.3g}",
                    "bound": f"{at['bound']:.4g}",
                    "measured": f"{at['measured']:.4g}",
                    "coverage": _coverage(at["coverage"]),
                    **self._stability(at),
                    "not vacuous from n": (
                        "exceeded" if row["name"] in exceeded else _threshold(row)
                    ),
                }
                for row in self.summary.to_dict("records")
                if row["name"] in last.index
                for at in [last.loc[row["name"]]]
            ]
        )

    def _stability(self, at: pd.Series) -> dict[str, str]:
        """The column of the measured stability."""
        return {"stability": "" if np.isnan(at["stability"]) else f"{at['stability']:.4g}"}

    def text_tables(self) -> list[TextTable]:
        """The thresholds."""
        title = f"{self.question}\n{self.setting}"
        return [TextTable(self.text(), title, self.note, width=170)]

    def plot(self) -> "Drawing":
        """Draw the bounds against n, with the gaps that were measured."""
        from figures.comparison import draw

        return draw(self.points, self.setting, self.ceiling).titled(self.answer)

    def to_json(self) -> str:
        """Return the points as a JSON document."""
        return as_json(self.points)


def _coverage(share: float) -> str:
    """Share of the draws in which a bound held; of a bound on the mean there is none."""
    return "mean" if np.isnan(share) else share_in_words(share)


def _threshold(row: Mapping[Any, Any]) -> str:
    if row["first_n"] < float("inf"):
        return f"{row['first_n']:.3g}"
    return f"none up to {row['largest_n']:.3g}"


class NetworkComparisonResult(ComparisonResult):
    """Bounds on the 0-1 loss of networks side by side.

    Those of Hardt et al. and the smooth one of Lei & Ying are not among them: with ReLU the
    gradient jumps, so that no smoothness bounds it, and Adam is not the step that they follow. The
    Lipschitz bound of Lei & Ying needs the largest slope on whole segments between networks, of
    which points that are tried give a lower bound alone.

    Its rows are one a draw of S and bound: see
    :func:`probes.cells.weight_bounds.measure_weight_bounds`.
    """

    question = "Bounds on the generalization gap of a network"

    @property
    def note(self) -> str:
        """What one must know to read the table."""
        return (
            f"{super().note}; means over draws; Theorem 4.4 and Lemma 4.3 at measured η, Λ_min and "
            "β, for dropout values to compare with and no theorems; bounds from information and "
            "Lemma 4.3 have a value only where they were measured, the others are continued with "
            "what the network was at the largest n; risks are means over the examples left over; "
            "bounds of Hardt et al. and of Lei & Ying are left out, as a loss of ReLU networks is "
            "not smooth"
        )

    @property
    def restrictions(self) -> list[str]:
        """Networks that diverged: their train loss is not finite, whatever a bound speaks of."""
        return caveats(self.rows.assign(test_loss=self.rows["train_loss"]))

    @property
    def _said_of_stability(self) -> str:
        return ""

    def _stability(self, at: pd.Series) -> dict[str, str]:
        return {}

    @property
    def limit(self) -> str:
        """What a bound must not reach to say anything."""
        return f"the error rate of the most frequent class, {self.ceiling:.2g}"

    @property
    def ceiling(self) -> float:
        """The error rate of guessing."""
        return float(self.rows["chance"].iloc[0])

    @property
    def references(self) -> Mapping[str, str]:
        """The bounds, with their references."""
        return NETWORK_BOUNDS

    @property
    def setting(self) -> str:
        """What was compared."""
        s, first = self.settings, self.rows.iloc[0]
        return (
            f"{first['task']}, 0-1 loss, p = {first['p']:g}, rank {first['rank']}, "
            f"{how_many(first['steps'], 'step')}, learning rate {first['lr']:g}, δ = {s.delta:g}, "
            f"K = {first['selections']} selections, {draws_in_words(self.draw_count)}"
        )

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row a size and bound, with the columns of :func:`measure_cell`.

        A bound that has no value at a size in any draw is left out there.
        """
        measured = self.rows[np.isfinite(self.rows["bound"]) & np.isfinite(self.rows["gap"])]
        if not len(measured):
            return pd.DataFrame(columns=["n", "name", "of", "train_loss", "bound", "vacuous",
                                         "measured", "coverage", "p_value", "draws"])  # fmt: skip
        records = [
            self._drawn(int(n), str(name), group)
            for (n, name), group in measured.groupby(["n", "name"], sort=False)
        ]
        largest = measured[measured["n"] == measured["n"].max()]
        for name, group in largest.groupby("name", sort=False):
            known = ["n", "bound", "train_loss", "chance", "square", *TRAIN_LOSSES.values()]
            means = group[known].mean()
            for n in sorted(set(CONTINUED) - set(measured["n"])):
                if n > means["n"]:
                    records += _continued(n, str(name), means, self.settings.delta)
        return pd.DataFrame(records)

    def _drawn(self, n: int, name: str, group: pd.DataFrame) -> dict[str, Any]:
        delta = self.settings.delta if name in WITH_CHANCE else None
        means = group[["bound", "train_loss", "chance"]].mean()
        return _point(n, name, *means) | against_bound(
            group["gap"], group["bound"], delta, overlap=overlap_of(group)
        )


def _point(n: int, name: str, bound: float, train_loss: float, chance: float) -> dict[str, Any]:
    nothing = float("nan")
    return {
        "n": n, "name": name, "of": SPEAKS_OF.get(name, NETWORK), "train_loss": float(train_loss),
        "bound": float(bound),
        "vacuous": not train_loss + bound < chance,
        "measured": nothing, "coverage": nothing, "p_value": nothing, "draws": 0,
    }  # fmt: skip


def _continued(n: int, name: str, last: pd.Series, delta: float) -> list[dict[str, Any]]:
    """A bound at a larger n, for a network that stays what it was at the last size measured."""
    train = float(last["train_loss"])
    if name in ROOT_BOUNDS:
        bound = float(last["bound"]) * (last["n"] / n) ** 0.5
    elif name == weight_bounds.PAC_BAYES:
        losses = {noise: float(last[column]) for noise, column in TRAIN_LOSSES.items()}
        noise, bound = weight_bounds.best_posterior(losses, float(last["square"]), n, delta)
        train = losses[noise]
    elif name == weight_bounds.TEST_SET and n <= TESTABLE:
        bound = float(binomial_tail_bound(round(train * n), n, delta)) - train
    else:
        return []
    return [_point(n, name, bound, train, float(last["chance"]))]


def _run(settings: ComparisonSettings) -> RunJob[Any]:
    return measure_weight_bounds if settings.model == "network" else measure_cell


def _result(settings: ComparisonSettings, tables: Tables) -> ComparisonResult:
    kind = NetworkComparisonResult if settings.model == "network" else ComparisonResult
    return kind.of(tables, settings=settings)


PROBE = Probe(
    "comparison",
    ComparisonSettings,
    cells=ComparisonSettings.cells,
    run=_run,
    result=_result,
    doing="measuring",
)
measure: MeasureComparison[ComparisonResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

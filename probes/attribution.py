"""How good is a data attribution? Score it against networks that were really retrained.

python -m probes.attribution --scores mine.npy
python -m probes.attribution --task breast_cancer --n 64 --p 0.3 --subsets 200

Row i of the scores is example i of S, column j held-out example j, both in the order in which the
task's draw of S has them (``probes.cells.prepare.prepare``). A score says how much the loss on j
rises when i is left out; only its order matters. Scores belong to one draw of S: with
``--draws 3`` give three files, the first for draw 0. Without ``--scores`` this project's own
estimate is scored, one Newton step.
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from probes.cells.cell import Cell, CellJob, objective_of
from probes.cells.evaluation import deterministic_losses
from probes.cells.leave_one_out import estimated_factors
from probes.cells.prepare import prepare
from probes.cli.measures import MeasureAttribution
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.amounts import how_many
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, require
from probes.landscape.newton_plan import EXPECTED_PRODUCTS
from probes.metrics.confidence_intervals import mean_interval, overlap_of
from probes.metrics.rank_correlations import (
    mean_over_columns,
    mean_over_rows_and_columns,
    rank_correlations,
)
from probes.metrics.tied_sums import tied_sums
from probes.models.network import replica
from probes.results.answer_words import listed
from probes.results.result import Result
from probes.tasks import load_task
from probes.training.example_weights import leave_k_out
from probes.training.retrain import retrain

if TYPE_CHECKING:
    from figures.style import Drawing

Array = NDArray[np.float64]
#: What a file of ``np.save`` begins with.
NUMPY = b"\x93NUMPY"
LEAVE_ONE_OUT, DATAMODELING = "leave-one-out correlation", "linear datamodeling score"


@dataclass(frozen=True)
class AttributionSettings(StudySettings):
    """Score a data attribution against retrained networks."""

    scores: tuple[str, ...] = ()
    """NumPy (.npy) or Parquet files of your scores, one for each draw of S: n rows, and a column
    for each held-out example or for the first few of them. Default: this project's own
    estimates."""

    p: tuple[float, ...] = (0.1,)
    """Dropout rate, a single one in [0, 1)."""

    draws: int = 1
    """Independent draws of S, each with networks of its own. With two or more, intervals are over
    draws."""

    subsets: int = 100
    """Number of networks that are trained on a random part of S, for the linear datamodeling
    score."""

    share: float = 0.5
    """Share of S that each of them leaves out, in (0, 1)."""

    solver: str = "cg"
    """Solver of this project's own estimates: cg, or ekfac (tasks tweets and text)."""

    damping: float | None = None
    """Damping of this project's own estimates, which depend on it. Default: 0.05."""

    def cells(self) -> "list[AttributionCell]":
        """Check every value and return the cells, one a draw.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(len(self.p) == 1, "p", "one rate", self.p)
        check_count("subsets", self.subsets, least=3)
        found = self.base_cells(method="influence", solver=self.solver, damping=self.damping)
        left = round(self.share * self.n) if 0 < self.share < 1 else 0
        require(0 < left < self.n, "share", "in (0, 1), of at least one example", self.share)
        self.read_scores(found[0])
        return [AttributionCell(base, self.subsets, left) for base in found]

    def read_scores(self, base: Cell) -> "tuple[Array, ...]":
        """Read the given scores, which must fit the draws; none if none were given.

        Args:
            base: one of the draws.

        Returns:
            Scores, (n, m) each, one a draw.

        Raises:
            ValueError: scores that do not fit.
        """
        if not self.scores:
            return ()
        draws = "the draw" if self.draws == 1 else f"each of the {self.draws} draws"
        given = how_many(len(self.scores), "file")
        require(len(self.scores) == self.draws, "scores", f"one file for {draws} of S", given)
        held_out = len(load_task(base.task, base.text)) - self.n
        return tuple(read_scores(Path(path), self.n, held_out) for path in self.scores)


@dataclass(frozen=True)
class AttributionCell(CellJob):
    """The networks that attributions of one draw of S are scored against.

    Attributes:
        base: the draw, and how networks are trained.
        subsets: networks that leave out ``left`` examples at random.
        left: their number.
    """

    subsets: int
    left: int

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        networks = self.base.n + 1 + self.subsets
        return networks * self.base.steps + self.base.n * EXPECTED_PRODUCTS


def measure_cell(cell: AttributionCell, progress: Progress) -> Tables:
    """Retrain without each example and without random subsets.

    Args:
        cell: one draw of S at one rate.
        progress: told the number of replicas after every step of a block, and by the estimate as in
            :func:`probes.landscape.newton_step.newton_step`.

    Returns:
        One row a network and held-out example: ``network`` (0 for S, then those without one
        example each, then those without a subset), ``held_out`` (its number), ``loss``, the
        settings, and ``estimate``, for networks without one example this project's estimate of its
        loss. Left-out examples: ``draw``, ``network``, ``example`` (its number in S).
    """
    ready, base = prepare(cell.base), cell.base
    generator = torch.Generator().manual_seed(base.seeds()[0] % 2**63)
    subsets = leave_k_out(base.n, cell.left, cell.subsets, generator)
    weights = torch.cat([ready.weights, subsets])
    with torch.no_grad():
        factors = retrain(
            ready.network, ready.train, weights, ready.start, ready.training,
            objective_of(base),
            checkpoint=lambda step, rows, factors: progress(rows.stop - rows.start),
        )  # fmt: skip
    estimated, _ = estimated_factors(base, ready, replica(factors, 0), progress)
    losses, guesses = (
        deterministic_losses(base, ready.network, some, ready.test).numpy()
        for some in (factors, estimated)
    )
    guessed = np.full_like(losses, np.nan)
    guessed[1 : base.n + 1] = guesses
    networks, held_out = np.indices(losses.shape)
    rows = pd.DataFrame(
        {
            "network": networks.flatten(), "held_out": held_out.flatten(),
            "loss": losses.flatten(), "estimate": guessed.flatten(),
        }
    )  # fmt: skip
    left = pd.DataFrame((weights == 0).nonzero().numpy(), columns=["network", "example"])
    return {
        TableKind.ROWS: rows.assign(**ready.columns, p=base.p, left=cell.left),
        TableKind.LEFT_OUT: left.assign(draw=base.draw),
    }


@dataclass(frozen=True)
class DrawOfS:
    """The networks of one draw of S, and the scores that they judge.

    Networks that diverged and scores that are not finite are left out: of the subsets those that
    leave out an example without a score.

    Attributes:
        losses: of every network on every held-out example, (1 + n + subsets, m).
        scores: (n, m), or of the first few held-out examples.
        left_out: which examples the networks leave out, (1 + n + subsets, n), 0 and 1.
    """

    losses: Array
    scores: Array
    left_out: Array

    @cached_property
    def pairs(self) -> dict[str, tuple[Array, Array]]:
        """What each score correlates, column by column: the attribution's and the truth."""
        n, columns = self.scores.shape
        truth = self.losses[:, :columns]
        scored = np.isfinite(self.scores).all(axis=1)
        known = np.where(np.isfinite(self.scores), self.scores, 0)
        subsets = self.left_out[n + 1 :]
        alone = scored & np.isfinite(truth[1 : n + 1]).all(axis=1)
        whole = np.isfinite(truth[n + 1 :]).all(axis=1) & (subsets @ ~scored == 0)
        return {
            LEAVE_ONE_OUT: (self.scores[alone], truth[1 : n + 1][alone]),
            DATAMODELING: (tied_sums(subsets[whole], known), truth[n + 1 :][whole]),
        }


@dataclass(frozen=True, repr=False, eq=False)
class AttributionResult(Result):
    """Networks as :func:`measure_cell` returns them, and the scores, (n, m) a draw, in their order.

    The leave-one-out correlation is Spearman's, over the n examples, of the scores and the loss
    when each is left out. The linear datamodeling score is Spearman's correlation, over subsets, of
    the loss of the network that leaves a subset out and the sum of the scores of what it leaves
    out, as it would be for any number of subsets (:mod:`probes.metrics.rank_correlations`). Both
    are means over held-out examples, then over draws of S.

    Source: Ilyas et al. 2022, arXiv 2202.00622 (datamodels: losses as linear functions of the
    training set); Park et al. 2023, arXiv 2303.14186 (the linear datamodeling score). Here one
    network is trained for each subset.
    """

    scores: tuple[Array, ...] = ()

    name = "attribution"
    intervals = "means over held-out examples, 95 % intervals"
    question = "How well does the attribution say what leaving out does?"

    @property
    def note(self) -> str:
        """What the intervals are for, and what is left out."""
        return (
            f"means over held-out examples; {self.interval}; examples whose scores are all equal, "
            "and networks that diverged, are left out"
        )

    @property
    def interval(self) -> str:
        """What the intervals say."""
        if self.rows["draw"].nunique() > 1:
            return "95 % intervals: Student, over draws of S"
        return (
            "95 % intervals are for this S alone, over held-out examples and, for the datamodeling "
            "score, subsets (jackknife): those of another S may lie elsewhere (--draws)"
        )

    @cached_property
    def draws(self) -> dict[int, DrawOfS]:
        """Networks and scores of each draw of S, by its number."""
        found = {}
        left_out = self.more[TableKind.LEFT_OUT]
        for place, (draw, rows) in enumerate(self.rows.groupby("draw", sort=False)):
            losses = _matrix(rows, "loss")
            n = int(rows["n"].iloc[0])
            scores = self.scores[place] if self.scores else _estimated(rows, n)
            places = left_out[left_out["draw"] == draw]
            left = np.zeros((len(losses), n))
            left[places["network"], places["example"]] = 1
            found[int(str(draw))] = DrawOfS(losses, scores, left)
        return found

    @cached_property
    def by_example(self) -> pd.DataFrame:
        """One row a draw, score and held-out example.

        Columns ``draw``, ``score``, ``held_out``, ``correlation``.
        """
        parts = [
            pd.DataFrame({"draw": number, "score": name, "correlation": rank_correlations(*pair)})
            for number, draw in self.draws.items()
            for name, pair in draw.pairs.items()
        ]
        return pd.concat([part.rename_axis("held_out").reset_index() for part in parts])

    @cached_property
    def by_draw(self) -> pd.DataFrame:
        """One row a draw and score.

        Columns ``draw``, ``score``, ``mean``, ``mean_low`` and ``mean_high`` (its 95 % interval for
        this S), ``held_out`` and ``networks`` (over how many of each).
        """
        return pd.DataFrame(
            [
                {"draw": number, "score": name} | _scored(name, *pair)
                for number, draw in self.draws.items()
                for name, pair in draw.pairs.items()
            ]
        )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a score.

        Columns ``score``, ``draws``, ``mean``, ``mean_low``, ``mean_high`` (as ``interval`` says),
        ``mean_draws`` (over how many draws), ``held_out`` and ``networks`` (of the draw that has
        fewest).
        """
        records = []
        for name, group in self.by_draw.groupby("score", sort=False):
            mean, low, high = mean_interval(group["mean"], overlap=overlap_of(self.rows))
            if len(group) == 1:
                low, high = group[["mean_low", "mean_high"]].iloc[0]
            low, high = np.clip([low, high], -1, 1)
            records.append(
                {
                    "score": name, "draws": len(group), "mean": mean, "mean_low": low,
                    "mean_high": high, "mean_draws": int(np.isfinite(group["mean"]).sum()),
                    "held_out": group["held_out"].min(), "networks": group["networks"].min(),
                }
            )  # fmt: skip
        return pd.DataFrame(records)

    def plot(self) -> "Drawing":
        """Draw the distribution of both scores over the held-out examples."""
        from figures.attribution import draw

        band = "over draws of S" if self.rows["draw"].nunique() > 1 else "for this S alone"
        caption = (
            f"{self.setting}, objective dropout, N = 1, p = {self.rows['p'].iloc[0]:g}; line and "
            f"band: mean, 95 % interval {band}"
        )
        return draw(self.summary, self.by_example, caption).titled(self.answer)

    @property
    def finding(self) -> str:
        """How well the scores order the effects of leaving examples out."""
        said = [
            f"{row['score']} {'not known' if pd.isna(row['mean']) else format(row['mean'], '.2f')}"
            + (
                ""
                if pd.isna(row["mean_low"])
                else f" ({row['mean_low']:.2f} to {row['mean_high']:.2f})"
            )
            for row in self.summary.to_dict("records")
        ]
        return (
            "Rank correlation of the scores with what leaving examples out does: "
            f"{listed(said)}; 1 is perfect, 0 is chance."
        )

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary = self.summary
        several = self.rows["draw"].nunique() > 1
        return pd.DataFrame(
            {
                "quantity": summary["score"],
                "mean": summary["mean"].map(lambda mean: "–" if pd.isna(mean) else f"{mean:.3f}"),
                f"95 %, {'over draws of S' if several else 'this S alone'}": [
                    "–" if pd.isna(low) else f"{low:.3f} to {high:.3f}"
                    for low, high in zip(summary["mean_low"], summary["mean_high"], strict=True)
                ],
                "draws": [
                    f"{known}" if known == draws else f"{known} of {draws}"
                    for known, draws in zip(summary["mean_draws"], summary["draws"], strict=True)
                ],
                "held-out examples": summary["held_out"].astype(str),
                "networks": summary["networks"].astype(str),
            }
        )


def _estimated(rows: pd.DataFrame, n: int) -> Array:
    """Estimated changes of the losses when each of n examples is left out; NaN where not known."""
    with np.errstate(invalid="ignore"):  # infinite losses are those of what diverged
        return _matrix(rows, "estimate")[1 : n + 1] - _matrix(rows, "loss")[0]


def _matrix(rows: pd.DataFrame, name: str) -> Array:
    """A column as a matrix, (networks, held-out examples)."""
    table = rows.pivot(index="network", columns="held_out", values=name)
    return table.to_numpy(np.float64)


def _scored(name: str, given: Array, truth: Array) -> dict[str, float]:
    """Mean, its interval for this S, and over how many held-out examples and networks."""
    find = mean_over_columns if name == LEAVE_ONE_OUT else mean_over_rows_and_columns
    mean, low, high = find(given, truth)
    known = int(np.isfinite(rank_correlations(given, truth)).sum())
    return {
        "mean": mean, "mean_low": low, "mean_high": high, "held_out": known, "networks": len(given),
    }  # fmt: skip


def read_scores(path: Path, n: int, held_out: int) -> Array:
    """Read the scores of a file; nothing in it is unpickled.

    Args:
        path: of a Parquet file if it ends so, otherwise of a NumPy file.
        n: size of S.
        held_out: number of held-out examples.

    Returns:
        Scores, (n, at most ``held_out``), float64.

    Raises:
        ValueError: no such file, or not n rows of finite numbers for at most ``held_out`` columns.
    """
    try:
        scores = _of_table(path) if path.suffix.lower() == ".parquet" else _loaded(path)
    except Exception as error:  # whatever a reader says of a file that is none of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"scores must be a NumPy or Parquet file; {path}: {reason}") from None
    shape = scores.shape
    fits = len(shape) == 2 and shape[0] == n and 1 <= shape[1] <= held_out
    require(fits, "scores", f"{n} rows and 1 to {held_out} columns", f"shape {shape}")
    require(bool(np.isfinite(scores).all()), "scores", "finite", "some that are not")
    return scores


def _of_table(path: Path) -> Array:
    table = pd.read_parquet(path)
    for column, kind in table.dtypes.items():
        if kind.kind not in "biuf":  # dates and categories have numbers, too
            raise ValueError(f"column {column!r} holds {kind}, and no real numbers")
    return table.to_numpy(np.float64, na_value=np.nan)


def _loaded(path: Path) -> Array:
    with path.open("rb") as file:
        start = file.read(len(NUMPY))
    if start.startswith(b"PK"):
        raise ValueError("it holds several arrays (np.save writes one)")
    if start != NUMPY:  # NumPy would take it for a pickle
        raise ValueError("it was not written by np.save")
    loaded = np.load(path, allow_pickle=False)
    if loaded.dtype.kind not in "biuf":  # NumPy would drop imaginary parts
        raise ValueError(f"it holds {loaded.dtype}, and no real numbers")
    with np.errstate(over="ignore"):  # longer numbers may be larger than doubles
        return np.asarray(loaded, np.float64)


def _result(settings: AttributionSettings, tables: Tables) -> AttributionResult:
    return AttributionResult.of(tables, scores=settings.read_scores(settings.cells()[0].base))


PROBE = Probe(
    "attribution",
    AttributionSettings,
    cells=AttributionSettings.cells,
    run=lambda settings: measure_cell,
    result=_result,
    kinds=lambda settings: (TableKind.ROWS, TableKind.LEFT_OUT),
)
measure: MeasureAttribution[AttributionResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

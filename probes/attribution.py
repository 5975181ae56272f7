"""How good is a data attribution? Score it against networks that were really retrained.

python -m probes.attribution --scores mine.npy
python -m probes.attribution --task breast_cancer --n 64 --p 0.3 --subsets 200

Row i of the scores is example i of S, column j held-out example j, both in the order in which the
task's draw of S has them (``probes.cells.prepare.prepare``). A score says how much the loss on j
rises when i is left out; only its order matters. Without --scores this project's own estimate is
scored, one Newton step.
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
from probes.cells.leave_one_out import estimated_factors
from probes.cells.measure_cell import deterministic_losses
from probes.cells.prepare import prepare
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, require
from probes.landscape.newton_plan import EXPECTED_PRODUCTS
from probes.models.network import replica
from probes.results.result import Result
from probes.tasks import load_task
from probes.training.example_weights import leave_k_out
from probes.training.retrain import retrain

if TYPE_CHECKING:
    from figures.style import Drawing

Array = NDArray[np.float64]
#: Resamples of the bootstrap, of subsets and held-out examples alike.
RESAMPLES = 200


@dataclass(frozen=True)
class AttributionSettings(StudySettings):
    """Score a data attribution against retrained networks."""

    scores: str | None = None
    """NumPy (.npy) or Parquet file of the scores, n rows, a column for each held-out example, or
    for the first few of them. Default: this project's own estimates."""

    p: tuple[float, ...] = (0.1,)
    """Dropout rate in [0, 1), one."""

    draws: int = 1
    """Draws of S, of which the last is scored."""

    subsets: int = 100
    """Networks trained on a random part of S, for the linear datamodeling score."""

    share: float = 0.5
    """Share of S that each of them leaves out, in (0, 1)."""

    solver: str = "cg"
    """Of this project's own estimates: cg, or ekfac (tasks tweets and text)."""

    damping: float | None = None
    """Of this project's own estimates. Default: 0.05, ours; scores depend on it."""

    def cells(self) -> "list[AttributionCell]":
        """Check every value and return the cell.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(len(self.p) == 1, "p", "one rate", self.p)
        check_count("subsets", self.subsets, least=3)
        left = round(self.share * self.n) if 0 < self.share < 1 else 0
        require(0 < left < self.n, "share", "in (0, 1), of at least one example", self.share)
        *_, base = self.base_cells(method="influence", solver=self.solver, damping=self.damping)
        self.read_scores(base)
        return [AttributionCell(base, self.subsets, left)]

    def read_scores(self, base: Cell) -> "Array | None":
        """Read the given scores, which must fit the cell; None if none were given.

        Raises:
            ValueError: scores that do not fit.
        """
        if self.scores is None:
            return None
        held_out = len(load_task(base.task, base.text)) - self.n
        return read_scores(Path(self.scores), self.n, held_out)


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
        loss. Left-out examples: pairs ``network``, ``example`` (its number in S).
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
        TableKind.ROWS: rows.assign(**base.training, p=base.p, left=cell.left),
        TableKind.LEFT_OUT: left,
    }


@dataclass(frozen=True, repr=False)
class AttributionResult(Result):
    """Networks as :func:`measure_cell` returns them, and the scores, (n, m), that are scored.

    The leave-one-out correlation is Spearman's, over the n examples, of the scores and the change
    of the loss when each is left out. The linear datamodeling score is Spearman's correlation, over
    subsets, of the loss of the network that leaves a subset out and the sum of the scores of what
    it leaves out. Both are means over held-out examples.

    Source: Ilyas et al. 2022, arXiv 2202.00622 (datamodels: losses as linear functions of the
    training set); Park et al. 2023, arXiv 2303.14186 (the linear datamodeling score). Here one
    network is trained for each subset.
    """

    scores: Array | None = None

    name = "attribution"
    question = "How well does the attribution say what leaving out does?"
    note = (
        "means over held-out examples, 95 % bootstrap intervals over them and, for the "
        "datamodeling score, over subsets; examples whose scores are all equal are left out"
    )

    @cached_property
    def losses(self) -> Array:
        """Of every network on every held-out example."""
        table = self.rows.pivot(index="network", columns="held_out", values="loss")
        return table.to_numpy(np.float64)

    @property
    def n(self) -> int:
        """Size of S."""
        return int(self.rows["n"].iloc[0])

    @cached_property
    def judged(self) -> Array:
        """The scores, or this project's own where none were given, (n, m)."""
        if self.scores is not None:
            return self.scores
        table = self.rows.pivot(index="network", columns="held_out", values="estimate")
        return table.to_numpy(np.float64)[1 : self.n + 1] - self.losses[0]

    @cached_property
    def pairs(self) -> dict[str, tuple[Array, Array]]:
        """What each score correlates, column by column: the attribution's and the truth."""
        columns = self.judged.shape[1]
        truth = self.losses[:, :columns]
        left = np.zeros((len(truth), self.n))
        places = self.more[TableKind.LEFT_OUT]
        left[places["network"], places["example"]] = 1
        return {
            "leave-one-out correlation": (self.judged, truth[1 : self.n + 1] - truth[0]),
            "linear datamodeling score": (
                left[self.n + 1 :] @ self.judged, truth[self.n + 1 :],
            ),
        }  # fmt: skip

    @cached_property
    def by_example(self) -> pd.DataFrame:
        """One row a score and held-out example: ``score``, ``held_out``, ``correlation``."""
        parts = [
            pd.DataFrame({"score": name, "correlation": rank_correlations(*pair)})
            for name, pair in self.pairs.items()
        ]
        return pd.concat([part.rename_axis("held_out").reset_index() for part in parts])

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a score: ``score``, ``mean``, ``mean_low``, ``mean_high``, ``held_out``."""
        generator = np.random.default_rng(0)
        records = []
        for name, (given, truth) in self.pairs.items():
            found = rank_correlations(given, truth)
            again = name.startswith("linear")
            drawn = [_resampled(given, truth, found, again, generator) for _ in range(RESAMPLES)]
            low, high = np.nanquantile(drawn, [0.025, 0.975])
            records.append((name, np.nanmean(found), low, high, int(np.isfinite(found).sum())))
        names = ["score", "mean", "mean_low", "mean_high", "held_out"]
        return pd.DataFrame(records, columns=names)

    def plot(self) -> "Drawing":
        """Draw the distribution of both scores over the held-out examples."""
        from figures.attribution import draw

        caption = (
            f"{self.setting}, objective dropout, N = 1, p = {self.rows['p'].iloc[0]:g}; line and "
            "band: mean, 95 % bootstrap interval"
        )
        return draw(self.summary, self.by_example, caption)

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary = self.summary
        return pd.DataFrame(
            {
                "quantity": summary["score"],
                "mean": summary["mean"].map("{:.3f}".format),
                "95 %": [
                    f"{low:.3f} to {high:.3f}"
                    for low, high in zip(summary["mean_low"], summary["mean_high"], strict=True)
                ],
                "held-out examples": summary["held_out"].astype(str),
            }
        )


def rank_correlations(given: Array, truth: Array) -> Array:
    """Spearman's correlation of every column with its own.

    Args:
        given: scores, (rows, m).
        truth: what they should order, (rows, m).

    Returns:
        Correlations over rows, (m,), in [-1, 1]; NaN where a column is constant.
    """
    from scipy.stats import rankdata

    one, other = (rankdata(values, axis=0) for values in (given, truth))
    one, other = one - one.mean(0), other - other.mean(0)
    sizes = np.sqrt((one**2).sum(0) * (other**2).sum(0))
    found = np.full(len(sizes), np.nan)
    return np.divide((one * other).sum(0), sizes, out=found, where=sizes > 0)


def _resampled(
    given: Array, truth: Array, found: Array, rows: bool, generator: np.random.Generator
) -> float:
    """The mean correlation for examples, and rows if asked for, drawn with replacement."""
    count, columns = given.shape
    chosen = generator.integers(columns, size=columns)
    if rows:
        drawn = generator.integers(count, size=count)
        found = rank_correlations(given[drawn], truth[drawn])
    return float(np.nanmean(found[chosen]))


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
        if path.suffix == ".parquet":
            scores = pd.read_parquet(path).to_numpy(np.float64)
        else:
            scores = np.load(path, allow_pickle=False).astype(np.float64)
    except Exception as error:  # whatever a reader says of a file that is none of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"scores must be a NumPy or Parquet file; {path}: {reason}") from None
    shape = scores.shape
    fits = len(shape) == 2 and shape[0] == n and 1 <= shape[1] <= held_out
    require(fits, "scores", f"{n} rows and 1 to {held_out} columns", f"shape {shape}")
    require(bool(np.isfinite(scores).all()), "scores", "finite", "some that are not")
    return scores


def _result(settings: AttributionSettings, tables: Tables) -> AttributionResult:
    (cell,) = settings.cells()
    return AttributionResult.of(tables, scores=settings.read_scores(cell.base))


PROBE = Probe(
    "attribution",
    AttributionSettings,
    cells=AttributionSettings.cells,
    run=lambda settings: measure_cell,
    result=_result,
    kinds=lambda settings: (TableKind.ROWS, TableKind.LEFT_OUT),
)
measure = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

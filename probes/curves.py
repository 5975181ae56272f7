"""How do train and test loss run along training, for LoRA and AdaLoRA, with and without dropout?

python -m probes.curves
python -m probes.curves --p 0 0.3 --draws 8 --task tweets

>>> measure(task="ridge", p=0.5, methods="LoRA", n=8, draws=2, steps=20).summary["p"].tolist()
[0.5]
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from probes.cells.cell import Cell, CellJob
from probes.cells.prepare import Prepared, prepare
from probes.cli.measures import MeasureCurves
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.amounts import how_many
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import require
from probes.metrics.confidence_intervals import means
from probes.metrics.metrics_of_outputs import measure_outputs
from probes.models.network import Factors
from probes.results.answer_words import ends_in_words, intervals_in_words
from probes.results.result import Result
from probes.results.text_tables import averages, leading, rates, with_interval
from probes.tasks import load_task
from probes.tasks.text import TextTask
from probes.training.autograd_training import AdaLoRA, LoRA, Setup, train
from probes.training.example_weights import full_sample
from probes.training.mask_placements import Dropping
from probes.training.plan import steps_in_even_ratios

if TYPE_CHECKING:
    from figures.style import Drawing

METHODS = ("LoRA", "AdaLoRA")
#: Checkpoints along training.
CHECKPOINTS = 40
#: Share of the best test loss by which it must rise again to be called overfitting.
OVERFITS = 0.05


@dataclass(frozen=True)
class CurvesSettings(StudySettings):
    """Measure train and test loss along training, for LoRA and AdaLoRA."""

    p: tuple[float, ...] = (0.0, 0.3)
    """Dropout rates in [0, 1)."""

    methods: tuple[str, ...] = METHODS
    """Which of LoRA and AdaLoRA."""

    def cells(self) -> "list[CurveCell]":
        """Check every value and return the cells of the grid."""
        require(len(self.methods) > 0, "methods", "at least one", "none")
        for method in self.methods:
            require(method in METHODS, "methods", "LoRA or AdaLoRA", repr(method))
        bases = self.base_cells()
        return [CurveCell(base, method) for method in dict.fromkeys(self.methods) for base in bases]


@dataclass(frozen=True)
class CurveCell(CellJob):
    """One method at one rate on one draw of S."""

    method: str

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return self.base.steps


class CurvesResult(Result):
    """Losses along training: one row a method, rate, draw and checkpoint (``step``)."""

    name = "curves"
    question = "Train and test loss of the expected-weight network along training"
    note = (
        "means over draws, 95 % intervals (Student); best: the checkpoint with the least test loss "
        "of a draw, chosen on the test set and so optimistic for all alike; later rise: test loss "
        "at the end less at the best checkpoint"
    )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a method and rate: the end and the best checkpoint of every draw.

        ``train_loss``, ``test_loss``, ``test_score``, ``gap`` at the end; ``best_loss``,
        ``best_step``, and ``rise``, the test loss at the end less the best.
        """
        keys = ["method", "p", "draw"]
        # Of every run its own last step: not all methods take as many.
        last = self.rows.groupby(keys)["step"].transform("max")
        end = self.rows[self.rows["step"] == last].set_index(keys)
        finite = self.rows[np.isfinite(self.rows["test_loss"])]
        best = finite.loc[finite.groupby(keys)["test_loss"].idxmin()].set_index(keys)
        table = end.assign(
            best_loss=best["test_loss"],
            best_step=best["step"].astype(float),
            rise=end["test_loss"] - best["test_loss"],
        ).reset_index()
        quantities = (
            "train_loss", "test_loss", "test_score", "gap", "best_loss", "best_step", "rise",
            "ranks",
        )  # fmt: skip
        return means(table, ["method", "p"], quantities)

    def plot(self) -> "Drawing":
        """Draw the losses and the score against the step."""
        from figures.curves import draw

        quantities = ("train_loss", "test_loss", "test_score")
        samples = self.values_of("samples") if "samples" in self.rows else 1
        caption = (
            f"{self.setting}, objective dropout, N = {samples}, expected-weight network; "
            f"bands: {intervals_in_words(self.draw_count)}"
        )
        return draw(
            means(self.rows, ["method", "p", "step"], quantities),
            caption,
            self.rows["score_name"].iloc[0],
            self.rows["baseline"].mean(),
        ).titled(self.answer)

    @property
    def finding(self) -> str:
        """Which curve ends lowest and which highest, and how many rose far above their best."""
        said = ends_in_words(
            self.summary, "test_loss", lambda row: f"{row['method']}, p = {row['p']:g}"
        )
        if not said:
            return "The test loss at the end of training is not known."
        ends_at = f"At the end of training the test loss is {said}."
        told = [overfits(row) for row in self.summary.to_dict("records")]
        known = [one for one in told if one is not None]
        if not known:
            return ends_at
        return (
            f"{ends_at} It ends more than {100 * OVERFITS:g} % above its best checkpoint in "
            f"{sum(known)} of {how_many(len(known), 'curve')}."
        )

    def brief(self) -> pd.DataFrame:
        """The end of training, and how far the test loss rose."""
        return leading(self.text(), ["method", "p", "train loss", "test loss", "later rise"])

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary, score = self.summary, self.rows["score_name"].iloc[0]
        return pd.DataFrame(
            {
                "method": summary["method"],
                "p": rates(summary["p"]),
                "train loss": averages(summary, "train_loss"),
                "test loss": with_interval(summary, "test_loss"),
                "gap": with_interval(summary, "gap"),
                f"test {score}": averages(summary, "test_score", 3),
                "best test loss": with_interval(summary, "best_loss"),
                "at step": averages(summary, "best_step", 0),
                "later rise": with_interval(summary, "rise"),
            }
        )


def overfits(row: Any) -> bool | None:
    """Whether a test loss ends above its best by more than ``OVERFITS``.

    The best is chosen by the same test loss, so that the rise is never negative: the threshold
    decides, and the interval only keeps a few draws from deciding for all.

    Args:
        row: of ``CurvesResult.summary``.

    Returns:
        Whether it does; None where fewer than two draws did not diverge, or fewer than half.
    """
    if row["rise_draws"] < max(2, row["draws"] / 2):
        return None
    return bool(row["rise"] > OVERFITS * row["best_loss"] and row["rise_low"] > 0)


def measure_cell(cell: CurveCell, progress: Progress) -> Tables:
    """Train on S and measure at checkpoints, evenly spaced in the logarithm of the step.

    Args:
        cell: one draw of S, one method, one rate.
        progress: told 1 after every step.

    Returns:
        One row a checkpoint, 0 before training: the settings, ``method``, ``p``, ``step``,
        ``ranks`` (triplets or rank components over all layers that are not zero), what
        ``probes.metrics.metrics_of_outputs`` measures, and ``baseline`` (test score of logistic
        regression on the frozen embeddings of a text task, else NaN).
    """
    base = cell.base
    ready = prepare(base)
    stops = steps_in_even_ratios(base.steps, CHECKPOINTS)
    dropping = Dropping("both", base.p, base.rescale)
    setup = Setup(ready.network, ready.train, full_sample(base.n), ready.training, dropping)
    records = [_record(ready, dropping.expected_mask, 0, ready.start)]

    def checkpoint(step: int, factors: Factors) -> None:
        if step in stops:
            records.append(_record(ready, dropping.expected_mask, step, factors))
        progress(1)

    method = LoRA(ready.network) if cell.method == "LoRA" else AdaLoRA(ready.network, base.steps)
    _, factor_seed, _ = base.seeds()
    train(setup, method, torch.Generator().manual_seed(factor_seed), checkpoint)
    table = pd.DataFrame(records).assign(
        **ready.columns, method=cell.method, p=base.p, baseline=_baseline(base, ready),
        score_name=ready.network.loss.score_name,
    )  # fmt: skip
    return {TableKind.ROWS: table}


@torch.no_grad()
def _record(ready: Prepared, update_scale: float, step: int, factors: Factors) -> dict[str, Any]:
    network = ready.network
    on_train = network.replica_outputs(factors, ready.train, update_scale=update_scale)
    on_test = network.replica_outputs(factors, ready.test, update_scale=update_scale)
    measured = measure_outputs(network.loss, on_train, ready.train, on_test, ready.test)
    # A component of the rank dimension is gone where B's column is zero: its singular value is.
    ranks = sum(int((B[0].norm(dim=0) > 0).sum()) for _, B in factors)
    return {"step": step, "ranks": ranks} | measured


def _baseline(base: Cell, ready: Prepared) -> float:
    task = load_task(base.task, base.text)
    if not isinstance(task, TextTask):
        return float("nan")
    return frozen_baseline(task, ready.index, base.n)


def frozen_baseline(task: TextTask, index: torch.Tensor, n: int) -> float:
    """Test accuracy of logistic regression on the frozen model's embeddings.

    Args:
        task: with its embeddings.
        index: positions of the examples, S first.
        n: size of S.

    Returns:
        The accuracy; NaN where S holds one class alone.
    """
    from sklearn.linear_model import LogisticRegression

    features, labels = task.frozen[index].numpy(), task.targets[index].argmax(1).numpy()
    if len(set(labels[:n].tolist())) < 2:
        return float("nan")
    model = LogisticRegression(max_iter=2000).fit(features[:n], labels[:n])
    return float(model.score(features[n:], labels[n:]))


PROBE = Probe(
    "curves",
    CurvesSettings,
    cells=CurvesSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: CurvesResult.of(tables),
)
measure: MeasureCurves[CurvesResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

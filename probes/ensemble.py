"""What does the test-time ensemble buy, and how many members does it take?

python -m probes.ensemble
python -m probes.ensemble --p 0.1 0.3 0.5 --sizes 1 2 4 8 16 32 64 --draws 16

>>> measure(task="ridge", p=0.5, sizes=[1, 2], n=8, draws=2, steps=20).summary.shape[0]
3
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from probes.cells.cell import CellJob, objective_of
from probes.cells.prepare import prepare
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, require
from probes.metrics.confidence_intervals import means
from probes.metrics.labels import inference_label
from probes.models.losses import Loss
from probes.results.result import Result
from probes.results.text_tables import MARKED, averages, with_interval
from probes.training.ensemble_members import member_outputs
from probes.training.example_weights import full_sample
from probes.training.retrain import retrain
from theory import ensemble_cross_entropy

if TYPE_CHECKING:
    from figures.style import Drawing


@dataclass(frozen=True)
class EnsembleSettings(StudySettings):
    """Measure the averaged output of N sampled networks on test data, against N."""

    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Sizes N of the ensembles."""

    draws: int = 16
    """Number of independent training sets S; intervals are over these."""

    rescale: bool = False
    """Divide what survives by 1-p. The paper never does."""

    def cells(self) -> "list[EnsembleCell]":
        """Check every value and return the cells of the grid.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(len(self.sizes) > 0, "sizes", "at least one value", "none")
        for size in self.sizes:
            check_count("sizes", size)
        bases = self.base_cells(ensemble=self.sizes, rescale=self.rescale)
        return [EnsembleCell(base) for base in bases]


@dataclass(frozen=True)
class EnsembleCell(CellJob):
    """One draw of S at one rate; its network is trained on S alone, nothing is left out."""

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return self.base.steps


class EnsembleResult(Result):
    """One row a rate, draw and size (0 for the expected weight): see :func:`measure_cell`."""

    name = "ensemble"
    question = "Test risk of the averaged output (before the softmax)"
    note = (
        "means over draws, 95 % intervals (Student); members: average loss of the N members, "
        "the bound of Theorem 4.5; 1/N law: to second order; last column: paired over draws; "
        f"{MARKED}"
    )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a rate and size: means over draws with 95 % Student intervals.

        ``test_loss`` and ``test_score`` of the averaged output, ``members`` (average loss of its
        members, the bound of Theorem 4.5), ``predicted`` (the 1/N law to second order), and
        ``against_expected``, the test loss less that of the expected-weight network, paired.
        """
        expected = self.rows[self.rows["ensemble"] == 0].set_index(["p", "draw"])["test_loss"]
        paired = self.rows.join(expected.rename("expected"), on=["p", "draw"])
        paired["against_expected"] = paired["test_loss"] - paired["expected"]
        quantities = ("test_loss", "test_score", "members", "predicted")
        return means(paired, ["p", "ensemble"], quantities, ["against_expected"])

    def plot(self) -> "Drawing":
        """Draw test loss and score against N."""
        from figures.ensemble import draw

        caption = (
            f"{self.setting}, objective dropout; outputs averaged before the softmax; 95 % "
            "intervals over draws"
        )
        return draw(self.summary, caption, self.rows["score_name"].iloc[0])

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary, name = self.summary, self.rows["score_name"].iloc[0]
        blank = summary["ensemble"] == 0
        return pd.DataFrame(
            {
                "p": summary["p"].map("{:g}".format),
                "inference": summary["ensemble"].map(inference_label),
                "test loss": with_interval(summary, "test_loss"),
                f"test {name}": averages(summary, "test_score", 3),
                "members": pd.Series(averages(summary, "members")).where(~blank, ""),
                "1/N law": pd.Series(averages(summary, "predicted")).where(~blank, ""),
                "less expected weight": pd.Series(with_interval(summary, "against_expected")).where(
                    ~blank, ""
                ),
            }
        )


@torch.no_grad()
def measure_cell(cell: EnsembleCell, progress: Progress) -> Tables:
    """Train on S and evaluate ensembles on the rest of the data set.

    Args:
        cell: one draw of S at one rate.
        progress: told 1 after every step.

    Returns:
        One row a size, with the settings and ``ensemble`` (N; 0 for the expected-weight network),
        ``test_loss``, ``test_score``, ``members`` (mean loss of the N members, NaN for 0) and
        ``predicted`` (limit plus half the spread over N, from all members; exact for squared loss).
    """
    base = cell.base
    ready = prepare(base)
    network, test = ready.network, ready.test
    factors = retrain(
        network, ready.train, full_sample(base.n), ready.start, ready.training, objective_of(base),
        checkpoint=lambda step, rows, factors: progress(1),
    )  # fmt: skip
    *_, mask_seed = base.seeds()
    sizes = base.ensemble
    members = member_outputs(
        network, factors, test, max(sizes), p=base.p, seed=mask_seed, rescale=base.rescale
    )
    outputs, targets = torch.stack([one[0].double() for one in members]), test.targets.double()
    value, score = network.loss.value, network.loss.score
    each = value(outputs, targets).mean(1)
    spread = _spread(network.loss, outputs, targets)
    largest = float(value(outputs.mean(0), targets).mean())
    limit = largest - spread / (2 * len(outputs))
    expected = network.replica_outputs(factors, test, update_scale=base.update_scale)[0]
    records = [(0, expected.double(), float("nan"), float("nan"))]
    diverged = not math.isfinite(limit + spread)
    for size in sizes:
        predicted = math.nan if diverged else float(ensemble_cross_entropy(limit, spread, size))
        records.append((size, outputs[:size].mean(0), float(each[:size].mean()), predicted))
    rows = [
        {
            "ensemble": size,
            "test_loss": float(value(averaged, targets).mean()),
            "test_score": float(score(averaged, targets).mean()),
            "members": average,
            "predicted": predicted,
        }
        for size, averaged, average, predicted in records
    ]
    return {
        TableKind.ROWS: pd.DataFrame(rows).assign(
            **ready.columns, p=base.p, score_name=network.loss.score_name
        )
    }


@torch.enable_grad()
def _spread(loss: Loss, outputs: Tensor, targets: Tensor) -> float:
    """Mean over examples of tr(H Cov z), H the loss' Hessian at the mean output of all members."""
    mean = outputs.mean(0).requires_grad_(True)
    (slope,) = torch.autograd.grad(loss.value(mean, targets).sum(), mean, create_graph=True)
    total = 0.0
    for centred in (outputs - mean).detach():
        (bent,) = torch.autograd.grad(slope, mean, centred, retain_graph=True)
        total += float((centred * bent).sum())
    return total / (max(1, len(outputs) - 1) * outputs.shape[-1])


PROBE = Probe(
    "ensemble",
    EnsembleSettings,
    cells=EnsembleSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: EnsembleResult.of(tables),
)
measure = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

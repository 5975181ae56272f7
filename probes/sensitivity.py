"""How much do accuracy, gap and stability depend on p and N?

python -m probes.sensitivity
python -m probes.sensitivity --p 0.1 0.3 0.5 --samples 1 4 16 --draws 8

>>> result = measure(task="ridge", p=0.5, samples=[1, 2], n=6, draws=2, steps=10)
>>> result.summary[["inference", "samples"]].values.tolist()
[['expected weight', 1], ['expected weight', 2], ['ensemble', 1], ['ensemble', 2]]
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from probes.cells.cell import Cell, CellJob, objective_of
from probes.cells.prepare import prepare
from probes.cli.measures import MeasureSensitivity
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import require
from probes.metrics.confidence_intervals import means
from probes.metrics.metrics_of_outputs import measure_outputs
from probes.models.network import Factors, Inputs, Network, replica
from probes.results.answer_words import ends_in_words
from probes.results.result import Result
from probes.results.text_tables import averages, rates, with_interval
from probes.training.ensemble_members import ensemble_output
from probes.training.retrain import retrain

if TYPE_CHECKING:
    from figures.style import Drawing

QUANTITIES = ("test_score", "gap", "beta", "train_loss", "test_loss")


@dataclass(frozen=True)
class SensitivitySettings(StudySettings):
    """Measure accuracy, gap and stability over a grid of p and N."""

    p: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7)
    """Dropout rates in (0, 1)."""

    samples: tuple[int, ...] = (1, 2, 4, 8)
    """N: mask pairs a training step, and members of the test-time ensemble."""

    draws: int = 4
    """Number of independent training sets S; intervals are over these."""

    def cells(self) -> "list[SensitivityCell]":
        """Check every value and return the cells of the grid."""
        require(len(self.samples) > 0, "samples", "at least one value", "none")
        for p in self.p:
            require(0 < p < 1, "p", "in (0, 1)", p)
        return [
            SensitivityCell(base)
            for samples in dict.fromkeys(self.samples)
            for base in self.base_cells(samples=samples)
        ]


@dataclass(frozen=True)
class SensitivityCell(CellJob):
    """One rate, N and draw of S, with all leave-one-out replicas."""

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return (self.base.n + 1) * self.base.steps * self.base.samples


class SensitivityResult(Result):
    """One row a rate, N (``samples``), draw and inference: see :func:`measure_cell`."""

    name = "sensitivity"
    question = "Accuracy, gap and stability over p and N"
    note = (
        "means over draws, 95 % intervals (Student); N mask pairs a training step, and N members "
        "of the ensemble"
    )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a rate, N and inference: means of ``QUANTITIES``."""
        keys = ["inference", "p", "samples"]
        ordered = self.rows.sort_values(keys, ascending=[False, True, True])
        return means(ordered, keys, QUANTITIES)

    def plot(self) -> "Drawing":
        """Draw score, gap and stability over p and N."""
        from figures.sensitivity import draw

        several = self.draw_count > 1
        shown = "means ± half of the 95 % interval over draws" if several else "one draw"
        caption = (
            f"{self.setting}, objective dropout; N mask pairs a step and N members; {shown}; light "
            "is good"
        )
        return draw(self.summary, caption, self.rows["score_name"].iloc[0]).titled(self.answer)

    @property
    def finding(self) -> str:
        """Where the test loss and the gap are smallest and largest over the grid."""
        return " ".join(
            f"The {name} is {self._ends(column) or 'not known'}."
            for column, name in (("test_loss", "test loss"), ("gap", "gap"))
        )

    def _ends(self, name: str) -> str:
        return ends_in_words(
            self.summary, name,
            lambda row: f"p = {row['p']:g}, N = {row['samples']}, {row['inference']}",
        )  # fmt: skip

    def brief(self) -> pd.DataFrame:
        """One row a rate: test loss and gap of the expected weight at the ends of N."""
        alone = self.summary[self.summary["inference"] == "expected weight"]
        shown = {"p": rates(list(alone["p"].unique()))}
        for name, said, written in (
            ("test_loss", "test loss", with_interval), ("gap", "gap", averages)
        ):  # fmt: skip
            cells = alone.assign(cell=written(alone, name))
            wide = cells.pivot(index="p", columns="samples", values="cell")
            # What was not measured at a rate is empty there.
            wide = wide.reindex(columns=self._end_samples).fillna("")
            shown |= {f"{said}, N = {N}": list(wide[N]) for N in self._end_samples}
        return pd.DataFrame(shown)

    @property
    def _end_samples(self) -> list[int]:
        sizes = self.summary["samples"]
        return list(dict.fromkeys((int(sizes.min()), int(sizes.max()))))

    @property
    def said_of_brief(self) -> str:
        """Which networks the first screen has."""
        return "expected weight, at the ends of N"

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary, score = self.summary, self.rows["score_name"].iloc[0]
        return pd.DataFrame(
            {
                "p": rates(summary["p"]),
                "N": summary["samples"].astype(str),
                "inference": summary["inference"],
                "train loss": averages(summary, "train_loss"),
                "test loss": with_interval(summary, "test_loss"),
                f"test {score}": with_interval(summary, "test_score"),
                "gap": with_interval(summary, "gap"),
                "β": with_interval(summary, "beta"),
            }
        )


@torch.no_grad()
def measure_cell(cell: SensitivityCell, progress: Progress) -> Tables:
    """Retrain with N mask pairs a step; measure the expected weight and an ensemble of N.

    Args:
        cell: one draw of S, one rate, one N.
        progress: told replicas times N after every step of a block.

    Returns:
        Two rows, by ``inference``: the settings, ``p``, ``samples`` (N), and what
        ``probes.metrics.metrics_of_outputs`` measures.
    """
    base = cell.base
    ready = prepare(base)
    network = ready.network
    factors = retrain(
        network, ready.train, ready.weights, ready.start, ready.training, objective_of(base),
        checkpoint=lambda step, rows, factors: progress((rows.stop - rows.start) * base.samples),
    )  # fmt: skip
    full, records = replica(factors, 0), []
    for inference in ("expected weight", "ensemble"):
        on_train, on_test = (
            outputs_by(base, network, held, inputs, inference)
            for held, inputs in ((factors, ready.train), (full, ready.test))
        )
        measured = measure_outputs(network.loss, on_train, ready.train, on_test, ready.test)
        records.append({"inference": inference} | measured)
    table = pd.DataFrame(records)
    return {
        TableKind.ROWS: table.assign(
            **ready.columns, p=base.p, samples=base.samples, score_name=network.loss.score_name
        )
    }


def outputs_by(
    cell: Cell, network: Network, factors: Factors, inputs: Inputs, inference: str
) -> Tensor:
    """Compute the outputs of R replicas by a way of inference.

    Args:
        cell: says the rate, the masks and N (``samples``).
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.
        inference: "expected weight", or "ensemble" of N members.

    Returns:
        Outputs, (R, k, m).
    """
    if inference == "expected weight":
        return network.replica_outputs(factors, inputs, update_scale=cell.update_scale)
    *_, mask_seed = cell.seeds()
    return ensemble_output(
        network, factors, inputs, cell.samples, p=cell.p, seed=mask_seed, rescale=cell.rescale
    )


PROBE = Probe(
    "sensitivity",
    SensitivitySettings,
    cells=SensitivitySettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: SensitivityResult.of(tables),
)
measure: MeasureSensitivity[SensitivityResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

"""Are predicted probabilities right? Calibration error with dropout and with the ensemble.

python -m probes.calibration
python -m probes.calibration --task tweets --p 0.3 --ensemble 16

>>> result = measure(task="breast_cancer", p=0.5, n=8, draws=2, steps=20, ensemble=2)
>>> result.summary["inference"].unique().tolist()
['no masks', 'expected weight', 'ensemble']
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes.cells.cell import CellJob, objective_of
from probes.cells.prepare import Prepared, prepare
from probes.cli.measures import MeasureCalibration
from probes.cli.probe import Probe
from probes.cli.study_settings import StudySettings
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import check_count, require
from probes.metrics.calibration_error import (
    DIAGRAM_BINS,
    ECE_BINS,
    calibration_error,
    calibration_floor,
    debiased_calibration_error,
    signed_root,
    signed_square,
)
from probes.metrics.class_probabilities import class_probabilities, has_classes, labels_of
from probes.metrics.confidence_intervals import means
from probes.models.network import Factors
from probes.results.answer_words import ends_in_words, intervals_in_words
from probes.results.result import Result
from probes.results.text_tables import averages, leading, rates, with_interval
from probes.tasks import load_task
from probes.training.ensemble_members import ensemble_output
from probes.training.example_weights import full_sample
from probes.training.plan import steps_in_even_ratios
from probes.training.retrain import retrain

if TYPE_CHECKING:
    from figures.style import Drawing

NO_DIAGRAM = pd.DataFrame(
    {"confidence": pd.Series(dtype=float), "accuracy": pd.Series(dtype=float)}
).assign(inference=pd.Series(dtype=str))
#: Checkpoints along training.
CHECKPOINTS = 24
#: What is averaged; rows of fine-tuning have no noise floor and nothing debiased.
QUANTITIES = ("ece", "ece_floor", "ece_debiased", "test_loss", "accuracy", "confidence")


@dataclass(frozen=True)
class CalibrationSettings(StudySettings):
    """Measure calibration along training: LoRA, with dropout, with the test-time ensemble."""

    p: tuple[float, ...] = (0.3,)
    """Dropout rates in (0, 1); LoRA without dropout is always measured beside them."""

    ensemble: int = 16
    """Size N of the test-time ensemble."""

    def cells(self) -> "list[CalibrationCell]":
        """Check every value and return the cells of the grid."""
        for p in self.p:
            require(0 < p < 1, "p", "in (0, 1)", p)
        check_count("ensemble", self.ensemble)
        bases = self.base_cells(p=(0.0, *self.p))
        classes = has_classes(load_task(self.task, bases[0].text).loss)
        require(classes, "task", "one with classes", f"{self.task}, a regression")
        return [CalibrationCell(base, self.ensemble) for base in bases]


@dataclass(frozen=True)
class CalibrationCell(CellJob):
    """One rate on one draw of S; its network is trained on S alone."""

    ensemble: int

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        return self.base.steps


class CalibrationResult(Result):
    """One row a rate, draw, inference and checkpoint; ``more[TableKind.DIAGRAM]``: see
    :func:`measure_cell`."""

    name = "calibration"
    question = "Calibration at the best checkpoint and at the end of training"
    note = (
        f"means over draws, 95 % intervals (Student); ECE: expected calibration error, {ECE_BINS} "
        "bins, of the most probable class; floor: what noise alone gives a calibrated predictor; "
        "debiased: l2 calibration error without the noise, negative where noise exceeds it; the "
        "best checkpoint has the least loss on one half of the held-out data, everything is "
        "measured on the other half; outputs are averaged before the softmax"
    )

    @cached_property
    def best(self) -> pd.DataFrame:
        """The rows of every draw's best checkpoint, by validation loss.

        A draw whose validation loss is finite nowhere has none: what it measured is NaN.
        """
        losses = self.rows.groupby(["p", "inference", "draw"], sort=False)["validation_loss"]
        best = self.rows.loc[[least_or_last(group) for _, group in losses]]
        measured = best.columns.intersection([*QUANTITIES, "step"])
        found = np.isfinite(best["validation_loss"])
        return best.assign(**best[measured].where(found))

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a rate, inference and moment ("best" or "end"): means of ``QUANTITIES``.

        ``ece_debiased`` is the root of the mean square, as are the ends of its interval.
        """
        end = self.rows[self.rows["step"] == self.rows["step"].max()]
        both = pd.concat([self.best.assign(moment="best"), end.assign(moment="end")])
        return _calibration_means(both, ["p", "inference", "moment"], [*QUANTITIES, "step"])

    def plot(self) -> "Drawing":
        """Draw the calibration error along training, and reliability at the best checkpoint."""
        from figures.calibration import draw

        points = means(self.rows, ["p", "inference", "step"], ["ece", "ece_floor"])
        tables = (points, self.summary, self.more[TableKind.DIAGRAM])
        caption = (
            f"{self.setting}, objective dropout; "
            f"bands and bars: {intervals_in_words(self.draw_count)}"
        )
        points, moments, diagram = (table.assign(label=self._labels(table)) for table in tables)
        return draw(points, moments, diagram, caption).titled(self.answer)

    def _labels(self, table: pd.DataFrame) -> list[str]:
        size = self.rows["ensemble"].iloc[0]
        return [
            f"p = {p:g}, {inference}" + (f" N = {size}" if inference == "ensemble" else "")
            for p, inference in zip(table["p"], table["inference"], strict=True)
        ]

    @property
    def finding(self) -> str:
        """The calibration error of the best and the worst at their best checkpoints."""
        best = self.summary[self.summary["moment"] == "best"]
        labelled = best.assign(label=self._labels(best))
        said = ends_in_words(labelled, "ece", lambda row: str(row["label"]))
        return f"At the best checkpoint the calibration error (ECE) is {said or 'not known'}."

    def brief(self) -> pd.DataFrame:
        """The calibration error first, then what it goes with."""
        return leading(self.text(), ["p", "inference", "checkpoint", "ECE", "test loss"])

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary = self.summary
        columns: dict[str, Any] = {
            "p": rates(summary["p"]),
            "inference": summary["inference"],
            "checkpoint": summary["moment"],
            "step": summary["step"].map("{:.0f}".format),
            "ECE": with_interval(summary, "ece"),
        }
        if "ece_floor" in summary:
            columns["floor"] = averages(summary, "ece_floor")
        if "ece_debiased" in summary:
            columns["debiased"] = _debiased(summary)
        return pd.DataFrame(
            columns
            | {
                "test loss": with_interval(summary, "test_loss"),
                "test accuracy": averages(summary, "accuracy", 3),
                "mean confidence": averages(summary, "confidence", 3),
            }
        )


def least_or_last(losses: pd.Series) -> Any:
    """Return the label of the least finite loss; of the last one if none is finite."""
    finite = losses[np.isfinite(losses)]
    return finite.idxmin() if len(finite) else losses.index[-1]


def _calibration_means(rows: pd.DataFrame, keys: list[str], quantities: list[str]) -> pd.DataFrame:
    """Average over draws; of what is debiased, the squares."""
    name = "ece_debiased"
    if name not in rows:
        return means(rows, keys, quantities)
    table = means(rows.assign(**{name: signed_square(rows[name].to_numpy())}), keys, quantities)
    ends = (name, f"{name}_low", f"{name}_high")
    return table.assign(**{end: signed_root(table[end].to_numpy()) for end in ends})


def _debiased(summary: pd.DataFrame) -> list[str]:
    """The debiased errors with the ends of their intervals, which need not be symmetric."""
    ends = zip(summary["ece_debiased_low"], summary["ece_debiased_high"], strict=True)
    return [
        text if pd.isna(low) else f"{text} [{low:.4f}, {high:.4f}]"
        for text, (low, high) in zip(averages(summary, "ece_debiased"), ends, strict=True)
    ]


@torch.no_grad()
def measure_cell(cell: CalibrationCell, progress: Progress) -> Tables:
    """Train on S and measure calibration at checkpoints, evenly spaced in the step's logarithm.

    Args:
        cell: one draw of S at one rate.
        progress: told 1 after every step.

    Returns:
        One row an inference and checkpoint: the settings, ``p``, ``inference`` ("no masks" for
        p = 0, else "expected weight" and "ensemble"), ``step``, ``validation_loss``, and on the
        other half of the held-out data ``test_loss``, ``accuracy``, ``confidence`` (mean
        probability of the most probable class), ``ece``, ``ece_floor`` (noise floor) and
        ``ece_debiased`` (l2); all NaN where the network diverged. The reliability diagram: at the
        best checkpoint, one row an inference and bin of confidence that is not empty, with its mean
        ``confidence`` and ``accuracy``; none where every validation loss is NaN.
    """
    base = cell.base
    ready = prepare(base)
    stops = steps_in_even_ratios(base.steps, CHECKPOINTS)
    records: list[dict[str, Any]] = []
    least: dict[str, float] = {}
    diagrams: dict[str, pd.DataFrame] = {}

    def checkpoint(step: int, rows: slice, factors: Factors) -> None:
        progress(1)
        if step not in stops:
            return
        for inference, outputs in _inferences(cell, ready, factors):
            record, diagram = _measure(ready, outputs)
            records.append({"step": step, "inference": inference} | record)
            loss = record["validation_loss"]
            if loss < least.get(inference, float("inf")):
                least[inference] = loss
                diagrams[inference] = diagram.assign(inference=inference)

    retrain(
        ready.network, ready.train, full_sample(base.n), ready.start, ready.training,
        objective_of(base), checkpoint=checkpoint,
    )  # fmt: skip
    settings = {**ready.columns, "p": base.p, "ensemble": cell.ensemble}
    return {
        TableKind.ROWS: pd.DataFrame(records).assign(**settings),
        TableKind.DIAGRAM: pd.concat([NO_DIAGRAM, *diagrams.values()]).assign(**settings),
    }


def _inferences(
    cell: CalibrationCell, ready: Prepared, factors: Factors
) -> Iterator[tuple[str, Tensor]]:
    """Outputs on the held-out data, (k, m), by every way of inference."""
    base, network = cell.base, ready.network
    yield (
        "no masks" if base.p == 0 else "expected weight",
        network.replica_outputs(factors, ready.test, update_scale=base.update_scale)[0],
    )
    if base.p == 0:
        return
    *_, mask_seed = base.seeds()
    averaged = ensemble_output(
        network, factors, ready.test, cell.ensemble, p=base.p, seed=mask_seed
    )
    yield "ensemble", averaged[0]


def _measure(ready: Prepared, outputs: Tensor) -> tuple[dict[str, float], pd.DataFrame]:
    """Measure on the second half of the held-out data; the first half is for validation."""
    loss, targets = ready.network.loss, ready.test.targets.double()
    outputs, half = outputs.double(), outputs.shape[1] // 2
    losses = loss.value(outputs, targets)
    probabilities = class_probabilities(loss, outputs[:, half:]).T
    labels = labels_of(targets[:, half:])
    confidence, predicted = probabilities.max(1)
    record = {
        "validation_loss": float(losses[:half].mean()),
        "test_loss": float(losses[half:].mean()),
        "accuracy": float(loss.score(outputs[:, half:], targets[:, half:]).mean()),
        "confidence": float(confidence.mean()),
        "ece": calibration_error(probabilities, labels),
        "ece_floor": calibration_floor(probabilities),
        "ece_debiased": debiased_calibration_error(probabilities, labels),
    }
    return record, _diagram(confidence, predicted == labels)


def _diagram(confidence: Tensor, right: Tensor) -> pd.DataFrame:
    """Mean confidence and accuracy of every bin that is not empty; of no bin with a NaN."""
    from sklearn.calibration import calibration_curve

    if confidence.isnan().any():
        return NO_DIAGRAM
    accuracy, average = calibration_curve(right.numpy(), confidence.numpy(), n_bins=DIAGRAM_BINS)
    return pd.DataFrame({"confidence": average, "accuracy": accuracy})


PROBE = Probe(
    "calibration",
    CalibrationSettings,
    cells=CalibrationSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: CalibrationResult.of(tables),
    kinds=lambda settings: (TableKind.ROWS, TableKind.DIAGRAM),
)
measure: MeasureCalibration[CalibrationResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

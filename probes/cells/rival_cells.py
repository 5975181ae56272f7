"""Tuning a method on some draws of S, and measuring what was chosen on others.

A draw that tunes trains every setting, a learning rate and a strength, once, and looks at several
stopping times on the way. It is judged by cross validation, or by what is left of the data beside
S. For cross validation a draw has so many more than n examples that every network trains on n of
them: the best stopping time depends on the size, and that of fewer examples comes too early.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probes.cells.cell import CellJob
from probes.cells.prepare import Prepared
from probes.cells.stopped_training import Setting, outputs_at_stops, told_work
from probes.cells.tuning_parts import Part, examples_of, prepare_part
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.validation import require
from probes.metrics.calibration_error import calibration_error, calibration_floor
from probes.metrics.class_probabilities import class_probabilities, has_classes, labels_of
from probes.metrics.constant_prediction import best_constant
from probes.metrics.metrics_of_outputs import measure_outputs
from probes.models.network import Inputs
from probes.tasks import load_task
from probes.training.example_weights import full_sample, leave_out
from probes.training.rivals import RIVALS, strengths_at

#: Networks that are trained beside that of S: one without each example, one without each of
#: ``FOLDS`` parts of S, or none.
Beside = Literal["examples", "folds", "none"]
FOLDS = 4
#: Largest of the learning rates that are tried, in units of the smallest.
RATE_RANGE = 32.0
#: Stopping times that are tried, in shares of the steps.
SHARES = tuple(float(share) for share in np.geomspace(0.05, 1, 10).round(4))
#: Learning rates that are tried at every strength, at least: a wrong rate costs more than a wrong
#: strength.
RATES_A_STRENGTH = 3


def learning_rates(smallest: float, count: int) -> tuple[float, ...]:
    """Return learning rates, evenly spaced in the logarithm.

    Args:
        smallest: the first; the last is ``RATE_RANGE`` times as large.
        count: of the rates; a single one is in the middle.

    Returns:
        The rates, rising.

    >>> [round(rate, 5) for rate in learning_rates(1e-3, 3)]
    [0.001, 0.00566, 0.032]
    """
    if count == 1:
        return (float(smallest * RATE_RANGE**0.5),)
    return tuple(float(rate) for rate in smallest * np.geomspace(1, RATE_RANGE, count))


def tried_values(
    method: str, trainings: int, smallest: float, rank: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the strengths and learning rates on which a method spends its trainings.

    Args:
        method: its name in ``RIVALS``.
        trainings: on a draw that tunes; what the strengths do not divide stays unspent.
        smallest: of the learning rates.
        rank: of the update of plain LoRA.

    Returns:
        Strengths, evenly spaced among those of the method, and learning rates, rising: every
        combination is tried.

    >>> strengths, rates = tried_values("LoRA Dropout", 8, 1e-3, 8)
    >>> strengths, len(rates)
    ((0.2, 0.5), 4)
    """
    strengths = strengths_at(method, rank)
    kept = max(1, min(len(strengths), trainings // RATES_A_STRENGTH))
    places = ((np.arange(kept) + 0.5) / kept * len(strengths)).astype(int)
    return (
        tuple(strengths[at] for at in places),
        learning_rates(smallest, max(1, trainings // kept)),
    )


def left_out(beside: Beside, n: int) -> list[list[int]]:
    """Return the examples of S that each network beside that of S does not see.

    Args:
        beside: which networks there are.
        n: size of S.

    Returns:
        Positions in S, one list a network; a fold holds every fourth example.

    >>> left_out("folds", 6), left_out("examples", 2)
    ([[0, 4], [1, 5], [2], [3]], [[0], [1]])
    """
    groups = {"examples": n, "folds": FOLDS, "none": 0}[beside]
    return [list(range(group, n, groups)) for group in range(groups)]


def check_size(n: int, task: str, examples: int, seed: int) -> None:
    """Check that the part of the data that tunes has a draw of S, and an example beside it.

    Args:
        n: size of S.
        task: its name, for the message.
        examples: of the whole data set.
        seed: of the run.

    Raises:
        ValueError: n is too small for cross validation, or too large for the part, or the part is
            too small for any n.
    """
    largest = len(examples_of("tuning", examples, seed)) - 1
    more = f"larger for {task}: the part that tunes has {largest + 1}, and needs {2 * FOLDS + 1}"
    require(largest >= 2 * FOLDS, "number of examples", more, examples)
    allowed = f"from {2 * FOLDS} to {largest} for {task}, as one part of the data tunes"
    require(2 * FOLDS <= n <= largest, "n", allowed, n)


def size_with_folds(n: int, pool: int) -> int:
    """Return the size of a draw of which every network of a cross validation trains on n.

    Args:
        n: size of S.
        pool: number of examples that are drawn from; where it is smaller, all but one are drawn.

    Returns:
        Number of examples, at least n.
    """
    return max(n, min(round(n * FOLDS / (FOLDS - 1)), pool - 1))


@dataclass(frozen=True)
class TuningCell(CellJob):
    """One draw of S on which all settings of a method are tried.

    Attributes:
        base: the draw; its learning rate and p do not matter.
        part: of the data, that S is drawn from.
        method: its name in ``RIVALS``.
        strengths, rates, shares: that are tried, every combination.
        folds: whether cross validation judges, or the rest of the part does.
    """

    part: Part
    method: str
    strengths: tuple[float, ...]
    rates: tuple[float, ...]
    shares: tuple[float, ...]
    folds: bool

    @property
    def settings(self) -> list[Setting]:
        """All that are tried, the stopping times of a training side by side."""
        tried = product(self.strengths, self.rates, self.shares)
        return [Setting(strength, lr, share) for strength, lr, share in tried]

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        networks = FOLDS if self.folds else 1
        return networks * told_work(self.method, self.settings, self.base.steps)


@dataclass(frozen=True)
class MeasuredCell(CellJob):
    """One draw of S on which some settings of a method are measured.

    Attributes:
        base: the draw; its learning rate and p do not matter.
        part: of the data, that S and the test set are drawn from.
        method: its name in ``RIVALS``.
        settings: that are measured.
        beside: which networks are trained beside that of S.
        judge: what ``risk``, ``score`` and ``ece`` are measured on: the test set, or the examples
            of S, each by a network that did not see it.
    """

    part: Part
    method: str
    settings: tuple[Setting, ...]
    beside: Beside
    judge: Literal["test set", "unseen"] = "test set"

    @property
    def replica_steps(self) -> int:
        """Size of the work."""
        networks = 1 + len(left_out(self.beside, self.base.n))
        return networks * told_work(self.method, self.settings, self.base.steps)


def run_rival_cell(cell: TuningCell | MeasuredCell, progress: Progress) -> Tables:
    """Tune or measure, whichever the cell is.

    Args:
        cell: the draw, the method, and what is tried or measured.
        progress: told about replicas times passes after every step.

    Returns:
        The rows, as of :func:`tune` or :func:`measure`.
    """
    rows = tune(cell, progress) if isinstance(cell, TuningCell) else measure(cell, progress)
    return {TableKind.ROWS: rows}


def tune(cell: TuningCell, progress: Progress) -> pd.DataFrame:
    """Try all settings of a method on one draw of S.

    Args:
        cell: the draw and the settings.
        progress: told about replicas times passes after every step.

    Returns:
        One row a setting: the cell's columns, ``method``, ``strength``, ``lr``, ``share`` and
        ``validation_loss``, infinite where a network diverged.
    """
    n = drawn_examples(cell)
    ready = prepare_part(replace(cell.base, n=n), cell.part)
    folds = left_out("folds" if cell.folds else "none", n)
    weights = leave_out(folds, n) if folds else full_sample(n)
    judged = ready.train if folds else ready.test
    records = []
    for setting, (outputs,) in outputs_at_stops(
        ready, cell.method, weights, cell.settings, (judged,), progress
    ):
        losses = ready.network.loss.value(outputs, judged.targets.double().cpu())
        unseen = [losses[row, held] for row, held in enumerate(folds)] or [losses[0]]
        mean = float(torch.cat(unseen).mean())
        finite = mean < float("inf")
        records.append(vars(setting) | {"validation_loss": mean if finite else float("inf")})
    known = {"n": cell.base.n, "draw": cell.base.draw, "method": cell.method}
    columns = ready.columns | known
    return pd.DataFrame(records).assign(
        **{name: value for name, value in columns.items() if name != "lr"}
    )


def drawn_examples(cell: TuningCell) -> int:
    """Return the size of a draw that tunes: n, or with folds :func:`size_with_folds`."""
    if not cell.folds:
        return cell.base.n
    task = load_task(cell.base.task, cell.base.text)
    return size_with_folds(cell.base.n, len(examples_of(cell.part, len(task), cell.base.seed)))


def measure(cell: MeasuredCell, progress: Progress) -> pd.DataFrame:
    """Measure some settings of a method on one draw of S.

    Args:
        cell: the draw and the settings.
        progress: told about replicas times passes after every step.

    Returns:
        One row a setting: the cell's columns, ``method``, ``strength``, ``lr``, ``share``, ``stop``
        (the step after which it was stopped), ``passes`` and ``test_passes`` (forward and backward
        passes of the training, forward passes of a prediction), what
        ``probes.metrics.metrics_of_outputs`` measures, and ``risk``, ``score``, ``ece`` and
        ``ece_floor`` on what judges, with ``chance_risk`` and ``chance_score`` of the best constant
        prediction for the same examples.
    """
    ready, n = prepare_part(cell.base, cell.part), cell.base.n
    unseen = left_out(cell.beside, n)
    weights = torch.cat([full_sample(n), leave_out(unseen, n)])
    records = []
    for setting, (on_train, on_test) in outputs_at_stops(
        ready, cell.method, weights, cell.settings, (ready.train, ready.test), progress, first=(1,)
    ):
        kept = on_train if cell.beside == "examples" else on_train[:1]
        record = measure_outputs(ready.network.loss, kept, ready.train, on_test, ready.test)
        outputs, judging = on_test[0], ready.test
        if cell.judge == "unseen":
            outputs, judging = on_train[0].clone(), ready.train
            for row, held in enumerate(unseen, start=1):
                outputs[:, held] = on_train[row][:, held]
        stop = setting.stop(cell.method, cell.base.steps)
        method = RIVALS[cell.method]
        records.append(
            vars(setting)
            | {"stop": stop, "passes": stop * method.passes, "test_passes": method.test_passes}
            | record
            | _judged(ready, outputs, judging)
        )
    columns = ready.columns | {"draw": cell.base.draw, "method": cell.method}
    return pd.DataFrame(records).assign(
        **{name: value for name, value in columns.items() if name != "lr"},
        score_name=ready.network.loss.score_name, judge=cell.judge,
    )  # fmt: skip


def _judged(ready: Prepared, outputs: Tensor, inputs: Inputs) -> dict[str, float]:
    loss, targets = ready.network.loss, inputs.targets.double().cpu()
    chance_risk, chance_score = best_constant(loss, targets)
    record = {
        "risk": float(loss.value(outputs, targets).mean()),
        "score": float(loss.score(outputs, targets).mean()),
        "ece": float("nan"), "ece_floor": float("nan"),
        "chance_risk": chance_risk, "chance_score": chance_score,
    }  # fmt: skip
    if has_classes(loss):
        probabilities = class_probabilities(loss, outputs).T
        record["ece"] = calibration_error(probabilities, labels_of(targets))
        record["ece_floor"] = calibration_floor(probabilities)
    return record

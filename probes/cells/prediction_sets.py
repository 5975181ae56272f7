"""Prediction intervals and sets from a cell's leave-one-out replicas, and what they cover."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from probes.cells.cell import Cell
from probes.cells.leave_one_out import Trained, train_cell
from probes.jobs.job import Progress, TableKind, Tables
from probes.metrics.class_probabilities import class_probabilities, has_classes, labels_of
from probes.models.network import some_replicas
from probes.training.blocks import blocks, replicas_per_block
from theory.barber2021 import (
    jackknife_accepts,
    jackknife_interval,
    jackknife_plus_accepts,
    jackknife_plus_interval,
)

#: The methods, by what they are called.
PLUS, PLAIN, WIDENED = "jackknife+", "jackknife", "jackknife, widened"
METHODS = (PLUS, PLAIN, WIDENED)

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Predicted:
    """What the replicas of S and of all S^i predict.

    Attributes:
        train: of S, (n + 1, classes, n); one class, the value itself, in regression.
        test: of the test examples, (n + 1, classes, m).
        train_labels: values, (n,), or classes, int64.
        test_labels: the same of the test examples, (m,).
    """

    train: Reals
    test: Reals
    train_labels: NDArray[Any]
    test_labels: NDArray[Any]


def measure_sets(cell: Cell, alpha: float, progress: Progress) -> Tables:
    """Train all replicas of a cell and measure what their intervals, or sets, cover.

    Args:
        cell: one draw of S at one rate.
        alpha: level, in (0, 1/2).
        progress: told the number of replicas after every step of a block.

    Returns:
        One row a method: the settings, ``method`` (one of ``METHODS``), ``alpha``, ``coverage``
        (share of the test examples), ``size`` (mean width of the intervals in units of the value,
        or number of classes in a set), ``empty`` (share of empty intervals or sets), ``widening``
        (of the residuals or scores), ``unstable`` (share of pairs of a test example and a left-out
        one whose score moves by more than ``widening``) and ``change`` (mean such move). Of
        networks that diverged all is NaN.
    """
    trained = train_cell(cell, progress)
    found = predicted(cell, trained)
    measure = _sets if has_classes(trained.network.loss) else _intervals
    known = bool(np.isfinite(found.train).all() and np.isfinite(found.test).all())
    records = measure(found, alpha) if known else ({"method": method} for method in METHODS)
    rows = pd.DataFrame(records, columns=["method", "coverage", "size", "empty", "widening",
                                          "unstable", "change"])  # fmt: skip
    settings = cell.training | {"pool": len(trained.index), "p": cell.p, "alpha": alpha}
    return {TableKind.ROWS: rows.assign(**settings)}


@torch.no_grad()
def predicted(cell: Cell, trained: Trained) -> Predicted:
    """Predict by the expected-weight networks of all replicas.

    Args:
        cell: the cell.
        trained: its n + 1 replicas.

    Returns:
        Values, or probabilities of the classes.
    """
    network, loss = trained.network, trained.network.loss

    def outputs(inputs: Any) -> Iterator[Tensor]:
        replicas = len(trained.factors[0][0])
        for rows in blocks(replicas, replicas_per_block(network, len(inputs))):
            some = some_replicas(trained.factors, rows)
            found = network.replica_outputs(some, inputs, update_scale=cell.update_scale)
            found = found.double().cpu()
            yield class_probabilities(loss, found) if has_classes(loss) else found

    train, test = (torch.cat(list(outputs(inputs))) for inputs in (trained.train, trained.test))
    labels = (
        labels_of(inputs.targets).cpu() if has_classes(loss) else inputs.targets[0].double().cpu()
        for inputs in (trained.train, trained.test)
    )
    return Predicted(train.numpy(), test.numpy(), *(one.numpy() for one in labels))


def allowed_instability(alpha: float) -> float:
    r"""Instability with which the widened jackknife has the guarantee of the jackknife+.

    .. math:: 1-\alpha-2\sqrt\nu=1-2\alpha\ \text{at}\ \nu=(\alpha/2)^2

    Args:
        alpha: level, in (0, 1/2).

    Returns:
        nu.
    """
    return (alpha / 2) ** 2


def _intervals(found: Predicted, alpha: float) -> Iterator[dict[str, Any]]:
    centre, left_out = found.test[0, 0], found.test[1:, 0]
    residuals = np.abs(found.train_labels - np.diagonal(found.train[1:, 0]))
    moves = np.abs(np.abs(found.test_labels - left_out) - np.abs(found.test_labels - centre))
    widening = _widening(moves, alpha)
    for method, (low, high), more in (
        (PLUS, jackknife_plus_interval(left_out, residuals, alpha), 0.0),
        (PLAIN, jackknife_interval(centre, residuals, alpha), 0.0),
        (WIDENED, jackknife_interval(centre, residuals, alpha, widening), widening),
    ):
        inside = (low <= found.test_labels) & (found.test_labels <= high)
        yield {
            "method": method,
            "coverage": inside.mean(),
            "size": np.maximum(high - low, 0).mean(),
            "empty": (high < low).mean(),
        } | _moved(moves, more)


def _sets(found: Predicted, alpha: float) -> Iterator[dict[str, Any]]:
    """Sets of classes; the score of a class is 1 less its probability."""
    n, m = len(found.train_labels), len(found.test_labels)
    own = 1 - found.train[1 + np.arange(n), found.train_labels, np.arange(n)]
    scores = 1 - found.test
    of_labels = scores[:, found.test_labels, np.arange(m)]
    moves = np.abs(of_labels[1:] - of_labels[0])
    widening = _widening(moves, alpha)
    for method, inside, more in (
        (PLUS, jackknife_plus_accepts(scores[1:], own, alpha), 0.0),
        (PLAIN, jackknife_accepts(scores[0], own, alpha), 0.0),
        (WIDENED, jackknife_accepts(scores[0], own, alpha, widening), widening),
    ):
        yield {
            "method": method,
            "coverage": inside[found.test_labels, np.arange(m)].mean(),
            "size": inside.sum(0).mean(),
            "empty": (~inside.any(0)).mean(),
        } | _moved(moves, more)


def _widening(moves: Reals, alpha: float) -> float:
    """A move that no more than the allowed share of the moves exceeds: the least, or the next."""
    return float(np.quantile(moves, 1 - allowed_instability(alpha), method="higher"))


def _moved(moves: Reals, widening: float) -> dict[str, float]:
    unstable = float((moves > widening).mean())
    return {"widening": widening, "unstable": unstable, "change": float(moves.mean())}

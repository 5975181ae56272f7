"""Jackknife+ intervals of this project and of MAPIE, from the same regressions: numbers and time.

MAPIE's ``CrossConformalRegressor`` with ``LeaveOneOut`` is the jackknife+ (method "plus") and the
plain jackknife ("base"). It trains one regression after the other; this project trains all n at
once. Both get the same two learners on the diabetes data: ridge regression, and the LoRA Dropout
network of ``python -m probes.coverage --task ridge``, with the same start and masks.

    python -m benchmarks.coverage --n 64 --repetitions 3
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import LeaveOneOut

from benchmarks.interleaved_timing import timed
from probes.cells.cell import Cell, objective_of
from probes.cells.leave_one_out import train_cell
from probes.cells.prediction_sets import predicted
from probes.cells.prepare import prepare
from probes.cli.command_line import run_functions
from probes.coverage import CoverageSettings
from probes.models.feedforward import Columns, FeedForward
from probes.statements.exact_minimisers import Problem, minimisers
from probes.statements.linear_losses import SQUARED
from probes.training.example_weights import full_sample
from probes.training.retrain import retrain
from theory.barber2021 import jackknife_interval, jackknife_plus_interval

Reals = NDArray[np.float64]
#: Lower and upper ends, (m,) each, of the jackknife+ and of the plain jackknife.
Ends = dict[str, tuple[Reals, Reals]]
#: What MAPIE calls the two.
METHODS = {"jackknife+": "plus", "jackknife": "base"}
#: Factor of the squared norm that is added to the mean squared error.
STRENGTH = 0.05


@dataclass
class Data:
    """S and the test examples: features (n, d) and values (n,), float64."""

    features: Reals
    values: Reals
    new_features: Reals
    new_values: Reals


class RidgeRegression(RegressorMixin, BaseEstimator):
    """Ridge regression whose penalty does not depend on the number of examples."""

    def fit(self, X: Reals, y: Reals) -> Self:
        """Minimise the squared loss with the penalty.

        Args:
            X: features, (n, d).
            y: values, (n,).

        Returns:
            Itself, trained.
        """
        gram = X.T @ X / len(X) + STRENGTH * np.eye(X.shape[1])
        self.coef_ = np.linalg.solve(gram, X.T @ y / len(X))
        return self

    def predict(self, X: Reals) -> Reals:
        """Values, (m,), at features (m, d)."""
        return X @ self.coef_


class LoRANetwork(RegressorMixin, BaseEstimator):
    """The network of a cell, trained on one set of examples.

    Args:
        cell: says how.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def fit(self, X: Reals, y: Reals) -> Self:
        """Train a replica as the cell is trained, on these examples.

        Args:
            X: features, (n, d).
            y: values, (n,).

        Returns:
            Itself, trained.
        """
        ready = prepare(self.cell)
        assert isinstance(ready.network, FeedForward)
        inputs = ready.network.read(torch.from_numpy(X), torch.from_numpy(y)[:, None])
        with torch.no_grad():
            self.factors_ = retrain(
                ready.network, inputs, full_sample(len(X)), ready.start, ready.training,
                objective_of(self.cell),
            )  # fmt: skip
        self.network_ = ready.network
        return self

    def predict(self, X: Reals) -> Reals:
        """Values of the expected-weight network, (m,), at features (m, d)."""
        inputs = self.network_.read(torch.from_numpy(X), torch.zeros(len(X), 1))
        with torch.no_grad():
            scale = self.cell.update_scale
            outputs = self.network_.replica_outputs(self.factors_, inputs, update_scale=scale)
        return outputs[0, 0].double().numpy()


def ridge_together(data: Data, alpha: float) -> Ends:
    """Both intervals of ridge regression, from all leave-one-out minimisers at once.

    Args:
        data: training and new examples.
        alpha: level.

    Returns:
        Ends of the intervals at the new examples, by method.
    """
    found = minimisers(Problem(data.features, data.values[:, None], SQUARED), STRENGTH)
    errors = np.abs(data.values - (found.left_out[:, 0] * data.features).sum(1))
    centre, left_out = (
        data.new_features @ theta.T for theta in (found.full[0], found.left_out[:, 0])
    )
    return ends_of(centre, left_out.T, errors, alpha)


def network_together(cell: Cell, alpha: float) -> Ends:
    """Both intervals of the network, from all leave-one-out replicas at once.

    Args:
        cell: what is trained.
        alpha: level.

    Returns:
        Ends of the intervals at the test examples, by method.
    """
    found = predicted(cell, train_cell(cell))
    errors = np.abs(found.train_labels - np.diagonal(found.train[1:, 0]))
    return ends_of(found.test[0, 0], found.test[1:, 0], errors, alpha)


def ends_of(centre: Reals, left_out: Reals, errors: Reals, alpha: float) -> Ends:
    """Both intervals from predictions.

    Args:
        centre: of the predictor of S at the new examples, (m,).
        left_out: of the leave-one-out predictors there, (n, m).
        errors: of these at the example that each leaves out, (n,).
        alpha: level.

    Returns:
        Ends of the intervals, by method.
    """
    return {
        "jackknife+": jackknife_plus_interval(left_out, errors, alpha),
        "jackknife": jackknife_interval(centre, errors, alpha),
    }


def with_mapie(estimator: RegressorMixin, data: Data, alpha: float) -> Ends:
    """Both intervals, each of which MAPIE trains for itself.

    Args:
        estimator: that MAPIE trains.
        data: training and new examples.
        alpha: level.

    Returns:
        Ends of the intervals at the new examples, by method.
    """
    from mapie.regression import CrossConformalRegressor

    found = {}
    for name, method in METHODS.items():
        regressor = CrossConformalRegressor(
            estimator, confidence_level=1 - alpha, method=method, cv=LeaveOneOut()
        )
        regressor.fit_conformalize(data.features, data.values)
        _, ends = regressor.predict_interval(data.new_features)
        found[name] = ends[:, 0, 0], ends[:, 1, 0]
    return found


def data_of(cell: Cell) -> Data:
    """Features and values of S and of the test examples, float64."""
    ready = prepare(cell)
    assert isinstance(ready.train, Columns)
    assert isinstance(ready.test, Columns)
    parts = (
        part.double().numpy()
        for inputs in (ready.train, ready.test)
        for part in (inputs.features.mT.contiguous(), inputs.targets[0])
    )
    return Data(*parts)


def line(name: str, ends: tuple[Reals, Reals], ours: tuple[Reals, Reals], values: Reals) -> str:
    """Say coverage and width of intervals, and how far they are from ours.

    Args:
        name: of who made them.
        ends: of the intervals, (m,) each.
        ours: the same by this project.
        values: that they should cover, (m,).

    Returns:
        A line.
    """
    low, high = ends
    covered = ((low <= values) & (values <= high)).mean()
    difference = max(np.abs(one - other).max() for one, other in zip(ends, ours, strict=True))
    return (
        f"    {name:12} coverage {covered:.3f}, mean width {(high - low).mean():.4f}, largest "
        f"difference from ours {difference:.1e}"
    )


def main(n: int = 64, p: float = 0.3, alpha: float = 0.1, repetitions: int = 3) -> None:
    """Print coverage, width and time of both.

    Args:
        n: size of S, of the 442 patients.
        p: dropout rate of the network.
        alpha: level.
        repetitions: interleaved repetitions; the least times are shown.

    Raises:
        SystemExit: MAPIE is not installed.
    """
    if find_spec("mapie") is None:
        raise SystemExit("error: mapie is needed: pip install 'lora-dropout[bench]'")
    (found,) = CoverageSettings(task="ridge", n=n, p=(p,), draws=1, alpha=alpha).cells()
    cell, data = found.base, data_of(found.base)
    learners: dict[str, tuple[Callable[[], Ends], RegressorMixin]] = {
        "ridge regression": (lambda: ridge_together(data, alpha), RidgeRegression()),
        f"LoRA Dropout, p = {p:g}": (lambda: network_together(cell, alpha), LoRANetwork(cell)),
    }
    for name, (together, estimator) in learners.items():
        ours, theirs = together(), with_mapie(estimator, data, alpha)
        print(f"{name}, n = {n}, α = {alpha:g}")
        for method in METHODS:
            print(line(method, ours[method], ours[method], data.new_values))
            print(line("MAPIE", theirs[method], ours[method], data.new_values))
        seconds = [
            (timed(together), timed(lambda model=estimator: with_mapie(model, data, alpha)))
            for _ in range(repetitions)
        ]
        own, other = np.min(seconds, axis=0)
        print(f"    both intervals: {own:.3f} s; MAPIE {other:.3f} s, {other / own:.0f} times")


if __name__ == "__main__":
    run_functions(main)

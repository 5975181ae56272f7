"""Exact minimisers of the theorem's objective for linear models, on S and on every S^i.

The objective is the weighted mean loss plus s ||theta||^2, with s = lambda (2p - p^2) and
theta_0 = 0; theta is a matrix (k, d) of k outputs and d features. Everything is float64.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probes.statements.linear_losses import LOGISTIC, SOFTMAX, SQUARED, Array, LinearLoss
from theory.readings import Form

#: Newton's method stops when no replica's gradient is larger.
GRADIENT_TOLERANCE = 1e-10
#: Newton steps at most; from theta(S), leave-one-out takes three or four.
NEWTON_STEPS = 100


@dataclass(frozen=True)
class Problem:
    """Examples of a linear model.

    Attributes:
        features: (n, d).
        targets: (n, k): values, 0/1 labels or one-hot classes.
        loss: of one example.
    """

    features: Array
    targets: Array
    loss: LinearLoss

    def __len__(self) -> int:
        return len(self.features)

    def take(self, index: NDArray[np.int64]) -> "Problem":
        """Return the examples at ``index``."""
        return Problem(self.features[index], self.targets[index], self.loss)

    def losses(self, theta: Array) -> Array:
        """Losses of models (..., k, d) on all examples, (..., n)."""
        return self.loss.value(self.outputs(theta), self.targets)

    def outputs(self, theta: Array) -> Array:
        """Outputs of models (..., k, d), (..., n, k)."""
        return self.features @ np.swapaxes(theta, -1, -2)

    def gradients(self, theta: Array) -> Array:
        """Gradients of every example's loss in theta, (..., n, k, d)."""
        return (
            self.loss.gradient(self.outputs(theta), self.targets)[..., None]
            * (self.features[:, None])
        )

    def hessian(self, theta: Array, weights: Array, penalty_weight: float) -> Array:
        """Hessians of the objectives of R models.

        Args:
            theta: models, (R, k, d).
            weights: of the examples, one model a row, (R, n).
            penalty_weight: s, at least 0.

        Returns:
            (R, kd, kd), in units of the loss per squared unit of theta.
        """
        return self._pull_back(
            self.loss.hessian(self.outputs(theta), self.targets), weights, penalty_weight
        )

    def lower_hessian(self, theta: Array, ends: Array, penalty_weight: float) -> Array:
        """Lower bounds of the Hessian of the objective on S along R segments.

        Args:
            theta: start of all segments, (k, d).
            ends: their ends, (R, k, d).
            penalty_weight: s, at least 0.

        Returns:
            Matrices, (R, kd, kd), that are at most the Hessian, in the order of symmetric matrices,
            at every point of a segment.
        """
        below = self.loss.lower_hessian(self.outputs(theta), self.outputs(ends))
        return self._pull_back(
            below, np.full((len(ends), len(self)), 1 / len(self)), penalty_weight
        )

    def _pull_back(self, output_hessian: Array, weights: Array, penalty_weight: float) -> Array:
        """Hessian in theta from the examples' Hessians in the outputs, (R, n, k, k)."""
        (replicas, _), k, d = weights.shape, output_hessian.shape[-1], self.features.shape[1]
        size = k * d
        result = np.empty((replicas, k, d, k, d))
        pairs = (self.features[:, :, None] * self.features[:, None]).reshape(len(self), d * d)
        for a in range(k):
            for b in range(k):
                block = (weights * output_hessian[:, :, a, b]) @ pairs
                result[:, a, :, b] = block.reshape(replicas, d, d)
        return result.reshape(replicas, size, size) + 2 * penalty_weight * np.eye(size)


def load_problem(task: str) -> Problem:
    """Load a data set as a linear model's problem, features standardized over the whole set.

    ``ridge`` is diabetes with squared loss, ``breast_cancer`` logistic regression, ``wine`` softmax
    regression; all from scikit-learn.
    """
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

    loaders = {"ridge": load_diabetes, "breast_cancer": load_breast_cancer, "wine": load_wine}
    features, labels = loaders[task](return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    if task == "ridge":
        values = (labels - labels.mean()) / labels.std()
        return Problem(features, values[:, None], SQUARED)
    if task == "breast_cancer":
        return Problem(features, labels[:, None].astype(float), LOGISTIC)
    return Problem(features, np.eye(3)[labels], SOFTMAX)


TASKS = ("ridge", "breast_cancer", "wine")


def leave_one_out_weights(n: int, form: Form) -> Array:
    """Example weights of all S^i: the mean over n - 1 examples, or their sum over n.

    Args:
        n: size of S, at least 2 for the mean.
        form: "mean" or "sum".

    Returns:
        (n, n), row i for S^i: 0 for example i, elsewhere 1/(n-1) or 1/n.
    """
    return (1 - np.eye(n)) / (n - 1 if form == "mean" else n)


@dataclass(frozen=True)
class Minimisers:
    """theta(S), (k, d), and all theta(S^i), (n, k, d)."""

    full: Array
    left_out: Array


def minimisers(problem: Problem, penalty_weight: float, form: Form = "mean") -> Minimisers:
    """Minimise the objective on S and on every S^i.

    Args:
        problem: S, n >= 2 examples.
        penalty_weight: s = lambda (2p - p^2), positive.
        form: "mean" over the n - 1 examples of S^i, or their "sum" divided by n.

    Returns:
        theta(S) and all theta(S^i).

    Raises:
        ArithmeticError: Newton's method did not reach a gradient norm of 1e-10.
    """
    n = len(problem)
    full = newton(problem, np.full((1, n), 1 / n), penalty_weight)
    if problem.loss.quadratic:
        return Minimisers(full[0], ridge_left_out(problem, penalty_weight, form))
    start = np.repeat(full, n, axis=0)
    return Minimisers(
        full[0], newton(problem, leave_one_out_weights(n, form), penalty_weight, start)
    )


def ridge_left_out(problem: Problem, penalty_weight: float, form: Form = "mean") -> Array:
    """All theta(S^i) of ridge regression in closed form, (n, k, d).

    The mean over n - 1 examples plus s ||.||^2 has the minimiser of the sum of squares plus
    s (n-1) ||.||^2. So it is a downdate, by one example, of the solution theta' on *all* n examples
    with G = X'X + s (n-1) I, that is with s' = s (n-1)/n in the place of s: theta(S^i) =
    theta' - G^-1 x_i e_i / (1 - h_i) with its residuals e and leverages h. For the sum divided by
    n, s' = s.

    Source: Sherman & Morrison 1950 (the downdate).

    Args:
        problem: S, n >= 2 examples, squared loss.
        penalty_weight: s, positive.
        form: "mean" over the n - 1 examples of S^i, or their "sum" divided by n.

    Returns:
        (n, k, d).
    """
    X, Y, n = problem.features, problem.targets, len(problem)
    total = penalty_weight * (n - 1 if form == "mean" else n)
    inverse_X = np.linalg.solve(X.T @ X + total * np.eye(X.shape[1]), X.T)
    theta = inverse_X @ Y
    residuals, leverages = Y - X @ theta, np.einsum("nd,dn->n", X, inverse_X)
    change = (residuals / (1 - leverages)[:, None])[:, :, None] * inverse_X.T[:, None]
    return theta.T - change


def newton(
    problem: Problem, weights: Array, penalty_weight: float, start: Array | None = None
) -> Array:
    """Minimise many objectives that differ in their example weights, together.

    Damped Newton steps: halved, replica by replica, until the objective falls.

    Args:
        problem: n examples.
        weights: of the examples, one objective a row, (R, n).
        penalty_weight: s, positive.
        start: (R, k, d); 0 if None.

    Returns:
        The minimisers, (R, k, d), at gradients of norm 1e-10 or less.

    Raises:
        ArithmeticError: that was not reached.
    """
    if start is None:
        start = np.zeros((len(weights), problem.targets.shape[1], problem.features.shape[1]))
    theta = start.copy()
    active = np.arange(len(theta))
    for _ in range(NEWTON_STEPS):
        gradient = objective_gradient(problem, weights[active], penalty_weight, theta[active])
        # Not "larger than": a gradient that is not a number has not converged either.
        large = ~(np.linalg.norm(gradient, axis=(1, 2)) <= GRADIENT_TOLERANCE)
        active, gradient = active[large], gradient[large]
        if len(active) == 0:
            return theta
        hessian = problem.hessian(theta[active], weights[active], penalty_weight)
        step = np.linalg.solve(hessian, gradient.reshape(len(active), -1, 1))
        theta[active] = _descend(
            problem, weights[active], penalty_weight, theta[active], step.reshape(gradient.shape)
        )
    raise ArithmeticError(f"Newton's method did not converge in {NEWTON_STEPS} steps")


def objective(problem: Problem, weights: Array, penalty_weight: float, theta: Array) -> Array:
    """Value of every objective: weighted loss plus s ||theta||^2.

    Args:
        problem: n examples.
        weights: of the examples, one objective a row, (R, n).
        penalty_weight: s.
        theta: (R, k, d).

    Returns:
        (R,), in units of the loss.
    """
    return (weights * problem.losses(theta)).sum(1) + penalty_weight * np.square(theta).sum((1, 2))


def objective_gradient(
    problem: Problem, weights: Array, penalty_weight: float, theta: Array
) -> Array:
    """Gradient of every objective in theta.

    Args:
        problem, weights, penalty_weight, theta: as for :func:`objective`.

    Returns:
        (R, k, d).
    """
    slope = problem.loss.gradient(problem.outputs(theta), problem.targets) * weights[..., None]
    return np.swapaxes(slope, 1, 2) @ problem.features + 2 * penalty_weight * theta


def _descend(
    problem: Problem, weights: Array, penalty_weight: float, theta: Array, step: Array
) -> Array:
    before = objective(problem, weights, penalty_weight, theta)
    size = np.ones(len(theta))
    for _ in range(40):
        after = objective(problem, weights, penalty_weight, theta - size[:, None, None] * step)
        # Near the minimum the objective is flat to rounding: the full step is then right.
        worse = after > before + 1e-13 * (1 + np.abs(before))
        if not worse.any():
            break
        size[worse] /= 2
    return theta - size[:, None, None] * step

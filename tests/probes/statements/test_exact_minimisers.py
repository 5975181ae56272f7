"""Exact minimisers against scikit-learn and statsmodels, one example at a time."""

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression, Ridge

from probes.statements.exact_minimisers import (
    GRADIENT_TOLERANCE,
    TASKS,
    Problem,
    leave_one_out_weights,
    load_problem,
    minimisers,
    newton,
    objective_gradient,
    ridge_left_out,
)
from probes.statements.linear_losses import LOGISTIC, SOFTMAX, SQUARED

N = 40


def sample(task, n=N, seed=0):
    population = load_problem(task)
    return population.take(np.random.default_rng(seed).permutation(len(population))[:n])


@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_ridge_equals_scikit_learn_refitted_without_each_example(strength):
    """scikit-learn minimises the sum of squares plus alpha |w|^2, so alpha = s (n - 1)."""
    problem = sample("ridge")
    found = minimisers(problem, strength)
    model = Ridge(alpha=strength * (N - 1), fit_intercept=False, tol=1e-12)
    for i in range(N):
        keep = np.arange(N) != i
        model.fit(problem.features[keep], problem.targets[keep, 0])
        assert np.allclose(found.left_out[i, 0], model.coef_, rtol=1e-9, atol=1e-12)
    model = Ridge(alpha=strength * N, fit_intercept=False, tol=1e-12)
    model.fit(problem.features, problem.targets[:, 0])
    assert np.allclose(found.full[0], model.coef_, rtol=1e-9)


@pytest.mark.parametrize("form", ["mean", "sum"])
def test_the_hat_matrix_equals_the_normal_equations(form):
    problem = sample("ridge")
    weights = leave_one_out_weights(N, form)
    solved = newton(problem, weights, 0.05, np.zeros((N, 1, 10)))
    assert np.allclose(ridge_left_out(problem, 0.05, form), solved, rtol=1e-10, atol=1e-14)


def test_the_hat_matrix_with_s_in_place_of_s_prime_is_wrong():
    """The known trap: s' = s (n - 1)/n, not s; the error is far above rounding."""
    problem = sample("ridge")
    right, trap = ridge_left_out(problem, 0.05, "mean"), ridge_left_out(problem, 0.05, "sum")
    assert np.abs(right - trap).max() > 1e-4


def test_least_squares_equals_statsmodels_influence_diagnostics():
    problem = sample("ridge")
    influence = sm.OLS(problem.targets[:, 0], problem.features).fit().get_influence()
    predicted = np.einsum("nd,nd->n", problem.features, ridge_left_out(problem, 1e-12)[:, 0])
    press = problem.targets[:, 0] - predicted
    assert np.allclose(press, influence.resid_press, rtol=1e-6)


def test_logistic_regression_equals_scikit_learn_refitted_without_each_example():
    """scikit-learn minimises C * sum of losses + |w|^2/2, so C = 1 / (2 s (n - 1))."""
    problem, strength = sample("breast_cancer"), 0.01
    found = minimisers(problem, strength)
    labels = problem.targets[:, 0]
    for i in range(0, N, 4):
        keep = np.arange(N) != i
        model = LogisticRegression(
            C=1 / (2 * strength * (N - 1)), fit_intercept=False, tol=1e-10, max_iter=1000,
            solver="newton-cholesky",
        ).fit(problem.features[keep], labels[keep])  # fmt: skip
        assert np.allclose(found.left_out[i], model.coef_, rtol=1e-5, atol=1e-7)


def test_softmax_regression_equals_scikit_learn():
    problem, strength = sample("wine", 60), 0.02
    found = minimisers(problem, strength).full
    model = LogisticRegression(
        C=1 / (2 * strength * 60), fit_intercept=False, tol=1e-10, max_iter=2000
    ).fit(problem.features, problem.targets.argmax(1))
    assert np.allclose(found, model.coef_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("form", ["mean", "sum"])
def test_gradients_are_as_small_as_promised(task, form):
    problem = sample(task)
    found = minimisers(problem, 0.01, form)
    weights = leave_one_out_weights(N, form)
    gradient = objective_gradient(problem, weights, 0.01, found.left_out)
    assert np.linalg.norm(gradient, axis=(1, 2)).max() <= GRADIENT_TOLERANCE


#: Losses and numbers of outputs.
OUTPUTS = [(SQUARED, 1), (SQUARED, 2), (LOGISTIC, 1), (SOFTMAX, 3)]


def random_targets(loss, n, k, generator):
    """Values, labels or one-hot classes, (n, k)."""
    if loss is SOFTMAX:
        return np.eye(k)[generator.integers(k, size=n)]
    return (
        generator.standard_normal((n, k)) if loss is SQUARED else generator.integers(2, size=(n, k))
    )


@pytest.mark.parametrize(("loss", "k"), OUTPUTS)
def test_derivatives_are_finite_differences(loss, k):
    generator = np.random.default_rng(0)
    z, y = generator.standard_normal((5, k)), random_targets(loss, 5, k, generator)
    step = 1e-6
    for j in range(k):
        ahead, behind = z.copy(), z.copy()
        ahead[:, j] += step
        behind[:, j] -= step
        slope = (loss.value(ahead, y) - loss.value(behind, y)) / (2 * step)
        assert np.allclose(loss.gradient(z, y)[:, j], slope, atol=1e-8)
        bend = (loss.gradient(ahead, y) - loss.gradient(behind, y)) / (2 * step)
        assert np.allclose(loss.hessian(z, y)[:, j], bend, atol=1e-8)


@pytest.mark.parametrize("task", TASKS)
def test_the_lower_hessian_lies_below_the_hessian_on_the_segment(task):
    problem, generator = sample(task, 12), np.random.default_rng(1)
    shape = (problem.targets.shape[1], problem.features.shape[1])
    start, end = generator.standard_normal((2, *shape)) / 3
    below = problem.lower_hessian(start, end[None], 0.1)[0]
    for t in np.linspace(0, 1, 9):
        theta = start + t * (end - start)
        hessian = problem.hessian(theta[None], np.full((1, 12), 1 / 12), 0.1)[0]
        assert np.linalg.eigvalsh(hessian - below)[0] > -1e-10


@pytest.mark.parametrize(("loss", "k"), OUTPUTS)
def test_ranges_hold_within_their_reach(loss, k):
    generator = np.random.default_rng(2)
    z = generator.standard_normal((200, k)) * generator.exponential(3, (200, 1))
    y = random_targets(loss, 200, k, generator)
    reach = np.linalg.norm(z, axis=1)
    assert (loss.value(z, y) <= loss.value_within(reach, y) + 1e-12).all()
    assert (
        np.linalg.norm(loss.gradient(z, y), axis=1) <= loss.slope_within(reach, y) + 1e-12
    ).all()
    bends = np.linalg.eigvalsh(loss.hessian(z, y))
    assert bends.max() <= loss.hessian_bound + 1e-12
    assert bends.min() >= -1e-12


def test_newton_that_cannot_converge_says_so():
    features = np.array([[1.0], [np.inf]])
    problem = Problem(features, np.array([[0.0], [1.0]]), LOGISTIC)
    with np.errstate(all="ignore"), pytest.raises((ArithmeticError, np.linalg.LinAlgError)):
        newton(problem, np.full((1, 2), 0.5), 0.1, np.zeros((1, 1, 1)))

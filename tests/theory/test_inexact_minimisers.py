"""What Proposition 4.2 loses away from the minimiser, on ridge regressions that are not solved."""

import numpy as np
import pytest

from theory import stability_bound
from theory.inexact_minimisers import stationarity_slack


def problem(seed, n=6, d=3, s=0.3):
    """Squared losses with ridge penalty s, whose minimisers have a closed form."""
    generator = np.random.default_rng(seed)
    X, y = generator.standard_normal((n, d)), generator.standard_normal(n)
    return X, y, s


def gradient(X, y, s, theta):
    return X.T @ (X @ theta - y) / len(y) + 2 * s * theta


def minimiser(X, y, s):
    d = X.shape[1]
    return np.linalg.solve(X.T @ X / len(y) + 2 * s * np.eye(d), X.T @ y / len(y))


@pytest.mark.parametrize("away", [0.0, 1e-3, 1e-2, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(10))
def test_an_inexact_minimiser_stays_below_bound_and_slack(seed, away):
    X, y, s = problem(seed)
    n, generator = len(y), np.random.default_rng(100 + seed)
    theta = minimiser(X, y, s) + away * generator.standard_normal(3)
    curvature = np.linalg.eigvalsh(X.T @ X / n)[0]
    epsilon = np.linalg.norm(gradient(X, y, s, theta))
    for i in range(n):
        rest = np.arange(n) != i
        other = minimiser(X[rest], y[rest], s) + away * generator.standard_normal(3)
        left = np.linalg.norm(gradient(X[rest], y[rest], s, other))
        slopes = [
            np.linalg.norm(X[j] * (X[j] @ at - y[j])) for j in range(n) for at in (theta, other)
        ]
        change = abs((X[i] @ other - y[i]) ** 2 - (X[i] @ theta - y[i]) ** 2) / 2
        # lambda (2p - p^2) = s at p = 1.
        bound = stability_bound(lipschitz=max(slopes), curvature=curvature, strength=s, p=1, n=n)
        slack = stationarity_slack(
            lipschitz=max(slopes), mu=curvature + 2 * s, gradient_norm=epsilon,
            gradient_norm_left_out=left,
        )  # fmt: skip
        assert change <= bound + slack


def test_without_the_slack_the_bound_fails():
    """Missed by 1 in a random direction, with n so large that the bound is small."""
    X, y, s = problem(0, n=400)
    n, theta = len(y), minimiser(X, y, s)
    found = np.random.default_rng(0).standard_normal((50, 3))
    curvature = np.linalg.eigvalsh(X.T @ X / n)[0]
    rest = np.arange(n) != 0
    violated = 0
    for step in found:
        other = minimiser(X[rest], y[rest], s) + step
        slopes = [
            np.linalg.norm(X[j] * (X[j] @ at - y[j])) for j in range(n) for at in (theta, other)
        ]
        change = abs((X[0] @ other - y[0]) ** 2 - (X[0] @ theta - y[0]) ** 2) / 2
        bound = stability_bound(lipschitz=max(slopes), curvature=curvature, strength=s, p=1, n=n)
        violated += change > bound
    assert violated > 0


def test_it_is_2_eta_epsilon_over_mu():
    found = stationarity_slack(lipschitz=3.0, mu=0.5, gradient_norm=0.1, gradient_norm_left_out=0.1)
    assert found == pytest.approx(2 * 3.0 * 0.1 / 0.5)


def test_at_minimisers_there_is_none_and_without_curvature_it_is_infinite():
    known = {"lipschitz": 1.0, "gradient_norm_left_out": 0.0}
    assert stationarity_slack(mu=0.0, gradient_norm=0.0, **known) == 0
    assert stationarity_slack(mu=0.0, gradient_norm=1e-9, **known) == np.inf


@pytest.mark.parametrize("name", ["lipschitz", "mu", "gradient_norm", "gradient_norm_left_out"])
def test_what_is_negative_is_refused_by_name(name):
    known = dict.fromkeys(("lipschitz", "mu", "gradient_norm", "gradient_norm_left_out"), 1.0)
    with pytest.raises(ValueError, match=name):
        stationarity_slack(**known | {name: -1.0})

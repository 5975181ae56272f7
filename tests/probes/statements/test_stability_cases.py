"""What the readings of Proposition 4.2 are evaluated at: gradients and reaches along segments."""

import numpy as np
import pytest

from probes.statements.exact_minimisers import TASKS, load_problem, minimisers, objective
from probes.statements.setting import Setting
from probes.statements.stability_cases import (
    PIECES,
    ball_lipschitz,
    common_radius,
    largest_loss,
    measure,
    proposition_cases,
    reaches,
    segment_lipschitz,
)
from theory import stability_bound
from theory.closeness import EXPANSION_STEPS, is_close

N, S = 15, 0.02


def sample(task):
    population = load_problem(task)
    chosen = np.random.default_rng(0).permutation(len(population))[:N]
    problem = population.take(chosen)
    return problem, minimisers(problem, S)


@pytest.mark.parametrize("task", TASKS)
def test_gradients_on_segments_are_bounded_and_no_looser_than_a_piece_allows(task):
    problem, found = sample(task)
    raw, regularized = segment_lipschitz(problem, found, S)
    own = {"raw": [], "regularized": []}
    for step in np.linspace(0, 1, 40 * PIECES + 1)[::7]:
        theta = found.full + step * (found.left_out - found.full)
        gradients = np.stack([problem.gradients(theta[i])[i] for i in range(N)])
        own["raw"].append(np.linalg.norm(gradients, axis=(1, 2)).max())
        own["regularized"].append(np.linalg.norm(gradients + 2 * S * theta, axis=(1, 2)).max())
    norms = np.linalg.norm(problem.features, axis=1)
    length = np.linalg.norm(found.left_out - found.full, axis=(1, 2))
    loose = (((problem.loss.hessian_bound * norms**2 + 2 * S) * length) / PIECES).max()
    assert max(own["raw"]) <= raw * (1 + 1e-12)
    assert max(own["regularized"]) <= regularized * (1 + 1e-12)
    assert regularized <= max(own["regularized"]) + loose


@pytest.mark.parametrize("task", TASKS)
def test_a_ball_bounds_what_is_on_it_and_is_nearly_reached_along_an_example(task):
    problem, found = sample(task)
    radius, (k, _) = 3.0, found.full.shape
    outputs = np.random.default_rng(1).standard_normal((200, k))
    along = outputs[:, None, :, None] * problem.features[:, None]
    theta = along.reshape(-1, *found.full.shape)
    theta *= radius / np.linalg.norm(theta, axis=(1, 2), keepdims=True)
    gradients = problem.gradients(theta)
    penalized = gradients + 2 * S * theta[:, None]
    raw, regularized = ball_lipschitz(problem, S, radius)
    for found_there, bound in (
        (problem.losses(theta), largest_loss(problem, radius)),
        (np.linalg.norm(gradients, axis=(-2, -1)), raw),
        (np.linalg.norm(penalized, axis=(-2, -1)), regularized),
    ):
        assert 0.9 * bound < found_there.max() <= bound * (1 + 1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_one_ball_holds_the_minimisers_of_every_sample(task):
    """Of two copies of one example, too, that with the largest loss at 0 among them."""
    (population, _), s = sample(task), 10.0
    copies = [minimisers(population.take(np.array([i, i])), s).full for i in range(N)]
    norms = np.linalg.norm(copies, axis=(1, 2))
    assert 0.1 * common_radius(population, s) < norms.max() <= common_radius(population, s)


def test_the_distance_that_is_shown_is_that_nearest_to_its_bound():
    setting = Setting("breast_cancer", N, 0.5, 0.1, 1, 2, 0.05, 0)
    for form in ("mean", "sum"):
        problem = setting.sample(0)
        measured = measure(problem, minimisers(problem, setting.s, form), setting.s, form)
        bounds = measured.moving / (measured.segment_curvature * N)
        (shown,) = [
            case for case in proposition_cases(setting)
            if case.statement.startswith("distance") and case.reading.startswith(form)
        ]  # fmt: skip
        assert shown.ratio == pytest.approx((bounds / measured.distance).min())


@pytest.mark.parametrize("task", TASKS)
def test_reaches_are_those_found_one_by_one(task):
    problem, found = sample(task)
    weights = np.full((1, N), 1 / N)

    def value(theta):
        return objective(problem, weights, S, theta[None])[0]

    hessian = problem.hessian(found.full[None], weights, S)[0]
    for i, reach in enumerate(reaches(problem, found, S)):
        way = found.left_out[i] - found.full
        second = way.ravel() @ hessian @ way.ravel() / 2
        accurate = [
            abs(value(found.full + a * way) - value(found.full) - a**2 * second)
            <= 0.1 * a**2 * second + 1e-9
            for a in EXPANSION_STEPS
        ]
        expected = EXPANSION_STEPS[accurate.index(False) - 1] if False in accurate else 4.0
        assert reach == expected


def test_the_squared_loss_is_close_however_far():
    problem, found = sample("ridge")
    assert is_close(reaches(problem, found, S)).all()


def test_the_printed_bound_is_that_of_the_regularized_loss():
    problem, found = sample("wine")
    measured = measure(problem, found, S, "mean")
    expected = stability_bound(
        lipschitz=measured.lipschitz["segment"][1],
        curvature=measured.curvature["point"] - 2 * S,
        strength=S / 0.75,
        p=0.5,
        n=N,
    )
    assert measured.printed_bound(S, N) == pytest.approx(expected, rel=1e-12)

"""Gradient norms and curvature against autograd and dense linear algebra."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence
from torch.func import grad

from probes.landscape import curvature, lipschitz
from probes.landscape.curvature import smallest_curvature
from probes.landscape.lipschitz import LipschitzTracker, visit_together
from probes.models.feedforward import FeedForward, random_network_weights
from probes.models.losses import cross_entropy, logistic, squared
from probes.models.network import flat_weights, training_loss

N = 9


def make(loss, widths, seed=0):
    layers = list(random_network_weights(widths, torch.Generator().manual_seed(seed)))
    network = FeedForward(
        [weight for weight, _ in layers], [bias + 0.1 for _, bias in layers], rank=1, alpha=2.0,
        loss=loss,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed + 1)
    features = torch.randn(N, widths[0], generator=generator, dtype=torch.float64)
    labels = torch.randint(max(2, widths[-1]), (N,), generator=generator)
    targets = labels.unsqueeze(1) if widths[-1] == 1 else torch.nn.functional.one_hot(labels)
    inputs = network.read(features, targets)
    factors = network.views(
        torch.randn(3 * network.size, generator=generator, dtype=torch.float64), 3
    )
    return network, inputs, factors


#: Widths of a network with too few weights for Lanczos.
FEW = (6, 1)
CASES = [
    (cross_entropy, (7, 6, 4)),
    (cross_entropy, (5, 4)),
    (logistic, FEW),
    (squared, (6, 5, 1)),
]


@pytest.mark.parametrize(("loss", "widths"), CASES, ids=lambda case: getattr(case, "name", None))
def test_gradient_norms_are_those_of_autograd(loss, widths):
    network, inputs, factors = make(loss, widths)
    norms = network.gradient_norms(factors, inputs, update_scale=0.7)
    merged = flat_weights(network.merged_weights(factors, update_scale=0.7))
    for replica in range(3):
        for example in range(N):
            one = training_loss(network, inputs.take(torch.tensor([example])))
            torch.testing.assert_close(norms[replica, example], grad(one)(merged[replica]).norm())


@pytest.mark.parametrize(("loss", "widths"), [case for case in CASES if case[1] != FEW])
def test_lanczos_finds_the_dense_eigenvalue(loss, widths, monkeypatch):
    network, inputs, factors = make(loss, widths)
    one = [(A[:1], B[:1]) for A, B in factors]
    dense = smallest_curvature(network, one, inputs, 0.7, seed=0)
    monkeypatch.setattr(curvature, "DENSE_WEIGHTS", 0)
    lanczos = smallest_curvature(network, one, inputs, 0.7, seed=0)
    assert "dense" in dense.how
    assert "Lanczos" in lanczos.how
    assert lanczos.value == pytest.approx(dense.value, rel=1e-3, abs=1e-8)
    assert lanczos == smallest_curvature(network, one, inputs, 0.7, seed=0)
    scaled = [(A, 0.7 * B) for A, B in one]
    again = smallest_curvature(network, scaled, inputs, 1.0, seed=0)
    assert again.value == pytest.approx(lanczos.value, rel=1e-3, abs=1e-8)


def test_a_curvature_that_lanczos_does_not_find_is_said_to_be_none(monkeypatch):
    """What else ARPACK refuses where there is some curvature is an error, and no curvature of 0."""
    raised = [ArpackError(-8), ArpackNoConvergence("", [], [])]

    def fail(*arguments, **options):
        raise raised.pop()

    network, inputs, factors = make(squared, (6, 5, 1))
    one = [(A[:1], B[:1]) for A, B in factors]
    monkeypatch.setattr(curvature, "DENSE_WEIGHTS", 0)
    monkeypatch.setattr(curvature, "eigsh", fail)
    found = smallest_curvature(network, one, inputs, 1.0, seed=0)
    assert np.isnan(found.value)
    assert found.how == "Lanczos did not converge"
    with pytest.raises(ArpackError):
        smallest_curvature(network, one, inputs, 1.0, seed=0)


def test_lanczos_finds_that_a_loss_without_curvature_has_none(monkeypatch):
    network, inputs, factors = make(cross_entropy, (5, 4))
    nothing = network.read(torch.zeros(N, 5), inputs.targets.T)
    monkeypatch.setattr(curvature, "DENSE_WEIGHTS", 0)
    found = smallest_curvature(network, [(A[:1], B[:1]) for A, B in factors], nothing, 1.0, seed=0)
    assert (found.value, found.how) == (0.0, curvature.HOW)


def test_curvature_of_least_squares_is_that_of_the_data():
    network, inputs, factors = make(squared, (6, 1))
    X = inputs.features.mT.numpy()
    one = [(A[:1], B[:1]) for A, B in factors]
    expected = 2 * np.linalg.eigvalsh(X.T @ X / N)[0]
    assert smallest_curvature(network, one, inputs, 1.0, seed=0).value == pytest.approx(expected)


@pytest.mark.parametrize(("loss", "size"), [(logistic, 1.0), (squared, 1e6)])
@pytest.mark.parametrize("dense", [curvature.DENSE_WEIGHTS, 0])
def test_a_flat_direction_of_a_convex_loss_is_no_negative_curvature(dense, loss, size, monkeypatch):
    """With fewer examples than features the Hessian is singular; rounding grows with its size."""
    monkeypatch.setattr(curvature, "DENSE_WEIGHTS", dense)
    network, inputs, factors = make(loss, (40, 1))
    few = inputs.take(torch.arange(3))
    large = network.read(size * few.features.mT, few.targets.mT)
    small = [(1e-9 * A[:1], B[:1]) for A, B in factors]
    assert smallest_curvature(network, small, large, 1.0, seed=0).value >= 0


def test_a_diverged_network_has_no_curvature():
    network, inputs, factors = make(squared, (6, 1))
    factors[0][0].fill_(torch.nan)
    found = smallest_curvature(network, [(A[:1], B[:1]) for A, B in factors], inputs, 1.0, seed=0)
    assert np.isnan(found.value)
    assert "diverged" in found.how


def test_trackers_of_several_cells_see_together_what_each_sees(monkeypatch):
    network, _, factors = make(cross_entropy, (5, 6, 4))
    cells = [make(cross_entropy, (5, 6, 4), seed=seed)[1] for seed in range(3)]
    of_cells = [[((1 + cell) * A, B) for A, B in factors] for cell in range(3)]
    of_cells[1][0][0][0] = torch.nan

    def trackers():
        return [
            LipschitzTracker(network, inputs, steps=5, update_scale=scale)
            for inputs, scale in zip(cells, (1.0, 0.5, 0.2), strict=True)
        ]

    def seen():
        together = trackers()
        visit_together(together, 2, of_cells)
        visit_together(together, 5, of_cells)
        return [tracker.largest for tracker in together]

    each = trackers()
    for tracker, own in zip(each, of_cells, strict=True):
        tracker.see(own)
    alone = [tracker.largest for tracker in each]
    assert len(set(alone)) == 3
    # On a CPU to the last bit: kept numbers depend on it.
    assert seen() == alone
    # As on a GPU.
    monkeypatch.setattr(lipschitz, "in_one_call", lambda tensor: True)
    np.testing.assert_allclose(seen(), alone, rtol=1e-12)


def test_tracker_takes_the_largest_finite_norm_of_chosen_steps():
    network, inputs, factors = make(cross_entropy, (5, 4))
    tracker = LipschitzTracker(network, inputs, steps=20, update_scale=1.0)
    tracker.visit(3, factors)
    assert tracker.largest == 0.0
    tracker.visit(20, factors)
    assert tracker.largest == network.gradient_norms(factors, inputs).max()
    factors[0][0][1] = torch.inf
    tracker.visit(4, factors)
    assert np.isfinite(tracker.largest)


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 300])
def test_tracker_looks_at_steps_that_are_taken(steps):
    """A training in one launch stops where it is asked to, at its start too."""
    network, inputs, _ = make(cross_entropy, (5, 6, 4))
    at = LipschitzTracker(network, inputs, steps, update_scale=1.0).at
    assert 1 <= min(at) <= max(at) == steps
    assert len(at) == min(steps, 10)

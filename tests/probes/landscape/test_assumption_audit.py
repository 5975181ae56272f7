"""The audit against networks whose properties are known."""

import numpy as np
import pytest
import torch
from torch.func import jacrev

from probes.landscape.assumption_audit import audit
from probes.landscape.stationarity import objective_gradient_norms
from probes.models.feedforward import FeedForward
from probes.models.losses import Loss, cross_entropy, logistic, squared
from probes.models.network import flat_weights, training_loss
from probes.stability import measure
from probes.training.example_weights import full_sample, leave_one_out
from tests.probes.landscape.test_curvature import make
from theory.closeness import EXPANSION_STEPS, expansion_reach

KNOWN = {
    "update_scale": 1.0, "penalty_weight": None, "curvature": 0.1, "clipped": False, "seed": 0,
}  # fmt: skip


def run(loss, widths, **changes):
    network, inputs, factors = make(loss, widths)
    settings = KNOWN | changes
    return network, inputs, factors, audit(network, factors, inputs, **settings)


def test_the_expansion_of_a_quadratic_is_accurate_as_far_as_one_looks():
    *_, found = run(squared, (6, 1))
    assert found.expansion_radius == EXPANSION_STEPS[-1]


def test_the_expansion_of_a_relu_network_is_not():
    *_, found = run(cross_entropy, (7, 6, 4))
    assert found.expansion_radius < 1


def reach_of_one(loss, start, path):
    gradient, hessian = jacrev(loss)(start), jacrev(jacrev(loss))(start)
    return expansion_reach(
        lambda step: (loss(start + step * path) - loss(start)).item(),
        slope=(gradient @ path).item(),
        curvature=(path @ hessian @ path).item(),
    )


def with_a_replica_for_every_example(loss, widths, seed=0):
    """As many replicas as an audit is given, those of the S^i near that of S."""
    network, inputs, _ = make(loss, widths, seed)
    replicas = len(inputs) + 1
    generator = torch.Generator().manual_seed(seed + 2)
    flat = torch.randn(replicas * network.size, generator=generator, dtype=torch.float64)
    factors = network.views(flat, replicas)
    near = [(A[:1] + 0.1 * (A - A[:1]), B[:1] + 0.1 * (B - B[:1])) for A, B in factors]
    return network, inputs, near


@pytest.mark.parametrize("seed", range(5))
def test_the_radius_is_the_least_of_some_paths_each_by_itself(seed):
    """Of every other one in the order of their lengths, the shortest and the longest with them."""
    network, inputs, near = with_a_replica_for_every_example(cross_entropy, (7, 6, 4), seed)
    settings = KNOWN | {"update_scale": 0.7, "penalty_weight": 0.02 * seed}
    found = audit(network, near, inputs, **settings)
    loss = training_loss(network, inputs, settings["penalty_weight"])
    start, *ends = flat_weights(network.merged_weights(near, update_scale=0.7))
    paths = sorted((end - start for end in ends), key=lambda path: path.norm())[::2]
    assert found.expansion_radius == min(reach_of_one(loss, start, path) for path in paths)


def test_gradients_are_those_of_every_replica_on_its_own_sample():
    network, inputs, factors = with_a_replica_for_every_example(logistic, (6, 1))
    n = len(inputs)
    norms = objective_gradient_norms(
        network, factors, inputs, torch.cat([full_sample(n), leave_one_out(n)]), 0.3
    )
    factors[0][0][4] = torch.nan
    found = audit(network, factors, inputs, **KNOWN | {"penalty_weight": 0.3})
    assert found.gradient_norm == pytest.approx(norms[0].item())
    known = torch.cat([norms[1:4], norms[5:]])
    assert found.gradient_norm_left_out == pytest.approx(known.mean().item())
    assert found.expansion_radius > 0
    factors[0][0][1:] = torch.nan
    lost = audit(network, factors, inputs, **KNOWN | {"penalty_weight": 0.3})
    assert lost.gradient_norm == found.gradient_norm
    assert np.isnan([lost.gradient_norm_left_out, lost.distance, lost.distance_mean]).all()
    assert lost.expansion_radius == 0


@pytest.mark.parametrize("size", [1e153, 1e154, 1e155])
def test_where_losses_are_infinite_the_expansion_is_known_without_a_warning(size):
    """Beside the network, or at it: the difference of two of them is no number."""
    network, inputs, factors = make(squared, (6, 1))
    grown = [(A, size * B) for A, B in factors]
    assert audit(network, grown, inputs, **KNOWN).expansion_radius < EXPANSION_STEPS[-1]


def test_distances_are_those_of_the_merged_weights():
    network, _, factors, found = run(logistic, (6, 1))
    (weights,) = network.merged_weights(factors)
    distances = (weights[1:] - weights[0]).norm(dim=(1, 2))
    assert found.distance == pytest.approx(distances.max().item())
    assert found.distance_mean == pytest.approx(distances.mean().item())


def test_a_diverged_replica_is_left_out():
    network, inputs, factors = make(logistic, (6, 1))
    factors[0][0][1] = float("nan")
    found = audit(network, factors, inputs, **KNOWN)
    (weights,) = network.merged_weights(factors)
    assert found.distance == pytest.approx((weights[2] - weights[0]).norm().item())


@pytest.mark.parametrize("curvature", [-0.5, 0.0, 0.3, float("nan")])
def test_positive_semidefinite_is_read_off_the_eigenvalue(curvature):
    *_, found = run(logistic, (6, 1), curvature=curvature)
    assert found.positive_semidefinite == (curvature >= 0)


@pytest.mark.parametrize("loss", [cross_entropy, squared, logistic], ids=lambda loss: loss.name)
def test_the_losses_are_convex_in_the_activation(loss):
    widths = (5, 4) if loss is cross_entropy else (5, 1)
    assert run(loss, widths)[-1].nonconvex_pairs == 0


def test_a_loss_that_is_not_convex_is_found_out():
    network, inputs, factors = make(squared, (6, 1))
    sigmoid = Loss(
        "sigmoid", lambda z, y: torch.sigmoid(z * (1 - 2 * y)).squeeze(-2), squared.gradient,
        squared.score, squared.score_name,
    )  # fmt: skip
    other = FeedForward(network.weights, [torch.zeros(1).double()], rank=1, alpha=1.0, loss=sigmoid)
    assert 0.1 < audit(other, factors, inputs, **KNOWN).nonconvex_pairs < 0.9


def test_every_result_has_its_audit():
    result = measure(p=[0.1, 0.5], task="breast_cancer", n=8, draws=2, steps=10)
    assert list(result.audit) == ["assumption", "found", "verdict"]
    verdicts = result.audit.set_index("assumption")["verdict"]
    assert verdicts["loss convex in the final activation"] == "holds"
    assert verdicts["loss bounded by C"] == "not known: C is the largest seen"
    clipped = measure(p=0.1, task="breast_cancer", n=8, draws=2, steps=10, loss_bound=1.0)
    assert clipped.audit.set_index("assumption")["verdict"]["loss bounded by C"] == "holds"


def test_the_gap_estimate_is_the_mean_signed_difference():
    result = measure(p=0.3, task="ridge", n=10, draws=4, steps=50)
    rows = result.rows
    expected = (rows["loss_left_out"] - rows["loss_kept"]).mean()
    assert result.summary["gap_estimate"].item() == pytest.approx(expected)

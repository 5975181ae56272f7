"""The batched retraining against one replica after the other, and the laws of weight vectors."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lora_dropout import grouped_samples, inject, mask_schedule
from lora_dropout.objective import sparsity_penalty
from probes.models.feedforward import FeedForward, random_network_weights
from probes.models.losses import cross_entropy, logistic, squared
from probes.models.network import replica
from probes.tasks import TASKS, load_task
from probes.training.blocks import blocks
from probes.training.example_weights import (
    bootstrap,
    full_sample,
    leave_k_out,
    leave_one_out,
    leave_out,
)
from probes.training.gradients import FeedForwardGradient
from probes.training.plan import Dropout, Penalty, Training
from probes.training.retrain import batches, retrain
from tests.devices import DEVICES
from tests.probes.training.modules import as_modules

N = 12


def make_network(device="cpu", widths=(5, 16, 4), rank=3, loss=cross_entropy, alpha=6.0):
    layers = list(random_network_weights(widths, torch.Generator().manual_seed(0)))
    return FeedForward(
        [weight.to(device) for weight, _ in layers],
        [bias.to(device) + 0.1 for _, bias in layers],
        rank=rank,
        alpha=alpha,
        loss=loss,
    )


def make_inputs(network, n=N, seed=1):
    generator = torch.Generator().manual_seed(seed)
    d_in, classes = network.sides[0][0], network.sides[-1][1]
    features = torch.randn(n, d_in, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (n,), generator=generator)
    return network.read(features, F.one_hot(labels, classes))


def start_of(network):
    return network.initial_factors(torch.Generator().manual_seed(2))


def assert_same_factors(factors, expected):
    for pair, expected_pair in zip(factors, expected, strict=True):
        for factor, other in zip(pair, expected_pair, strict=True):
            torch.testing.assert_close(factor, other, rtol=1e-9, atol=1e-12)


def train_one(network, inputs, weight, start, training, objective):
    """One replica as a user would train it: modules, autograd, torch.optim."""
    p = objective.p if isinstance(objective, Dropout) else 0.0
    rescale = isinstance(objective, Dropout) and objective.rescale
    kind = objective.kind if isinstance(objective, Dropout) else "bernoulli"
    model = inject(
        as_modules(network.weights, network.biases), rank=network.rank,
        alpha=network.scaling * network.rank, p=p, rescale=rescale, mask_kind=kind,
        seed=training.seed,
    )  # fmt: skip
    adapted = [module for module in model if hasattr(module, "lora_A")]
    with torch.no_grad():
        for layer, (A, B) in zip(adapted, start, strict=True):
            layer.lora_A.copy_(A[0])
            layer.lora_B.copy_(B[0])
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if training.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=training.lr, weight_decay=training.weight_decay)
    elif training.weight_decay:
        optimizer = torch.optim.AdamW(
            parameters, lr=training.lr, weight_decay=training.weight_decay
        )
    else:
        optimizer = torch.optim.Adam(parameters, lr=training.lr)
    order = batches(len(inputs), training.batch, training.steps, training.seed)
    for step, index in enumerate(order):
        index = torch.arange(len(inputs)) if index is None else index
        X = inputs.features.mT[index].repeat(training.samples, 1)
        target = inputs.targets.mT[index].repeat(training.samples, 1)
        with grouped_samples(model, training.samples):
            assert mask_schedule(model).step == step
            losses = F.cross_entropy(model(X), target, reduction="none")
            w = weight[index].repeat(training.samples) * len(inputs) / len(index)
            loss = (w * losses).sum() / training.samples
            if isinstance(objective, Penalty):
                # The strength is lambda (2p - p^2); the layers here have p = 0 and sparsity 0.
                loss = loss + objective.penalty_weight * sum(
                    (layer.scaling * layer.lora_B @ layer.lora_A).square().sum()
                    for layer in adapted
                )
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    return [(layer.lora_A.detach(), layer.lora_B.detach()) for layer in adapted]


CASES = {
    "dropout": (Training(steps=6, lr=0.01), Dropout(0.3)),
    "no dropout": (Training(steps=6, lr=0.01), Dropout(0.0)),
    "rescaled": (Training(steps=6, lr=0.01, seed=3), Dropout(0.3, rescale=True)),
    "Gaussian masks": (Training(steps=6, lr=0.01, samples=2), Dropout(0.3, kind="gaussian")),
    "masks of the mean": (Training(steps=6, lr=0.01), Dropout(0.3, kind="mean")),
    "three samples": (Training(steps=6, lr=0.01, samples=3), Dropout(0.4)),
    "mini-batches": (Training(steps=6, lr=0.01, batch=5, seed=4), Dropout(0.3)),
    "sgd": (Training(steps=6, lr=0.1, optimizer="sgd"), Dropout(0.3)),
    "weight decay": (Training(steps=6, lr=0.01, weight_decay=3.0), Dropout(0.0)),
    "sgd with weight decay": (
        Training(steps=6, lr=0.1, optimizer="sgd", weight_decay=0.5),
        Dropout(0.3),
    ),
    "penalty": (Training(steps=6, lr=0.01), Penalty(0.2)),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("widths", [(5, 16, 4), (20, 18, 2), (6, 5), (9, 8, 7, 3)])
@pytest.mark.parametrize("case", CASES)
def test_batched_replicas_equal_a_sequential_loop(case, widths, device):
    training, objective = CASES[case]
    network = make_network(device, widths, rank=2)
    inputs, start = make_inputs(network), start_of(network)
    weights = torch.cat([full_sample(N), leave_one_out(N)[:3]])
    together = retrain(network, inputs, weights, start, training, objective)
    reference = make_network("cpu", widths, rank=2)
    for number, weight in enumerate(weights):
        alone = train_one(
            reference, make_inputs(reference), weight, start_of(reference), training, objective
        )
        for (A, B), (A_alone, B_alone) in zip(together, alone, strict=True):
            # Adam divides by the root of the squared gradient: rounding grows a little.
            torch.testing.assert_close(A[number].cpu(), A_alone, rtol=1e-7, atol=1e-9)
            torch.testing.assert_close(B[number].cpu(), B_alone, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("loss", [cross_entropy, logistic, squared], ids=lambda loss: loss.name)
@pytest.mark.parametrize("masked", [False, True])
def test_written_gradient_equals_autograd(loss, masked):
    widths = (7, 6, 4) if loss is cross_entropy else (7, 6, 1)
    network = make_network(widths=widths, rank=1, loss=loss)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(N, 7, generator=generator, dtype=torch.float64)
    targets = (torch.rand(N, widths[-1], generator=generator) > 0.5).double()
    inputs = network.read(features, targets)
    weights = leave_one_out(N)
    flat = torch.randn(N * network.size, generator=generator, dtype=torch.float64)
    threshold = 0.3 if masked else 0.0
    masks = [
        ((torch.rand(1, 1, 1, d_in, generator=generator) >= threshold).double(),
         (torch.rand(1, 1, 1, d_out, generator=generator) >= threshold).double())
        for d_in, d_out in network.sides
    ]  # fmt: skip
    gradient = torch.empty_like(flat)
    written = FeedForwardGradient(
        network, network.views(flat, N), network.views(gradient, N), samples=1, examples=N
    )
    written.feed(inputs, weights)
    written.write(masks)
    flat.requires_grad_(True)
    objective = torch.zeros((), dtype=torch.float64)
    for number in range(N):
        h = features
        for layer, (A, B) in enumerate(network.views(flat, N)):
            mask_in, mask_out = masks[layer]
            update = mask_out.flatten()[:, None] * (B[number] @ A[number]) * mask_in.flatten()
            h = h @ (network.weights[layer] + network.scaling * update).mT
            h = h + network.biases[layer].mT
            h = h.relu() if layer + 1 < len(network.weights) else h
        objective = objective + (weights[number] * loss.value(h.mT, inputs.targets)).sum()
    (expected,) = torch.autograd.grad(objective, flat)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("block", [1, 2, 5, 13])
def test_same_seed_same_numbers_whatever_the_block(block):
    network = make_network()
    inputs, start = make_inputs(network), start_of(network)
    weights = torch.cat([full_sample(N), leave_one_out(N)])
    training, objective = CASES["dropout"]
    whole = retrain(network, inputs, weights, start, training, objective)
    pieces = retrain(
        network, inputs, weights, start, training, objective, pieces=list(blocks(N + 1, block))
    )
    assert_same_factors(pieces, whole)


def test_replicas_outside_the_pieces_are_skipped_and_each_starts_from_its_own_start():
    network = make_network()
    inputs, weights = make_inputs(network), leave_one_out(N)[:4]
    start = [(torch.stack([A[0] + i for i in range(4)]), torch.stack([B[0] + i for i in range(4)]))
             for A, B in start_of(network)]  # fmt: skip
    training, objective = CASES["dropout"]
    whole = retrain(network, inputs, weights, start, training, objective)
    seen = []
    some = retrain(
        network, inputs, weights, start, training, objective,
        pieces=[slice(1, 2), slice(2, 4)],
        checkpoint=lambda step, rows, factors: seen.append((step, rows, len(factors[0][0]))),
    )  # fmt: skip
    assert_same_factors(some, [(A[1:], B[1:]) for A, B in whole])
    steps = range(1, training.steps + 1)
    assert seen == [
        (step, rows, rows.stop - rows.start)
        for rows in (slice(1, 2), slice(2, 4)) for step in steps
    ]  # fmt: skip
    pair = [(A[:2], B[:2]) for A, B in start]
    apart = retrain(
        network, inputs, weights[:2], pair, training, objective, pieces=list(blocks(2, 1))
    )
    assert_same_factors(apart, [(A[:2], B[:2]) for A, B in whole])


def test_an_example_of_weight_zero_may_as_well_not_be_there():
    network = make_network()
    pool, start = make_inputs(network), start_of(network)
    smaller = pool.take(torch.tensor([i for i in range(N) if i != 3]))
    among = retrain(network, pool, leave_out([[3]], N), start, *CASES["dropout"])
    without = retrain(network, smaller, full_sample(N - 1), start, *CASES["dropout"])
    assert_same_factors(among, without)


def test_leaving_out_either_of_two_duplicates_is_the_same():
    network = make_network()
    pool, start = make_inputs(network), start_of(network)
    doubled = pool.take(torch.tensor([*range(N), 0]))
    weights = leave_one_out(N + 1)[[0, N]]
    trained = retrain(network, doubled, weights, start, *CASES["dropout"])
    assert_same_factors(replica(trained, 0), replica(trained, 1))


def test_replacing_an_example_by_itself_changes_nothing():
    network = make_network()
    pool, start = make_inputs(network), start_of(network)
    doubled = pool.take(torch.arange(2 * N) % N)
    # Replica i sees example N + i in the place of example i.
    replaced = torch.eye(N, dtype=torch.float64)
    ones = torch.cat([torch.ones(1, N), 1 - replaced]), torch.cat([torch.zeros(1, N), replaced])
    weights = torch.cat(ones, dim=1) / N
    for A, _ in retrain(network, doubled, weights, start, *CASES["dropout"]):
        torch.testing.assert_close(A[1:], A[:1].expand_as(A[1:]), rtol=1e-9, atol=1e-12)


def test_rows_of_weights_sum_to_one():
    generator = torch.Generator().manual_seed(0)
    for weights in (
        full_sample(N),
        leave_one_out(N),
        leave_k_out(N, 4, 6, generator),
        bootstrap(N, 6, generator),
    ):
        torch.testing.assert_close(weights.sum(1), torch.ones(len(weights), dtype=torch.float64))
    assert (leave_k_out(N, 4, 6, generator) == 0).sum(1).tolist() == [4] * 6
    assert torch.equal(leave_one_out(N) == 0, torch.eye(N, dtype=torch.bool))
    with pytest.raises(ValueError, match="n must be larger"):
        leave_one_out(1)


@pytest.mark.parametrize(("count", "size"), [(1, 4), (7, 3), (8, 4), (65, 64)])
def test_blocks_cover_all_replicas_evenly(count, size):
    slices = list(blocks(count, size))
    lengths = [rows.stop - rows.start for rows in slices]
    assert [i for rows in slices for i in range(count)[rows]] == list(range(count))
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


def test_every_epoch_shows_every_example_once():
    steps = [index.tolist() for index in batches(10, 5, steps=4, seed=0)]
    assert sorted(steps[0] + steps[1]) == sorted(steps[2] + steps[3]) == list(range(10))
    assert steps[0] != steps[2]
    # As many as there are, or more, are all of them.
    assert list(batches(10, 10, steps=2, seed=0)) == [None, None]
    assert list(batches(10, 11, steps=2, seed=0)) == [None, None]


@pytest.mark.parametrize("device", DEVICES)
def test_ridge_trained_to_convergence_equals_the_closed_form(device):
    """Leave-one-out residuals of ridge regression from the hat matrix.

    The mean over n - 1 examples plus s |w|^2 has the minimiser of the sum plus (n-1) s |w|^2, so
    with H = X (X'X + (n-1) s I)^-1 X' taken over all n examples, the left-out residual is
    (y_i - (H y)_i) / (1 - H_ii).
    """
    n, strength = 40, 0.05
    task = load_task("ridge")
    network = task.network(rank=1, alpha=1.0, dtype=torch.float64, device=device)
    index = torch.arange(n)
    inputs = network.read(task.features[index], task.targets[index])
    weights = torch.cat([full_sample(n), leave_one_out(n)])
    training = Training(steps=20_000, lr=0.02, optimizer="sgd")
    start = network.initial_factors(torch.Generator().manual_seed(0))
    factors = retrain(network, inputs, weights, start, training, Penalty(strength))
    losses = network.losses(factors, inputs).cpu()

    X, y = task.features[index].numpy(), task.targets[index, 0].numpy()
    eye = np.eye(X.shape[1])
    kept = (y - X @ np.linalg.solve(X.T @ X + n * strength * eye, X.T @ y)) ** 2
    hat = X @ np.linalg.solve(X.T @ X + (n - 1) * strength * eye, X.T)
    left_out = ((y - hat @ y) / (1 - np.diag(hat))) ** 2
    beta = (losses[1:].diagonal() - losses[0]).abs().mean().item()
    assert np.allclose(losses[0], kept, rtol=1e-6)
    assert beta == pytest.approx(np.abs(left_out - kept).mean(), rel=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_what_they_say(name):
    task = load_task(name)
    assert task.name == name
    assert task.features.dtype == torch.float64
    assert len(task.features) == len(task.targets)
    assert task.features.shape[1] == task.weights[0].shape[1]
    assert task.targets.shape[1] == task.weights[-1].shape[0]
    assert 1 <= task.rank <= task.largest_rank


def test_data_with_nan_are_refused(monkeypatch):
    good = load_task("ridge")
    good.features[3, 2] = float("nan")
    monkeypatch.setitem(TASKS, "ridge", lambda: good)
    with pytest.raises(ValueError, match="features of task 'ridge' must be finite"):
        load_task("ridge")


def test_module_penalty_is_the_penalty_of_the_retraining():
    """Of all layers together, of which one update is smaller and one larger than 1."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).double()
    inject(model, rank=2, p=0.5, p_out=0.2, alpha=3.0)
    expected = 0.0
    with torch.no_grad():
        for layer, size in zip(model, (1.0, 0.1), strict=True):
            layer.lora_B.normal_(0, size, generator=torch.Generator().manual_seed(0))
            update = 1.5 * layer.lora_B @ layer.lora_A
            expected = expected + 0.2 * 0.6 * update.square().sum()
    torch.testing.assert_close(sparsity_penalty(model, 0.2), expected)
    assert sparsity_penalty(model, 0.0) == 0

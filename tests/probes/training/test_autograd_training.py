"""The general trainer against the fast one, and what every place of a mask does."""

import pytest
import torch

from lora_dropout.masks import LayerShape
from probes.training.adalora import BudgetSchedule, RankAllocator, Triplets, initial_triplets
from probes.training.autograd_training import AdaLoRA, LoRA, Setup, train
from probes.training.blocks import blocks
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.mask_placements import PLACES, Drawn, Dropping, masked_outputs
from probes.training.plan import Dropout, Training
from probes.training.retrain import retrain
from tests.probes.training.test_retrain import assert_same_factors, make_inputs, make_network

N = 12


def make_run(training, dropping, network=None):
    network = network or make_network()
    weights = torch.cat([full_sample(N), leave_one_out(N)])
    return Setup(network, make_inputs(network), weights, training, dropping)


@pytest.mark.parametrize(
    "training",
    [Training(steps=10, lr=0.01, seed=3), Training(steps=7, lr=0.01, samples=2, batch=5, seed=4)],
    ids=["full batch", "samples and batches"],
)
@pytest.mark.parametrize(
    ("rescale", "kind"), [(False, "bernoulli"), (True, "bernoulli"), (True, "gaussian")]
)
def test_lora_with_lora_dropout_is_what_the_fast_path_trains(training, rescale, kind):
    run = make_run(training, Dropping("both", 0.3, rescale, kind))
    network = run.network
    generator = torch.Generator().manual_seed(2)
    slow = train(run, LoRA(network), generator)
    start = network.initial_factors(torch.Generator().manual_seed(2))
    fast = retrain(
        network,
        run.inputs,
        run.weights,
        start,
        training,
        Dropout(0.3, rescale, kind),
        pieces=list(blocks(N + 1, 5)),
    )
    assert_same_factors(slow, fast)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("rescale", "kind"), [(False, "bernoulli"), (True, "bernoulli"), (False, "gaussian")]
)
def test_every_place_drops_an_entry_equally_often(place, rescale, kind):
    """Over many draws, the mean masked update is the expected mask times the update."""
    network, draws = make_network(widths=(6, 5)), 1000
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(1, 3, 6, generator=generator, dtype=torch.float64)
    B = torch.randn(1, 5, 3, generator=generator, dtype=torch.float64)
    dropping = Dropping(place, 0.3, rescale, kind)
    inputs = make_inputs(network, n=4)
    plain = network.scaling * (B @ A) @ inputs.features
    frozen = network.weights[0] @ inputs.features + network.biases[0]
    found = torch.stack([
        masked_outputs(
            network, [(A, B)], inputs, dropping.draw(network, 4, step=step, sample=0, seed=0)
        ) - frozen
        for step in range(draws)
    ])  # fmt: skip
    error = found.std(0) / draws**0.5
    # Five standard errors: 20 entries at 6e-7 each.
    assert (found.mean(0) - dropping.expected_mask * plain).abs().le(5 * error).all()


@pytest.mark.parametrize("place", ["columns of A", "rows of B"])
def test_masks_of_one_factor_fall_on_that_factor_alone(place):
    network = make_network(widths=(60, 50))
    (drawn,) = Dropping(place, 0.3).draw(network, 4, step=0, sample=0, seed=0)
    dropped = [bool((mask == 0).any()) for mask in (drawn.first, drawn.second)]
    assert dropped == [place == "columns of A", place == "rows of B"]


def test_masks_of_inputs_differ_between_examples_and_those_of_weights_do_not():
    network = make_network(widths=(6, 5))
    (drawn,) = Dropping("inputs", 0.5).draw(network, 9, step=0, sample=0, seed=0)
    mask = drawn.input_mask(6)
    assert mask.shape == (6, 9)
    assert len(mask.unique(dim=1).T) > 1


def test_masks_on_inputs_need_a_feed_forward_network():
    class Other:
        scaling, sides, weights = 1.0, [(2, 2)], [torch.eye(2)]

    drawn = [Drawn("inputs", torch.ones(4), torch.ones(0))]
    with pytest.raises(TypeError, match="feed-forward"):
        masked_outputs(Other(), [(torch.ones(1, 1, 2), torch.ones(1, 2, 1))], None, drawn)


def test_rate_zero_is_plain_training_wherever_masks_would_fall():
    training = Training(steps=6, lr=0.01)
    trained = [
        train(make_run(training, Dropping(place, 0.0)), LoRA(make_network()),
              torch.Generator().manual_seed(2))
        for place in PLACES
    ]  # fmt: skip
    for other in trained[1:]:
        assert_same_factors(other, trained[0])


def test_adalora_ends_with_the_ranks_of_lora_and_nearer_to_orthogonal():
    network, steps = make_network(rank=2), 60
    method = AdaLoRA(network, steps)
    run = make_run(Training(steps=steps, lr=0.05), Dropping("both", 0.2), network)
    kept = {}
    factors = train(
        run, method, torch.Generator().manual_seed(0),
        checkpoint=lambda step, factors: kept.update({step: [B.clone() for _, B in factors]}),
    )  # fmt: skip
    nonzero = sum((B.norm(dim=1) > 0).sum(-1) for _, B in factors)
    assert nonzero.tolist() == [2 * len(network.sides)] * (N + 1)
    assert sum((B.norm(dim=1) > 0).sum(-1) for B in kept[1]).tolist() == [6] * (N + 1)
    for A, _ in factors:
        gram = A[0] @ A[0].mT
        assert (gram - torch.eye(len(gram))).norm() < 0.8 * len(gram) ** 0.5


def adalora_by_hand(run, row, seed):
    """B A of one replica, of rank 2 and 5-16-2, trained by autograd and torch.optim."""
    network, steps, weight = run.network, run.training.steps, run.weights[row]
    generator = torch.Generator().manual_seed(seed)
    # 3 triplets for a rank of 2, of a side of 2 no more than that.
    layers = [
        Triplets(*(part.double().requires_grad_() for part in drawn))
        for drawn in (
            initial_triplets(rank, *sides, generator)
            for rank, sides in zip((3, 2), network.sides, strict=True)
        )
    ]
    # All stay for a tenth of the steps, and four in the last three tenths.
    allocator = RankAllocator(BudgetSchedule(5, 4, steps, steps // 10, 3 * steps // 10))
    optimizer = torch.optim.Adam([part for layer in layers for part in layer], lr=run.training.lr)
    for step in range(steps):
        optimizer.zero_grad()
        total = 0.0
        for sample in range(run.training.samples):
            drawn = run.dropping.draw(network, N, step=step, sample=sample, seed=run.training.seed)
            updates = [
                network.scaling * mask.second[:, None] * (P * values @ Q) * mask.first
                for (P, values, Q), mask in zip(layers, drawn, strict=True)
            ]
            merged = [w + update for w, update in zip(network.weights, updates, strict=True)]
            hidden = (merged[0] @ run.inputs.features + network.biases[0]).relu()
            outputs = merged[1] @ hidden + network.biases[1]
            losses = network.loss.value(outputs, run.inputs.targets)
            total = total + (weight * losses).sum() / run.training.samples
        for P, _, Q in layers:
            for gram in (P.mT @ P, Q @ Q.mT):
                total = total + 0.1 * (gram - torch.eye(len(gram))).square().sum()
        total.backward()
        optimizer.step()
        slopes = [Triplets(*(part.grad for part in layer)) for layer in layers]
        allocator.step(step + 1, layers, slopes)
    return [(P * values @ Q).detach() for P, values, Q in layers]


def test_adalora_is_what_autograd_makes_of_its_objective():
    network = make_network(widths=(5, 16, 2), rank=2)
    training = Training(steps=10, lr=0.02, samples=2, seed=5)
    run = make_run(training, Dropping("both", 0.3), network)
    trained = train(run, AdaLoRA(network, 10), torch.Generator().manual_seed(3))
    for (A, B), update in zip(trained, adalora_by_hand(run, 4, 3), strict=True):
        torch.testing.assert_close(B[4] @ A[4], update, rtol=1e-7, atol=1e-9)


def test_replicas_of_adalora_are_trained_as_if_alone():
    training, dropping = Training(steps=20, lr=0.02), Dropping("both", 0.3)
    network = make_network()
    together = train(
        make_run(training, dropping, network), AdaLoRA(network, 20),
        torch.Generator().manual_seed(1),
    )  # fmt: skip
    for replica in (0, 5):
        run = make_run(training, dropping, network)
        alone = train(
            Setup(network, run.inputs, run.weights[replica : replica + 1], training, dropping),
            AdaLoRA(network, 20), torch.Generator().manual_seed(1),
        )  # fmt: skip
        one = [(A[replica : replica + 1], B[replica : replica + 1]) for A, B in together]
        assert_same_factors(one, alone)


def test_shapes_of_masks_are_those_of_their_places():
    network = make_network(widths=(6, 5))
    sizes = {
        place: len(Dropping(place, 0.2).draw(network, 7, step=0, sample=0, seed=0)[0].first)
        for place in PLACES
    }
    assert sizes == {
        "both": 6, "columns of A": 6, "rows of B": 6, "rank": 3, "entries": 30, "inputs": 42,
    }  # fmt: skip
    assert Dropping("both", 0.2)._shape(6, 5, 3, 7) == LayerShape(6, 5, 0.2, 0.2)
    for place in PLACES:
        assert Dropping(place, 0.2, kind="mean")._shape(6, 5, 3, 7).kind == "mean"

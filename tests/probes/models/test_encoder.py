"""The stacked encoder against transformers' own model, and its gradients against autograd."""

import copy

import pytest
import torch
from torch.func import grad

from lora_dropout import inject, mask_schedule
from probes.models.encoder import POOLINGS, Encoder, EncoderLayer
from probes.models.losses import cross_entropy
from probes.models.network import flat_weights, training_loss
from probes.training.blocks import blocks
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.plan import Dropout, Penalty, Training
from probes.training.retrain import batches, retrain
from tests.probes.encoders import VOCABULARY, tiny_bert

N, TOKENS, CLASSES = 5, 7, 3
DEPTH = 2


def make_ids():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, len(VOCABULARY), (N, TOKENS), generator=generator)
    lengths = torch.tensor([7, 4, 1, 6, 3])
    return ids, torch.arange(TOKENS) < lengths.unsqueeze(1)


def make(layers, pooling, rank=3, **settings):
    """The network, its inputs, and the frozen model that it stands for."""
    model = copy.deepcopy(tiny_bert()).double()
    ids, mask = make_ids()
    generator = torch.Generator().manual_seed(2)
    head = torch.randn(CLASSES, 16, generator=generator, dtype=torch.float64)
    network = Encoder(
        [EncoderLayer.of(layer) for layer in model.encoder.layer[DEPTH - layers :]], head, heads=2,
        pooling=pooling, tokens=TOKENS, rank=rank, alpha=6.0, loss=cross_entropy,
        **settings,
    )  # fmt: skip
    with torch.no_grad():
        hidden = model(ids, mask, output_hidden_states=True).hidden_states[-1 - layers]
    labels = torch.tensor([0, 2, 1, 1, 0])
    inputs = network.read(hidden, mask, torch.nn.functional.one_hot(labels, CLASSES).double())
    return network, inputs, model


def model_outputs(model, head, pooling):
    ids, mask = make_ids()
    last = model(ids, mask).last_hidden_state
    weight = mask.double() / mask.sum(1, keepdim=True)
    pooled = last[:, 0] if pooling == "cls" else (last * weight.unsqueeze(-1)).sum(1)
    return pooled @ head.T


def random_factors(network, replicas=3):
    generator = torch.Generator().manual_seed(3)
    size = replicas * network.size
    flat = 0.3 * torch.randn(size, generator=generator, dtype=torch.float64)
    return network.views(flat, replicas)


SHAPES = [(layers, pooling) for layers in (1, 2) for pooling in POOLINGS]


@pytest.mark.parametrize(("layers", "pooling"), SHAPES)
def test_every_replica_is_the_model_with_its_weights_merged(layers, pooling):
    network, inputs, model = make(layers, pooling)
    weights = network.merged_weights(random_factors(network))
    outputs = network.outputs(weights, inputs)
    beside = network.replica_outputs(random_factors(network), inputs)
    for replica in range(3):
        merged = copy.deepcopy(model)
        for number, layer in enumerate(merged.encoder.layer[DEPTH - layers :]):
            layer.attention.self.query.weight.data.copy_(weights[2 * number][replica])
            layer.attention.self.value.weight.data.copy_(weights[2 * number + 1][replica])
        expected = model_outputs(merged, network.head, pooling).mT
        torch.testing.assert_close(outputs[replica], expected, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(beside[replica], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("layers", "pooling"), SHAPES)
def test_a_network_is_the_same_in_another_precision(layers, pooling):
    network, inputs, _ = make(layers, pooling, activation=torch.tanh, epsilon=0.1)
    like = torch.empty((), dtype=torch.float32)
    placed, factors = network.place(like), random_factors(network)
    rough = [(A.to(like), B.to(like)) for A, B in factors]
    losses = placed.losses(rough, inputs.place(like), update_scale=0.7)
    assert losses.dtype == torch.float32
    outputs = network.replica_outputs(factors, inputs, update_scale=0.7)
    expected = network.loss.value(outputs, inputs.targets).float()
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layers", "pooling"), SHAPES)
def test_gradient_norms_are_those_of_autograd(layers, pooling):
    network, inputs, _ = make(layers, pooling)
    factors = random_factors(network)
    norms = network.gradient_norms(factors, inputs, update_scale=0.7)
    merged = flat_weights(network.merged_weights(factors, update_scale=0.7))
    for replica in range(3):
        for example in range(N):
            one = training_loss(network, inputs.take(torch.tensor([example])))
            expected = grad(one)(merged[replica]).norm()
            torch.testing.assert_close(norms[replica, example], expected)


def train_one(network, inputs, weight, start, training, objective, model, layers, pooling):
    """One replica as a user would train it: transformers' model, ``inject``, torch.optim."""
    p = objective.p if isinstance(objective, Dropout) else 0.0
    names = [
        f"encoder.layer.{number}.attention.self.{name}"
        for number in range(DEPTH - layers, DEPTH)
        for name in ("query", "value")
    ]
    model = inject(
        copy.deepcopy(model), rank=network.rank, alpha=6.0, p=p, target=names, seed=training.seed
    ).train()
    adapted = [model.get_submodule(name) for name in names]
    with torch.no_grad():
        for layer, (A, B) in zip(adapted, start, strict=True):
            layer.lora_A.copy_(A[0])
            layer.lora_B.copy_(B[0])
    factors = [factor for layer in adapted for factor in (layer.lora_A, layer.lora_B)]
    optimizer = torch.optim.Adam(factors, lr=training.lr)
    schedule = mask_schedule(model)
    order = batches(len(inputs), training.batch, training.steps, training.seed)
    for step, index in enumerate(order):
        index = torch.arange(N) if index is None else index
        optimizer.zero_grad()
        for sample in range(training.samples):
            schedule.seek(step, range(sample, sample + 1))
            outputs = model_outputs(model, network.head, pooling)[index]
            losses = torch.nn.functional.cross_entropy(
                outputs, inputs.targets.mT[index], reduction="none"
            )
            loss = (weight[index] * losses).sum() * N / len(index) / training.samples
            if isinstance(objective, Penalty):
                loss = loss + objective.penalty_weight * sum(
                    (layer.scaling * layer.lora_B @ layer.lora_A).square().sum()
                    for layer in adapted
                )
            loss.backward()
        optimizer.step()
    return [(layer.lora_A.detach(), layer.lora_B.detach()) for layer in adapted]


@pytest.mark.parametrize(("layers", "pooling"), SHAPES)
@pytest.mark.parametrize(
    ("training", "objective"),
    [
        (Training(steps=6, lr=0.01), Dropout(0.3)),
        (Training(steps=4, lr=0.01, samples=2, batch=3, seed=5), Dropout(0.4)),
        (Training(steps=6, lr=0.01), Penalty(0.2)),
    ],
    ids=["dropout", "samples and batches", "penalty"],
)
def test_replicas_train_as_the_injected_model_one_by_one(layers, pooling, training, objective):
    network, inputs, model = make(layers, pooling)
    weights = torch.cat([full_sample(N), leave_one_out(N)])
    start = network.initial_factors(torch.Generator().manual_seed(4))
    together = retrain(
        network, inputs, weights, start, training, objective, pieces=list(blocks(N + 1, 4))
    )
    for replica in (0, 2):
        alone = train_one(
            network, inputs, weights[replica], start, training, objective, model, layers, pooling
        )
        for pair, expected in zip(together, alone, strict=True):
            for factor, other in zip(pair, expected, strict=True):
                torch.testing.assert_close(factor[replica], other, rtol=1e-6, atol=1e-9)

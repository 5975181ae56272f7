"""The stacked network against modules with its weights, one replica and one example at a time."""

import pytest
import torch
from torch import nn

from probes.models.feedforward import FeedForward, beside, random_network_weights
from probes.models.losses import cross_entropy
from probes.models.network import training_loss, training_losses

WIDTHS, REPLICAS = (5, 4, 6, 3), 3


def make(dtype=torch.float64):
    """A network with biases, which a random one has not, and factors that are not 0."""
    generator = torch.Generator().manual_seed(0)
    weights = [weight.to(dtype) for weight, _ in random_network_weights(WIDTHS, generator)]
    biases = [torch.randn(width, generator=generator).to(dtype) for width in WIDTHS[1:]]
    network = FeedForward(weights, biases, rank=2, alpha=6.0, loss=cross_entropy)
    flat = 0.3 * torch.randn(REPLICAS * network.size, generator=generator)
    return network, network.views(flat.to(dtype), REPLICAS)


def inputs_of(network, count=7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(WIDTHS[-1], (count,), generator=generator)
    features = torch.randn(count, WIDTHS[0], generator=generator)
    return network.read(features, nn.functional.one_hot(labels, WIDTHS[-1])), features, labels


def modules(network, weights):
    """The network of one replica as a user would write it."""
    layers = []
    for weight, bias in zip(weights, network.biases, strict=True):
        layer = nn.Linear(*weight.T.shape, dtype=weight.dtype)
        layer.weight.data, layer.bias.data = weight, bias[:, 0]
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def test_outputs_and_gradient_norms_are_those_of_modules_with_the_merged_weights():
    network, factors = make()
    inputs, features, labels = inputs_of(network)
    merged = network.merged_weights(factors, update_scale=0.7)
    outputs = network.replica_outputs(factors, inputs, update_scale=0.7)
    losses = network.losses(factors, inputs, 0.7)
    norms = network.gradient_norms(factors, inputs, 0.7)
    for replica in range(REPLICAS):
        module = modules(network, [weight[replica] for weight in merged])
        expected = module(features.double())
        torch.testing.assert_close(outputs[replica].mT, expected)
        each = nn.functional.cross_entropy(expected, labels, reduction="none")
        torch.testing.assert_close(losses[replica], each)
        weights = [one for one in module.parameters() if one.dim() == 2]
        for example, loss in enumerate(each):
            grads = torch.autograd.grad(loss, weights, retain_graph=True)
            norm = torch.cat([grad.flatten() for grad in grads]).norm()
            torch.testing.assert_close(norms[replica, example], norm)


def test_a_network_is_the_same_in_another_precision():
    network, factors = make()
    inputs, _, _ = inputs_of(network)
    like = torch.empty((), dtype=torch.float32)
    rough = [(A.to(like), B.to(like)) for A, B in factors]
    placed = network.place(like)
    for index in (torch.arange(7), torch.tensor([4, 1])):
        losses = placed.losses(rough, inputs.place(like).take(index))
        assert losses.dtype == torch.float32
        expected = network.losses(factors, inputs)[:, index].float()
        torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", [0.0, 0.2, torch.tensor([0.0, 0.3, 0.1])], ids=str)
def test_losses_of_several_networks_are_those_of_each(weights):
    network, factors = make()
    cells = [inputs_of(network, seed=seed)[0] for seed in range(REPLICAS)]
    like = torch.empty((), dtype=torch.float64)
    flats = torch.cat([one.flatten(1) for one in network.merged_weights(factors)], dim=1)
    together = training_losses(network, beside(cells), like, weights)(flats)
    alone = [
        training_loss(network, cell, float(weight))(flat)
        for cell, weight, flat in zip(cells, torch.as_tensor(weights).expand(3), flats, strict=True)
    ]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-6, atol=0)


def test_random_weights_have_variance_two_over_the_number_of_features():
    generator = torch.Generator().manual_seed(0)
    for weight, bias in random_network_weights((50, 400, 100), generator):
        # Of at least 20,000 normal numbers the variance is within 5 % but for once in a million.
        assert weight.var().item() == pytest.approx(2 / weight.shape[1], rel=0.05)
        assert bias.tolist() == [0.0] * len(weight)

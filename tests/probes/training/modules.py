"""A feed-forward network as modules of PyTorch, as a user has it."""

import torch
from torch import nn


def as_modules(weights, biases):
    """Return the network, float64, with nothing adapted.

    Args:
        weights: W0 of every layer, (d_out, d_in), first layer first.
        biases: of every layer, (d_out,) or (d_out, 1).
    """
    layers = []
    for weight, bias in zip(weights, biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        linear.weight.data.copy_(weight)
        linear.bias.data.copy_(bias.flatten())
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])

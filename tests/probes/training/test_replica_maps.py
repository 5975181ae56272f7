"""The maps of many replicas against the layer, one replica and one sample after the other."""

import pytest
import torch
from torch import nn

from lora_dropout import LoRADropoutLinear, hold_masks
from lora_dropout.masks import stack_masks
from probes.training.replica_maps import LowRank, Merged, cheaper_map
from tests.devices import DEVICES

D_IN, D_OUT, RANK, EXAMPLES, REPLICAS = 6, 5, 3, 4, 3


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).double()


def make_layer():
    base = nn.Linear(D_IN, D_OUT, dtype=torch.float64)
    # A bias may be 0 at some outputs, and counts at the others.
    base.bias.data[0] = 0
    return LoRADropoutLinear(base, rank=RANK, p=0.4, alpha=2.0)


def contiguous_transpose(*shape):
    return torch.empty(*shape, dtype=torch.float64).mT


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("kind", [LowRank, Merged])
def test_map_and_gradient_equal_a_loop_over_layers(kind, common, samples, device):
    layer = make_layer()
    A, B = draw(REPLICAS, RANK, D_IN), draw(REPLICAS, RANK, D_OUT).mT
    X = draw(samples * REPLICAS, D_IN, EXAMPLES)
    if common:
        X = X[:1].expand_as(X)
    grad = draw(samples * REPLICAS, D_OUT, EXAMPLES)
    weight, bias = layer.base.weight.detach(), layer.base.bias.detach().unsqueeze(1)
    place = torch.zeros_like(A).to(device), contiguous_transpose(REPLICAS, RANK, D_OUT).to(device)
    found = kind(
        weight.to(device), bias.to(device), (A.to(device), B.to(device)), place,
        scaling=layer.scaling, samples=samples, examples=EXAMPLES,
        input=None if common else X.to(device),
    )  # fmt: skip
    if common:
        found.feed(X[0].to(device), (weight @ X[0] + bias).to(device))
    masks = stack_masks(layer.shape, seed=0, steps=[0], layer=0, samples=range(samples))
    found.hold_masks(*(mask[0, :, None, None].to(found.output) for mask in masks))
    found.forward()
    found.output_gradient.copy_(grad)
    found.backward()
    input_gradient = torch.empty_like(X).to(device).contiguous()
    found.input_gradient(input_gradient)

    expected_A, expected_B = torch.zeros_like(A), torch.zeros_like(B)
    for sample in range(samples):
        layer.masks.seek(0, range(sample, sample + 1))
        for replica in range(REPLICAS):
            number = sample * REPLICAS + replica
            layer.lora_A.data, layer.lora_B.data = A[replica].clone(), B[replica].clone()
            x = X[number].mT.clone().requires_grad_(True)
            # Other factors are another replica's here, and no update after which masks move.
            with hold_masks(layer):
                output = layer(x)
                layer.zero_grad()
                output.backward(grad[number].mT)
            torch.testing.assert_close(found.output[number].cpu(), output.detach().mT)
            torch.testing.assert_close(input_gradient[number].cpu(), x.grad.mT)
            expected_A[replica] += layer.lora_A.grad
            expected_B[replica] += layer.lora_B.grad
    torch.testing.assert_close(place[0].cpu(), expected_A)
    torch.testing.assert_close(place[1].cpu(), expected_B)


def test_the_cheaper_contraction_is_chosen():
    """As counted by hand: 64 to 64 with a common input against 64 to 10, both of rank 8."""
    assert cheaper_map(8, 64, 64, examples=64, common=True) is LowRank
    assert cheaper_map(8, 64, 10, examples=64, common=False) is Merged
    assert cheaper_map(2, 2, 1, examples=2, common=True) is Merged
    assert cheaper_map(2, 2, 2, examples=2, common=True) is LowRank
    assert cheaper_map(8, 768, 768, examples=64, common=False) is LowRank

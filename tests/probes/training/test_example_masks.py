"""Masks of every token's own in a transformer, against PEFT's modules and autograd."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.nn import functional as F

from probes.training.example_masks import ExampleMasks
from probes.training.example_weights import full_sample, leave_one_out
from probes.training.plan import Training
from probes.training.rival_training import train_rival
from probes.training.rivals import Rival
from tests.probes.models.test_encoder import N, make, model_outputs
from tests.probes.training.test_rival_training import Masked

TRAINING = Training(steps=4, lr=0.01, seed=3)


def adapt(model, layers, start, rank):
    """Query and value of the last layers by PEFT's LoRA, from the given start."""
    names = [
        f"encoder.layer.{number}.attention.self.{part}"
        for number in range(len(model.encoder.layer))[-layers:]
        for part in ("query", "value")
    ]
    config = LoraConfig(r=rank, lora_alpha=6.0, target_modules=names)
    inject_adapter_in_model(config, model)
    adapted = [model.get_submodule(name) for name in names]
    with torch.no_grad():
        for layer, (A, B) in zip(adapted, start, strict=True):
            layer.double()
            layer.lora_A["default"].weight.copy_(A[0])
            layer.lora_B["default"].weight.copy_(B[0])
    return adapted


def hold(layer, place, mask):
    if place == "inputs":
        layer.lora_dropout["default"] = Masked()
        layer.lora_dropout["default"].mask = mask[0]
    else:
        layer.lora_A["default"]._forward_hooks.clear()
        layer.lora_A["default"].register_forward_hook(
            lambda module, args, output: output * mask[0].permute(1, 2, 0)
        )


@pytest.mark.parametrize(("layers", "pooling"), [(2, "mean"), (2, "cls"), (1, "cls")])
@pytest.mark.parametrize(("name", "place"), [("PEFT lora_dropout", "inputs"), ("DropLoRA", "rank")])
def test_an_encoder_is_trained_as_by_peft(name, place, layers, pooling):
    network, inputs, model = make(layers, pooling)
    start = network.initial_factors(torch.Generator().manual_seed(5))
    weights = torch.cat([full_sample(N), leave_one_out(N)[2:3]])
    together = train_rival(network, inputs, weights, start, TRAINING, Rival(name, 0.4))
    drawn = ExampleMasks(place, 0.4).draw(network, TRAINING, N)
    adapted = adapt(model, layers, start, network.rank)
    parameters = [
        factor["default"].weight for layer in adapted for factor in (layer.lora_A, layer.lora_B)
    ]
    optimizer = torch.optim.Adam(parameters, lr=TRAINING.lr)
    for step in range(TRAINING.steps):
        for layer, (mask, _) in zip(adapted, drawn[step], strict=True):
            hold(layer, place, mask)
        outputs = model_outputs(model, network.head, pooling)
        losses = F.cross_entropy(outputs, inputs.targets.argmax(0), reduction="none")
        optimizer.zero_grad()
        (weights[1] * losses).sum().backward()
        optimizer.step()
    alone = list(zip(parameters[::2], parameters[1::2], strict=True))
    for (A, B), (A_alone, B_alone) in zip(together, alone, strict=True):
        torch.testing.assert_close(A[1], A_alone.detach(), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(B[1], B_alone.detach(), rtol=1e-7, atol=1e-9)

"""Training one replica of a transformer by PEFT's modules, autograd and torch.optim."""

import torch
from peft import LoraConfig, inject_adapter_in_model


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


def assert_trained_alike(replica, adapted, training, loss_of):
    """Assert that a replica is what Adam makes of the adapted layers.

    Args:
        replica: A and B of every layer.
        adapted: of :func:`adapt`.
        training: how the replica was trained.
        loss_of: from the number of a step to the loss under its masks.
    """
    alone = [(layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in adapted]
    parameters = [factor for pair in alone for factor in pair]
    optimizer = torch.optim.Adam(parameters, lr=training.lr)
    for step in range(training.steps):
        optimizer.zero_grad()
        loss_of(step).backward()
        optimizer.step()
    for pair, expected in zip(replica, alone, strict=True):
        for factor, other in zip(pair, expected, strict=True):
            torch.testing.assert_close(factor, other.detach(), rtol=1e-7, atol=1e-9)

"""Training one replica as a user of PEFT would: PEFT's modules, autograd and torch.optim."""

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F

from probes.training.retrain import batches
from tests.probes.training.modules import as_modules


def cross_entropies(model, X, target, step):
    """Losses of all examples."""
    return F.cross_entropy(model(X), target, reduction="none")


def train_with_peft(
    network, inputs, weight, start, training, *, before=None, losses=cross_entropies, **config
):
    """Train one replica.

    Args:
        network, inputs, start, training: as for ``retrain``.
        weight: of the examples, (m,).
        before: called with PEFT's layers and the number of the step before every step.
        losses: from the model, the features, one example a row, the targets and the step's number
            to the losses of the examples.
        config: what else ``LoraConfig`` gets.

    Returns:
        A and B of every layer.
    """
    model = as_modules(network.weights, network.biases)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    config = LoraConfig(
        r=network.rank, lora_alpha=network.scaling * network.rank, target_modules=names, **config
    )
    model = get_peft_model(model, config, autocast_adapter_dtype=False)
    layers = [model.get_submodule(f"base_model.model.{name}") for name in names]
    factors = [(layer.lora_A["default"], layer.lora_B["default"]) for layer in layers]
    with torch.no_grad():
        for (A, B), (A_start, B_start) in zip(factors, start, strict=True):
            A.weight.copy_(A_start[0])
            B.weight.copy_(B_start[0])
    parameters = [factor.weight for pair in factors for factor in pair]
    optimizer = torch.optim.AdamW(parameters, lr=training.lr, weight_decay=training.weight_decay)
    model.train()
    order = batches(len(inputs), training.batch, training.steps, training.seed)
    for step, index in enumerate(order):
        index = torch.arange(len(inputs)) if index is None else index
        if before is not None:
            before(layers, step)
        each = losses(model, inputs.features.mT[index], inputs.targets.mT[index], step)
        loss = (weight[index] * each).sum() * len(inputs) / len(index)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [(A.weight.detach(), B.weight.detach()) for A, B in factors]

"""Weights of factors that PyTorch and Accelerate make for each call of a factor."""

import copy

import pytest
import torch
from accelerate import cpu_offload
from peft import get_peft_model
from torch import nn
from torch.nn.utils import prune

from lora_dropout import Ensemble
from lora_dropout.peft import LoraDropoutConfig
from tests.lora_dropout.peft.layer_kinds import KINDS
from tests.lora_dropout.peft.models import CONFIGS, adapted, batch


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_factors_that_are_offloaded_are_fetched(kind):
    kind = KINDS[kind]
    model = kind.adapted(dropout_rate=0.5).eval()
    away = cpu_offload(copy.deepcopy(model), execution_device=torch.device("cpu"))
    assert all(one.is_meta for one in away.parameters())
    torch.testing.assert_close(away(kind.x), model(kind.x))
    torch.testing.assert_close(Ensemble(away, 2)(kind.x), Ensemble(model, 2)(kind.x))
    assert all(one.is_meta for one in away.parameters())
    torch.testing.assert_close(away.merge_and_unload()(kind.x), model(kind.x))


@torch.no_grad()
def test_factors_of_adalora_that_are_offloaded_are_fetched():
    """PyTorch multiplies by what has no data, and returns whatever is in memory."""
    model = adapted(config=CONFIGS["adalora"]).eval()
    away = cpu_offload(copy.deepcopy(model), execution_device=torch.device("cpu"))
    assert torch.equal(away(**batch()).logits, model(**batch()).logits)
    found, expected = (
        Ensemble(one, 2, output=lambda result: result.logits)(**batch()) for one in (away, model)
    )
    assert torch.equal(found, expected)


@torch.no_grad()
def test_bare_parameters_that_are_offloaded_are_refused():
    settings = {"r": 2, "target_modules": [], "target_parameters": ["0.weight"]}
    model = get_peft_model(
        nn.Sequential(nn.Linear(4, 4)), LoraDropoutConfig(**settings, dropout_rate=0.5)
    )
    away = cpu_offload(model.eval(), execution_device=torch.device("cpu"))
    with pytest.raises(ValueError, match="weight is offloaded"):
        away(torch.ones(1, 4))


def test_factors_that_are_pruned_are_trained():
    model, twin = adapted(), adapted()
    name = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default"
    prune.random_unstructured(model.get_submodule(name), "weight", 0.5)
    kept = model.get_submodule(name).weight_mask
    weight = twin.get_submodule(name).weight
    with torch.no_grad():
        weight.mul_(kept)
    weight.register_hook(lambda grad: grad * kept)
    losses = []
    for one in (model, twin):
        optimizer = torch.optim.SGD([p for p in one.parameters() if p.requires_grad], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = one(**batch()).loss
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        losses.append(float(one.eval()(**batch()).loss.detach()))
    assert losses[:4] == pytest.approx(losses[4:], rel=1e-6)

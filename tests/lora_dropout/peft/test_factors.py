"""Weights of factors that PyTorch and Accelerate make for each call of a factor."""

import copy

import pytest
import torch
from accelerate import cpu_offload
from torch.nn.utils import prune

from lora_dropout import Ensemble
from tests.lora_dropout.peft.layer_kinds import KINDS
from tests.lora_dropout.peft.models import adapted, batch

#: PEFT's own embeddings, AdaLoRA and DoRA do not run where they are offloaded.
OFFLOADED = [name for name in KINDS if name != "nn.Embedding"]


@torch.no_grad()
@pytest.mark.parametrize("kind", OFFLOADED)
def test_factors_that_are_offloaded_are_fetched(kind):
    kind = KINDS[kind]
    model = kind.adapted(dropout_rate=0.5).eval()
    away = cpu_offload(copy.deepcopy(model), execution_device=torch.device("cpu"))
    assert all(one.is_meta for one in away.parameters())
    torch.testing.assert_close(away(kind.x), model(kind.x))
    torch.testing.assert_close(Ensemble(away, 2)(kind.x), Ensemble(model, 2)(kind.x))
    assert all(one.is_meta for one in away.parameters())
    torch.testing.assert_close(away.merge_and_unload()(kind.x), model(kind.x))


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

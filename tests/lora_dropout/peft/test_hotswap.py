"""Adapters whose factors are swapped in a model that is prepared for it."""

import copy

import pytest
import torch
from peft import get_peft_model
from peft.utils.hotswap import hotswap_adapter, prepare_model_for_compiled_hotswap
from torch import nn
from torch._dynamo.testing import CompileCounter

from lora_dropout import Ensemble
from lora_dropout.peft import LoraDropoutConfig
from tests.lora_dropout.peft.layer_kinds import KINDS
from tests.lora_dropout.peft.models import randomize

X = torch.linspace(-1, 1, 18).reshape(3, 6)


def adapted(seed=0, **settings):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    told = {"target_modules": ["0", "2"], "dropout_rate": 0.5} | settings
    return randomize(get_peft_model(base, LoraDropoutConfig(**told)), seed)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_prepared_model_computes_the_same_as_often_as_it_is_asked(kind):
    kind = KINDS[kind]
    model = kind.adapted(dropout_rate=0.5)
    prepared = copy.deepcopy(model)
    prepare_model_for_compiled_hotswap(prepared)
    for training in (False, True, False):
        expected, found = (one.train(training)(kind.x) for one in (model, prepared))
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(Ensemble(prepared, 2)(kind.x), Ensemble(model, 2)(kind.x))


def test_swaps_compile_nothing_anew_and_training_goes_on(tmp_path):
    others = [adapted(1, r=3, lora_alpha=5), adapted(2, r=4, lora_alpha=7)]
    model = adapted(r=2, lora_alpha=3)
    prepare_model_for_compiled_hotswap(model, target_rank=4)
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    for training in (True, False):
        model.train(training)
        compiled(X)
    compiled_before = counter.frame_count
    for number, other in enumerate(others):
        folder = tmp_path / str(number)
        other.save_pretrained(folder)
        hotswap_adapter(model, folder, "default", torch_device="cpu")
        for training in (True, False):
            model.train(training)
            torch.testing.assert_close(compiled(X), other.train(training)(X))
    assert counter.frame_count == compiled_before


def test_a_prepared_model_is_compiled_with_its_backward_pass():
    model = adapted(r=2, lora_alpha=3)
    prepare_model_for_compiled_hotswap(model, target_rank=4)
    gradients = []
    for call in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        model.zero_grad()
        call(X).square().sum().backward()
        gradients.append([one.grad for one in model.parameters() if one.grad is not None])
    assert len(gradients[0]) == 4
    for eager, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(eager, compiled)

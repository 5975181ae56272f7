"""The layer of the probes and the layer in PEFT are one."""

import copy
from dataclasses import replace

import pytest
import torch
from peft import get_peft_model
from torch import nn

from lora_dropout import describe, grouped_samples, inject, mask_schedule
from lora_dropout.injection import adapted_layers
from lora_dropout.peft import LoraDropoutConfig
from probes import own_model
from tests.lora_dropout.peft.models import adapted, batch_for
from tests.probes.test_own_model import digits_model

pytestmark = pytest.mark.slow


def two_of_the_same(seed=3, p=0.4):
    """The digits network by ``inject`` and by PEFT, with equal factors and mask seeds."""
    plain = digits_model().model
    ours = inject(copy.deepcopy(plain), rank=4, p=p, alpha=8, seed=seed)
    config = LoraDropoutConfig(
        r=4, lora_alpha=8, target_modules=["0", "2"], dropout_rate=p, mask_seed=seed
    )
    theirs = get_peft_model(copy.deepcopy(plain), config, autocast_adapter_dtype=False)
    generator = torch.Generator().manual_seed(0)
    for (_, one), (_, other) in zip(adapted_layers(ours), adapted_layers(theirs), strict=True):
        for mine, its in zip(one.factors, other.factors, strict=True):
            value = torch.randn(mine.shape, generator=generator, dtype=mine.dtype)
            mine.data.copy_(value)
            its.data.copy_(value)
    return ours, theirs


@pytest.mark.parametrize("training", [True, False])
def test_equal_masks_give_equal_outputs_and_gradients_to_the_bit(training):
    x = digits_model().features[:9]
    found = []
    for model in two_of_the_same():
        model.train(training)
        output = model(x)
        output.square().sum().backward()
        gradients = [f.grad for _, masks in adapted_layers(model) for f in masks.factors]
        found.append([output.detach(), *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_groups_are_the_same_too():
    x = digits_model().features[:6]
    outputs = []
    for model in two_of_the_same():
        model.train()
        with grouped_samples(model, 3):
            outputs.append(model(x.repeat(3, 1)).detach())
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    first, second = outputs[0][:6], outputs[0][6:12]
    assert not torch.equal(first, second)


def test_describe_says_the_same():
    ours, theirs = (
        [replace(one, layer="", adapter="") for one in describe(model)]
        for model in two_of_the_same()
    )
    assert ours == theirs


def by_peft(model, p, seed):
    config = LoraDropoutConfig(r=8, lora_alpha=8, target_modules=["0", "2"], dropout_rate=p,
                               mask_seed=seed)  # fmt: skip
    return get_peft_model(model, config, autocast_adapter_dtype=False)


def test_leave_one_out_gives_the_same_stability():
    settings = {"p": [0.0, 0.4], "n": 5, "draws": 2, "ensemble": [3]}
    expected = own_model.measure(own=digits_model(steps=5), **settings).rows
    found = own_model.measure(own=digits_model(steps=5, adapt=by_peft), **settings).rows
    for name in ("beta", "beta_signed", "gap", "train_loss", "test_loss"):
        assert found[name].tolist() == pytest.approx(expected[name].tolist(), rel=1e-12)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_compiled_it_is_the_same_over_several_steps(name):
    losses = []
    for compiled in (False, True):
        model = adapted(name).train()
        call = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = call(**batch_for(name)).loss
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert mask_schedule(model).step == 3
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-5)


def test_a_bfloat16_base_with_float32_adapters_keeps_its_precision():
    model = adapted()
    model.get_base_model().bert.to(torch.bfloat16)
    for _, masks in adapted_layers(model):
        for factor in masks.factors:
            factor.data = factor.data.float()
    layer = model.get_submodule("base_model.model.bert.encoder.layer.0.attention.self.query")
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert layer.train()(x).dtype == torch.bfloat16
    assert layer.eval()(x).dtype == torch.bfloat16


def test_a_merged_or_plain_module_says_what_to_call():
    from lora_dropout import merge

    with pytest.raises(ValueError, match="merge_and_unload"):
        merge(adapted())
    with pytest.raises(ValueError, match="no layer with LoRA Dropout"):
        describe(nn.Linear(2, 2))

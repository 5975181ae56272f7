"""Masks on both weights of ``nn.MultiheadAttention``; what PEFT has of them is what is saved."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from torch.func import functional_call

from lora_dropout import (
    Ensemble,
    grouped_samples,
    inference_mode,
    mask_schedule,
    sparsity_penalty,
)
from lora_dropout.functional import GroupsNotSupportedError
from lora_dropout.injection import adapted_layers
from lora_dropout.masks import ENSEMBLE_STEP, draw_masks
from lora_dropout.peft import LoraDropoutConfig
from lora_dropout.peft.attention import times_of_output
from tests.lora_dropout.peft.models import gradients, randomize

X = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
P = 0.4
KEPT = (1 - P) ** 2
ADAPTED = {"r": 2, "lora_alpha": 4, "target_modules": ["attention"]}


class Attends(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **settings)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def adapted(config=LoraDropoutConfig, **changes):
    settings = ADAPTED | ({"dropout_rate": P} if config is LoraDropoutConfig else {}) | changes
    return randomize(get_peft_model(Attends(), config(**settings)))


def by_hand(model, sample=None, step=0, factor=1.0):
    """The attention without PEFT, its weights plus the masked updates."""
    layer = model.base_model.model.attention
    plain, weights = Attends(), {}
    held = layer.base_layer.out_proj
    for name, part, times in (
        ("in_proj_weight", layer, 1), ("out_proj.weight", held, times_of_output()),
    ):  # fmt: skip
        A, B = part.lora_A.default.weight, part.lora_B.default.weight
        if sample is not None:
            masks = part.lora_masks.default
            pair = draw_masks(masks.shape, seed=0, step=step, layer=masks.number, sample=sample)
            mask_in, mask_out = map(torch.from_numpy, pair)
            assert 0 < mask_in.mean() < 1 > mask_out.mean() > 0
            A, B = A * mask_in, B * mask_out[:, None]
        frozen = plain.attention.get_parameter(name).detach()
        weights[f"attention.{name}"] = frozen + times * factor * 4 / 2 * B @ A
    return functional_call(plain, weights, X)


def test_outputs_and_gradients_are_those_of_the_masked_weights():
    model = adapted().train()
    factors = mask_schedule(model).factors()
    found, expected = model(X), by_hand(model, sample=0)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        *(torch.autograd.grad(y.square().sum(), factors) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert other.abs().max() > 0.01


# PEFT's merging comes to the output projection a second time, and says so.
@pytest.mark.filterwarnings("ignore:All adapters are already merged", "ignore:Already unmerged")
def test_merging_and_saving_are_the_expected_weight_as_peft_has_it(tmp_path):
    model = adapted().eval()
    expected = by_hand(model, factor=KEPT).detach()
    torch.testing.assert_close(model(X), expected)
    for safe in (False, True):
        model.merge_adapter(safe_merge=safe)
        torch.testing.assert_close(model(X), expected)
        model.unmerge_adapter()
    with inference_mode(model, "no masks"):
        model.merge_adapter()
        torch.testing.assert_close(model(X), by_hand(model))
    model.unmerge_adapter()
    torch.testing.assert_close(model(X), expected)
    with model.disable_adapter():
        torch.testing.assert_close(model(X), Attends()(X))
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(PeftModel.from_pretrained(Attends(), tmp_path)(X), expected)
    # What PEFT alone makes of the saved alpha and factors.
    alpha = json.loads((tmp_path / "adapter_config.json").read_text())["lora_alpha"]
    plain = adapted(LoraConfig, lora_alpha=alpha).eval()
    set_peft_model_state_dict(plain, load_file(tmp_path / "adapter_model.safetensors"))
    torch.testing.assert_close(plain(X), expected)
    torch.testing.assert_close(model.merge_and_unload()(X), expected)


def test_at_rate_0_it_is_pefts_own():
    found = []
    for model in (adapted(dropout_rate=0.0), adapted(LoraConfig)):
        output = model.train()(X)
        output.square().sum().backward()
        found.append((output, gradients(model), list(model.state_dict())))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][2] == found[1][2]
    for name, value in found[1][1].items():
        assert torch.equal(found[0][1][name], value)


def test_peft_adds_the_update_of_the_output_twice():
    """Its pull request 3774: once it is mended, the factor is 1, here as there."""
    assert times_of_output() in (1, 2)
    torch.testing.assert_close(adapted(LoraConfig).eval()(X), by_hand(adapted()))


def test_compiled_as_a_whole_it_is_the_same():
    model, twin = adapted().train(), adapted().train()
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(X), model(X))
    torch._dynamo.reset()


def test_an_ensemble_averages_its_members_and_masks_advance():
    model = adapted().eval()
    members = [by_hand(model, sample=sample, step=ENSEMBLE_STEP) for sample in range(3)]
    torch.testing.assert_close(Ensemble(model, 3)(X), torch.stack(members).mean(0))
    optimizer = torch.optim.SGD(mask_schedule(model.train()).factors(), lr=1e-3)
    model(X).square().sum().backward()
    optimizer.step()
    torch.testing.assert_close(model(X), by_hand(model, sample=0, step=1))
    with grouped_samples(model, 3), pytest.raises(GroupsNotSupportedError, match="no groups"):
        model(X)


def test_the_penalty_is_that_of_both_updates():
    model = adapted()
    layer = model.base_model.model.attention
    updates = [
        times * 2 * part.lora_B.default.weight @ part.lora_A.default.weight
        for part, times in ((layer, 1), (layer.base_layer.out_proj, times_of_output()))
    ]
    squares = sum(update.square().sum() for update in updates)
    torch.testing.assert_close(sparsity_penalty(model, 0.5), 0.5 * (1 - KEPT) * squares)


def test_a_layer_that_peft_made_takes_masks():
    model = get_peft_model(Attends(), LoraConfig(**ADAPTED))
    model.add_adapter("dropped", LoraDropoutConfig(**ADAPTED, dropout_rate=P))
    model.set_adapter("dropped")
    assert len([one for _, one in adapted_layers(model) if one.draws_masks]) == 2
    randomize(model.train())
    before = model(X).detach()
    mask_schedule(model).advance()
    assert not torch.equal(model(X), before)


def test_encoder_layers_of_pytorch_have_the_update_in_eval():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    config = LoraDropoutConfig(r=2, target_modules=["self_attn"], dropout_rate=P)
    model = randomize(get_peft_model(nn.TransformerEncoder(layer, 2), config)).eval()
    with torch.no_grad():
        found = model(X)
        torch.testing.assert_close(model.merge_and_unload()(X), found)


class Other(nn.MultiheadAttention):
    def forward(self, query, *args, **kwargs):
        return super().forward(2 * query, *args, **kwargs)


@pytest.mark.parametrize(
    ("layer", "words"),
    [(nn.MultiheadAttention(8, 2, kdim=3), "of another size"),
     (Other(8, 2), "Other with a forward pass of its own")],
)  # fmt: skip
def test_attention_that_does_something_else_is_refused(layer, words):
    model = Attends()
    model.attention = layer
    with pytest.raises(ValueError, match=words):
        get_peft_model(model, LoraDropoutConfig(**ADAPTED, dropout_rate=P))

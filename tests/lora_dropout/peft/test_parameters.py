"""LoRA on bare parameters, such as the fused weights of a mixture of experts."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from lora_dropout import grouped_samples, mask_schedule
from lora_dropout.functional import GroupsNotSupportedError
from lora_dropout.injection import adapted_layers
from lora_dropout.masks import draw_masks
from lora_dropout.peft import LoraDropoutConfig
from tests.lora_dropout.peft.models import batch, gradients, mixtral, randomize

TARGETS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def settings(**changes):
    return {"r": 2, "lora_alpha": 4, "target_parameters": TARGETS, "target_modules": []} | changes


def made(p=0.5, **changes):
    return randomize(
        get_peft_model(mixtral(), LoraDropoutConfig(**settings(**changes), dropout_rate=p))
    )


def test_peft_itself_has_to_refuse_dropout_here():
    with pytest.raises(ValueError, match="lora_dropout"):
        get_peft_model(mixtral(), LoraConfig(**settings(lora_dropout=0.1)))


def test_every_expert_loses_rows_and_columns_of_its_own():
    model = made().train()
    layers = adapted_layers(model)
    assert len(layers) == 2 * len(TARGETS)
    for place, masks in layers:
        layer = model.get_submodule(place.removesuffix(masks.place))
        mask_in, mask_out = (
            torch.from_numpy(mask).unflatten(0, (3, -1))
            for mask in draw_masks(masks.shape, seed=0, step=0, layer=masks.number)
        )
        A, B, scaling = masks.low_rank()
        assert A.shape[::2] == mask_in.shape
        assert B.shape[:2] == mask_out.shape
        expected = scaling * mask_out[:, :, None] * (B @ A) * mask_in[:, None]
        with layer._activate_lora([]):
            found = layer.get_delta_weight("default")
        if found.shape != expected.shape:
            found = found.mT
        torch.testing.assert_close(found, expected)
        lhs, rhs, factor = layer.get_delta_factors("default")
        with layer._activate_lora([]):
            torch.testing.assert_close(factor * lhs @ rhs, layer.get_delta_weight("default"))
        assert not torch.equal(mask_in[0], mask_in[1])


class Experts(nn.Module):
    """Matrices of a precision in which they are kept, and others in which a pass computes."""

    def __init__(self, count, kept):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(count, 6, 8, generator=generator).to(kept))

    def forward(self, x):
        return torch.einsum("eoi,bi->beo", self.weight.to(x.dtype), x)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("kept", "autocast"),
    [(torch.float8_e4m3fn, None), (torch.float16, torch.bfloat16), (torch.float64, None)],
)
def test_masks_act_on_what_is_kept_in_another_precision(kept, autocast, count):
    """In 8 bits nothing is computed; autocast computes products in a precision of its own."""
    settings = {"r": 2, "target_modules": [], "target_parameters": ["0.weight"]}
    config = LoraDropoutConfig(**settings, dropout_rate=0.3, rescale=True)
    ours = randomize(get_peft_model(nn.Sequential(Experts(count, kept)), config)).train()
    theirs = get_peft_model(nn.Sequential(Experts(count, kept)), LoraConfig(**settings))
    ((place, masks),) = adapted_layers(ours)
    drawn = (
        torch.from_numpy(mask)
        for mask in draw_masks(masks.shape, seed=0, step=0, layer=0, rescale=True)
    )
    with torch.no_grad():
        for name, mask in zip(("lora_A", "lora_B"), drawn, strict=True):
            layer = place.removesuffix(masks.place)
            mine, other = (
                model.get_submodule(f"{layer}.{name}.default").weight for model in (ours, theirs)
            )
            # A's rows and B's columns are those of the experts in turn.
            sides = mask.unflatten(0, (count, -1)).to(mine.dtype)
            if name == "lora_A":
                other.copy_((mine.unflatten(0, (count, -1)) * sides[:, None]).flatten(0, 1))
            else:
                other.copy_((mine.unflatten(1, (-1, count)) * sides.T[:, None]).flatten(1, 2))
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        found, expected = ours(x), theirs(x)
    half = autocast is not None
    torch.testing.assert_close(found, expected, rtol=2e-2 if half else 1e-5, atol=1e-1 * half)
    found.float().sum().backward()
    assert all(bool(factor.grad.any()) for factor in masks.factors)


def test_at_rate_0_it_is_pefts_own():
    ours = made(p=0.0).train()
    theirs = randomize(get_peft_model(mixtral(), LoraConfig(**settings()))).train()
    for model in (ours, theirs):
        model(**batch(causal=True)).loss.backward()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert gradients(ours).keys() == gradients(theirs).keys() != set()
    for key, value in gradients(theirs).items():
        torch.testing.assert_close(gradients(ours)[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_at_rate_0_no_layer_is_said_to_have_taken_no_part():
    settings = {"target_modules": [], "target_parameters": ["0.weight"], "dropout_rate": 0.0}
    model = get_peft_model(nn.Sequential(Experts(1, torch.float32)), LoraDropoutConfig(**settings))
    model.train()(torch.ones(2, 8))


# PEFT's merging comes to the inner one of two parameters a second time, and says so.
@pytest.mark.filterwarnings("ignore:All adapters are already merged", "ignore:Already unmerged")
def test_parameters_that_peft_has_adapted_take_masks():
    """PEFT walks through the layers while it adds an adapter to them."""
    model = get_peft_model(mixtral(), LoraConfig(**settings()))
    model.add_adapter("dropped", LoraDropoutConfig(**settings(), dropout_rate=0.5))
    model.base_model.set_adapter(["default", "dropped"])
    expected = randomize(model).eval()(**batch(causal=True)).logits
    model.merge_adapter()
    merged = model(**batch(causal=True)).logits
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)
    assert {one.shape.p_in for _, one in adapted_layers(model)} == {0.5}


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not match")
def test_old_names_of_experts_are_refused_beside_rates_by_layer():
    """PEFT scales what it puts together by a pattern, beside which ours is none of the same names.

    It was saved, and could not be loaded.
    """
    targets = {"r": 2, "target_modules": ["q_proj", "w1", "w3"], "dropout_rate": 0.3}
    names = {name for name, _ in mixtral().named_parameters()}
    model = mixtral()
    with pytest.raises(ValueError, match=r"PEFT made it of old names of experts"):
        get_peft_model(model, LoraDropoutConfig(**targets, dropout_pattern={"q_proj": 0.6}))
    assert {name for name, _ in model.named_parameters()} == names
    fused = get_peft_model(model, LoraDropoutConfig(**targets))
    assert {one.shape.p_in for _, one in adapted_layers(fused)} == {0.3}


def test_merging_and_saving_are_the_expected_weight_network(tmp_path):
    model = made().eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(**batch(causal=True)).logits
        loaded = PeftModel.from_pretrained(mixtral(), tmp_path)(**batch(causal=True)).logits
        merged = model.merge_and_unload()(**batch(causal=True)).logits
    torch.testing.assert_close(loaded, expected)
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)


def test_merging_into_parameters_that_layers_share_changes_no_output():
    """Layers that are replicated hold the experts of the one that they are copies of."""
    model = made(layer_replication=[[0, 1], [0, 2]]).eval()
    inputs = batch(causal=True)
    with torch.no_grad():
        expected = model(**inputs).logits
        model.merge_adapter()
        merged = model(**inputs).logits
        model.unmerge_adapter()
        unmerged = model(**inputs).logits
        unloaded = model.merge_and_unload()(**inputs).logits
    for found in (merged, unmerged, unloaded):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_merging_in_training_draws_no_masks():
    expected = made().eval()(**batch(causal=True)).logits
    merged = made().train().merge_and_unload().eval()(**batch(causal=True)).logits
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)


def test_it_trains_and_its_masks_advance():
    model = made().train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    factors = [factor for _, masks in adapted_layers(model) for factor in masks.factors]
    before, values = [factor.detach().clone() for factor in factors], []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(**batch(causal=True)).loss
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert mask_schedule(model).step == 3
    assert len(set(values)) == 3
    assert len(factors) == 4 * len(TARGETS)
    assert not any(torch.equal(*pair) for pair in zip(factors, before, strict=True))


def test_groups_are_refused():
    model = made().train()
    inputs = {key: value.repeat(2, 1) for key, value in batch(causal=True).items()}
    with pytest.raises(GroupsNotSupportedError, match="bare parameter"), grouped_samples(model, 2):
        model(**inputs)

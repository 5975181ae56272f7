"""A base of 4-bit or 8-bit weights, where bitsandbytes is installed."""

import pytest
import torch
from peft import get_peft_model
from torch import nn

from lora_dropout import Ensemble, mask_schedule
from lora_dropout.injection import adapted_layers
from lora_dropout.peft.adapted_layer import HoldsMasks
from tests.lora_dropout.peft.models import CONFIGS, randomize

bitsandbytes = pytest.importorskip("bitsandbytes")
P = 0.5


def quantized(bits):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 64, generator=generator)
    if bits == 4:
        layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.float32)
        layer.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False)
    else:
        layer = bitsandbytes.nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False)
        layer.weight = bitsandbytes.nn.Int8Params(weight, requires_grad=False)
    model = nn.Sequential(layer)
    # By which transformers says what PEFT asks.
    setattr(model, f"is_loaded_in_{bits}bit", True)
    try:
        return model.to("cuda" if torch.cuda.is_available() else "cpu")
    except (RuntimeError, NotImplementedError) as reason:
        pytest.skip(f"bitsandbytes cannot quantize here: {reason}")


def adapted(bits, config, **changes):
    config = CONFIGS[config](["0"], None, p=P, **changes)
    model = randomize(get_peft_model(quantized(bits), config))
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    return model, x.to(adapted_layers(model)[0][1].mask_in.device)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_base_takes_masks(bits, config):
    model, x = adapted(bits, config)
    layer, masks = model.base_model.model[0], adapted_layers(model)[0][1]
    assert isinstance(layer, HoldsMasks)
    A, B, scaling = masks.low_rank()
    update = scaling * masks.mask_out[:, None] * (B @ A) * masks.mask_in
    torch.testing.assert_close(
        layer.train()(x), layer.base_layer(x) + x @ update.mT, rtol=1e-3, atol=1e-3
    )
    # In eval() bitsandbytes multiplies in another precision, in the frozen layer itself.
    layer.eval()
    expected = layer.base_layer(x) + (1 - P) ** 2 * scaling * x @ (B @ A).mT
    torch.testing.assert_close(layer(x), expected, rtol=1e-3, atol=1e-3)
    layer.train()(x).square().sum().backward()
    assert all(factor.grad is not None for factor in masks.factors)


@pytest.mark.parametrize("bits", [4, 8])
def test_adalora_allocates_ranks_over_a_quantized_base(bits):
    model, x = adapted(bits, "adalora")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for step in range(12):
        model.train()(x).square().mean().backward()
        optimizer.step()
        model.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    assert mask_schedule(model).step == 12
    values = adapted_layers(model)[0][1].factors[2]
    assert int((values != 0).sum()) == 3
    assert Ensemble(model, 2)(x).isfinite().all()


@pytest.mark.parametrize("config", CONFIGS)
def test_it_is_saved_and_read(config, tmp_path):
    from peft import PeftModel

    model, x = adapted(4, config)
    model.eval().save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(quantized(4), tmp_path)
    torch.testing.assert_close(loaded(x), model(x), rtol=1e-6, atol=1e-6)


def test_merging_into_a_quantized_base_under_adalora_is_refused_as_by_peft():
    model, _ = adapted(4, "adalora")
    with pytest.raises(NotImplementedError):
        model.merge_adapter()


@pytest.mark.parametrize("bits", [4, 8])
def test_dora_over_a_quantized_base_has_masks(bits):
    model, x = adapted(bits, "lora", use_dora=True)
    layer, masks = model.base_model.model[0], adapted_layers(model)[0][1]
    A, B, scaling = masks.low_rank()
    frozen = torch.eye(64, device=x.device)
    with torch.no_grad():
        weight = layer.base_layer(frozen).mT
        direction = weight + scaling * masks.mask_out[:, None] * (B @ A) * masks.mask_in
        norm = direction.norm(dim=1, keepdim=True)
        magnitude = layer.lora_magnitude_vector["default"].weight[:, None]
        expected = x @ (magnitude * direction / norm).mT
        found = layer.train()(x)
    # The frozen layer rounds activations as well in 8 bits.
    share = (found - expected).norm() / expected.norm()
    assert share < (1e-3 if bits == 4 else 2e-2)


@pytest.mark.filterwarnings("ignore:Merge lora module to 4-bit")
def test_merging_into_a_quantized_weight_that_layers_share_is_as_into_ones_of_their_own():
    """As of layers that are replicated: PEFT quantizes the sum anew, for each of them."""
    merged = []
    for shared in (True, False):
        model = nn.Sequential(quantized(4)[0], nn.Tanh(), quantized(4)[0])
        model.is_loaded_in_4bit = True
        if shared:
            model[2].weight = model[0].weight
        model = randomize(get_peft_model(model, CONFIGS["lora"](["0", "2"], None, p=P))).eval()
        model.merge_adapter()
        x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
        merged.append(model(x.to(model.base_model.model[0].lora_A["default"].weight.device)))
    assert torch.equal(*merged)

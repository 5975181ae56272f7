"""A base of 4-bit or 8-bit weights, where bitsandbytes is installed."""

import pytest
import torch
from peft import get_peft_model
from torch import nn

from lora_dropout.injection import adapted_layers
from lora_dropout.peft import LoraDropoutConfig
from lora_dropout.peft.adapters import HoldsMasks
from tests.lora_dropout.peft.models import randomize

bitsandbytes = pytest.importorskip("bitsandbytes")


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
    try:
        return model.to("cuda" if torch.cuda.is_available() else "cpu")
    except (RuntimeError, NotImplementedError) as reason:
        pytest.skip(f"bitsandbytes cannot quantize here: {reason}")


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_base_takes_masks(bits):
    model = quantized(bits)
    config = LoraDropoutConfig(r=4, target_modules=["0"], dropout_rate=0.5, lora_alpha=8)
    model = randomize(get_peft_model(model, config))
    layer, masks = model.base_model.model[0], adapted_layers(model)[0][1]
    assert isinstance(layer, HoldsMasks)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1)).to(masks.mask_in.device)
    A, B, scaling = masks.low_rank()
    update = scaling * masks.mask_out[:, None] * (B @ A) * masks.mask_in
    torch.testing.assert_close(
        layer.train()(x), layer.base_layer(x) + x @ update.mT, rtol=1e-3, atol=1e-3
    )
    # In eval() bitsandbytes multiplies in another precision, in the frozen layer itself.
    layer.eval()
    expected = layer.base_layer(x) + 0.25 * scaling * x @ (B @ A).mT
    torch.testing.assert_close(layer(x), expected, rtol=1e-3, atol=1e-3)
    layer.train()(x).square().sum().backward()
    assert all(factor.grad is not None for factor in masks.factors)

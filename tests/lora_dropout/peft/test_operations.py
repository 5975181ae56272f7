"""What our layer asks PyTorch to compute beside PEFT's: on a GPU each operation has its price."""

import copy
from collections import Counter

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lora_dropout.peft import LoraDropoutConfig

LAYERS, WIDTH = 3, 8


class Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


#: Change neither numbers nor memory, and start no kernel.
VIEWS = {"view", "t", "transpose", "unsqueeze", "_unsafe_view", "detach", "promote_types"}


def operations(config, dtype):
    """Operations of a forward and backward pass, a layer, after a step."""
    base = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))).to(dtype)
    targets = {"r": 2, "lora_alpha": 4, "target_modules": [str(i) for i in range(LAYERS)]}
    model = get_peft_model(copy.deepcopy(base), config(**targets)).train()
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    x = torch.ones(2, 3, WIDTH, dtype=dtype)
    for _ in range(2):
        optimizer.zero_grad()
        with Counting() as counting:
            model(x).float().square().mean().backward()
        optimizer.step()
    return counting.counts


def ours(**settings):
    return LoraDropoutConfig(dropout_rate=0.1, **settings)


def plain(**settings):
    return LoraConfig(lora_dropout=0.0, **settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_starts_at_most_three_kernels_more_than_plain_lora(dtype):
    """Masked factors, two, and their gradients, two; scaling costs PEFT two, and us none or one.

    What watches over the updates copies one factor a step.
    """
    extra = operations(ours, dtype)
    extra.subtract(operations(plain, dtype))
    kernels = {name: count for name, count in extra.items() if name not in VIEWS and count}
    assert sum(kernels.values()) <= 3 * LAYERS + 1, kernels
    assert extra["_to_copy"] <= 0, "a copy of other precision"
    assert sum(extra.values()) <= 6 * LAYERS + 2, extra

"""A layer of every kind that LoRA Dropout adapts in PEFT, its input, and its masks on a weight."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from peft import get_peft_model
from torch import Tensor, nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from lora_dropout.injection import adapted_layers
from lora_dropout.masks import draw_masks
from lora_dropout.peft import LoraDropoutConfig
from tests.lora_dropout.peft.models import randomize

WORDS = 5


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def words(*shape):
    return torch.randint(0, WORDS, shape, generator=torch.Generator().manual_seed(1))


class Plain(nn.Linear):
    """A subclass that adds nothing to what is computed, and writes it out as Falcon's does."""

    def forward(self, x):
        product = x @ self.weight.T
        return product if self.bias is None else product + self.bias


@dataclass
class LayerKind:
    """A layer, its input, the sides of its update, and whether it holds its weight transposed."""

    make: Callable[[], nn.Module]
    x: Tensor
    sides: tuple[int, int]
    transposed: bool = False

    def layer(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make()

    @property
    def for_peft(self):
        """What PEFT's own config has to be told."""
        return {"fan_in_fan_out": True} if isinstance(self.make(), Conv1D) else {}

    def adapted(self, config=LoraDropoutConfig, **settings):
        settings = {"r": 2, "lora_alpha": 4, "target_modules": ["0"]} | settings
        model = get_peft_model(nn.Sequential(self.layer()), config(**settings))
        return randomize(model).requires_grad_(True)

    def output(self, model, mask_in=None, mask_out=None, factor=1.0, x=None):
        """The slow, obvious twin: the layer without PEFT, its weight plus the masked update.

        Args:
            model: gives the factors, of its one adapter.
            mask_in, mask_out: masks of the update; ones if left out.
            factor: of the update.
            x: the input.
        """
        (_, masks), = adapted_layers(model)  # fmt: skip
        A, B = masks.factors
        # (d_out, r) times (r, d_in), at every place of the kernel.
        update = 4 / 2 * factor * torch.einsum("or,ri...->oi...", B.flatten(1), A)
        if mask_in is not None:
            pairs = mask_out[:, None] * mask_in
            update = update * pairs[(...,) + (None,) * (update.dim() - 2)]
        layer = self.layer()
        update = update.mT if self.transposed else update
        return functional_call(layer, {"weight": layer.weight + update}, self.x if x is None else x)


KINDS = {
    "nn.Linear": LayerKind(lambda: nn.Linear(5, 4), numbers(6, 3, 5), (5, 4)),
    "a subclass of nn.Linear": LayerKind(lambda: Plain(5, 4), numbers(6, 3, 5), (5, 4)),
    "Conv1D of transformers": LayerKind(lambda: Conv1D(4, 5), numbers(6, 3, 5), (5, 4), True),
    "nn.Conv1d": LayerKind(lambda: nn.Conv1d(5, 4, 3, padding="same"), numbers(6, 5, 7), (5, 4)),
    "nn.Conv2d": LayerKind(
        lambda: nn.Conv2d(5, 4, (3, 2), stride=2, padding=1), numbers(6, 5, 7, 6), (5, 4)
    ),
    "nn.Conv2d of size 1": LayerKind(lambda: nn.Conv2d(5, 4, 1), numbers(6, 5, 3, 2), (5, 4)),
    "nn.Embedding": LayerKind(lambda: nn.Embedding(WORDS, 4), words(6, 7), (WORDS, 4), True),
}


def drawn(model, sample=0, step=0):
    """The masks of the model's one layer, drawn anew."""
    (_, masks), = adapted_layers(model)  # fmt: skip
    pair = draw_masks(masks.shape, seed=masks.masks.seed, step=step, layer=0, sample=sample)
    return [torch.from_numpy(mask) for mask in pair]

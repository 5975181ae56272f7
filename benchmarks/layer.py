"""Time and memory of a training step of a transformer block: this layer against PEFT's LoRA.

    python -m benchmarks.layer

Every way adapts query, key, value, output and the two feed-forward layers. The ways take turns
step by step, and ratios are taken pair by pair. A second copy of PEFT without dropout is the
control that shows how large the noise is. Runs on CUDA where there is one. Extra ``bench``.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from benchmarks.loo import timed
from lora_dropout import inject

LAYERS = ["q", "k", "v", "o", "up", "down"]


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        q, k, v = (f(h).unflatten(-1, (self.heads, -1)) for f in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)))
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


def peft_model(block: nn.Module, dropout: float) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=8, lora_alpha=8, target_modules=LAYERS, lora_dropout=dropout)
    return get_peft_model(copy.deepcopy(block), config)


def train_step(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return one full training step: forward, backward, optimizer."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        if x.is_cuda:
            torch.cuda.synchronize()

    return step


def saved_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes that one forward pass keeps for its backward pass, parameters not counted."""
    held: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(x)
    del output
    return sum(held.values())


def main(
    width: int = 768, heads: int = 12, batch: int = 4, tokens: int = 128, repetitions: int = 40
) -> None:
    """Print time and memory as ratios to PEFT LoRA without dropout.

    Args:
        width: of the block.
        heads: attention heads.
        batch: sequences a step.
        tokens: a sequence.
        repetitions: interleaved steps of every way.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    block, x = Block(width, heads).to(device), torch.randn(batch, tokens, width, device=device)
    models = {
        "PEFT, lora_dropout=0": peft_model(block, 0.0),
        "the same again (control)": peft_model(block, 0.0),
        "PEFT, lora_dropout=0.1": peft_model(block, 0.1),
        "LoRA Dropout, p=0.1": inject(copy.deepcopy(block), rank=8, p=0.1, target=LAYERS),
    }
    steps = {name: train_step(model, x) for name, model in models.items()}
    for step in steps.values():
        step()
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repetitions):
        for name, step in steps.items():
            times[name].append(timed(step))
    first = "PEFT, lora_dropout=0"
    memory = {name: saved_bytes(model, x) for name, model in models.items()}
    print(f"torch {torch.__version__}, {device}, block of width {width}, {batch} x {tokens} tokens")
    print(f"{'way':28s} {'median ms':>10s} {'time ratio':>22s} {'kept MiB':>10s} {'ratio':>7s}")
    for name in steps:
        ratios = np.array(times[name]) / np.array(times[first])
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(
            f"{name:28s} {1e3 * np.median(times[name]):10.1f} {middle:8.3f} [{low:.3f}, {high:.3f}]"
            f" {memory[name] / 2**20:10.1f} {memory[name] / memory[first]:7.2f}"
        )


if __name__ == "__main__":
    tyro.cli(main)

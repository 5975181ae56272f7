"""Time and memory of a training step of a transformer block: this layer against PEFT's LoRA.

    python -m benchmarks.layer

Every variant adapts query, key, value, output and the two feed-forward layers. The variants take
turns step by step, and ratios are taken pair by pair. A second copy of PEFT without dropout is the
control that shows how large the noise is. Runs on CUDA where there is one. Extra ``bench``.
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lora_dropout import inject
from probes.cli.command_line import run_functions
from probes.cost import LAYERS, Block, peak_bytes, timed
from probes.jobs.validation import check_count


def make_block(width: int, heads: int, batch: int, tokens: int) -> tuple[Block, Tensor]:
    """Return the frozen block and its input, on the GPU where there is one.

    Args:
        width: of the block.
        heads: attention heads.
        batch: sequences.
        tokens: a sequence.

    Returns:
        The block, and its input (batch, tokens, width).
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    return Block(width, heads).to(device), torch.randn(batch, tokens, width, device=device)


def peft_model(block: nn.Module, dropout: float) -> nn.Module:
    """Adapt the block with PEFT's LoRA, in place.

    Args:
        block: that is adapted.
        dropout: PEFT's ``lora_dropout``.

    Returns:
        PEFT's model around the block.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=8, lora_alpha=8, target_modules=list(LAYERS), lora_dropout=dropout)
    return get_peft_model(block, config)


BASE = "PEFT, lora_dropout=0"
ADAPTED: dict[str, Callable[[nn.Module], nn.Module]] = {
    BASE: lambda block: peft_model(block, 0.0),
    "the same again (control)": lambda block: peft_model(block, 0.0),
    "PEFT, lora_dropout=0.1": lambda block: peft_model(block, 0.1),
    "LoRA Dropout, p=0.1": lambda block: inject(block, rank=8, p=0.1, target=LAYERS),
}


def train_step(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return one full training step: forward, backward, optimizer.

    Args:
        model: that is trained.
        x: its input, (batch, tokens, width).

    Returns:
        A function that takes a step.
    """
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return step


@dataclass(frozen=True)
class Steps:
    """Time and memory of steps that took turns.

    Attributes:
        seconds: of every variant, (repetitions,).
        bytes: largest memory that a step holds beyond what was held before it.
    """

    seconds: dict[str, NDArray[np.float64]]
    bytes: dict[str, int]

    def table(self) -> pd.DataFrame:
        """One row a variant: medians, and ratios to the first with quartiles, pair by pair."""
        base = next(iter(self.seconds))
        ratios = {name: found / self.seconds[base] for name, found in self.seconds.items()}
        quartiles = np.array([np.quantile(ratio, [0.25, 0.5, 0.75]) for ratio in ratios.values()])
        return pd.DataFrame(
            {
                "variant": list(self.seconds),
                "median ms": [1e3 * np.median(found) for found in self.seconds.values()],
                "time ratio": quartiles[:, 1],
                "lower quartile": quartiles[:, 0],
                "upper quartile": quartiles[:, 2],
                "peak MiB": [self.bytes[name] / 2**20 for name in self.seconds],
                "memory ratio": [self.bytes[name] / self.bytes[base] for name in self.seconds],
            }
        )


def take_turns(steps: dict[str, Callable[[], None]], device: str, repetitions: int) -> Steps:
    """Time the steps, one after the other in every repetition, after two that are not timed.

    Args:
        steps: by the name of the variant; the first one is what the others are compared with.
        device: that they run on.
        repetitions: of all variants.

    Returns:
        Time and memory of the variants that fit into the memory of a GPU; the others are named.
    """
    check_count("repetitions", repetitions)
    steps = {variant: step for variant, step in steps.items() if _fits(variant, step)}
    times: dict[str, list[float]] = {variant: [] for variant in steps}
    for _ in range(repetitions):
        for variant, step in steps.items():
            times[variant].append(timed(step, device))
    return Steps(
        {variant: np.array(found) for variant, found in times.items()},
        {variant: peak_bytes(step, device) for variant, step in steps.items()},
    )


def _fits(variant: str, step: Callable[[], None]) -> bool:
    """Take two steps, in the first of which libraries set themselves up; say if they do not fit."""
    with suppress(torch.OutOfMemoryError):
        step()
        step()
        return True
    print(f"{variant}: left out, as it does not fit into the memory of the device")
    # After the error is gone, and with it what its traceback held.
    torch.cuda.empty_cache()
    return False


def compare(steps: dict[str, Callable[[], None]], device: str, repetitions: int) -> pd.DataFrame:
    """Print and return time and memory of steps as ratios to the first: see :meth:`Steps.table`.

    Args:
        steps: by the name of the variant.
        device: that they run on.
        repetitions: interleaved steps of every variant.

    Returns:
        The table.
    """
    table = take_turns(steps, device, repetitions).table()
    print(table.to_string(index=False, float_format="{:.3f}".format))
    return table


def main(
    width: int = 768, heads: int = 12, batch: int = 4, tokens: int = 128, repetitions: int = 40
) -> None:
    """Print time and memory as ratios to PEFT LoRA without dropout.

    Args:
        width: of the block.
        heads: attention heads.
        batch: sequences a step.
        tokens: a sequence.
        repetitions: interleaved steps of every variant.
    """
    block, x = make_block(width, heads, batch, tokens)
    steps = {
        name: train_step(variant(copy.deepcopy(block)), x) for name, variant in ADAPTED.items()
    }
    print(f"torch {torch.__version__}, {x.device}, width {width}, {batch} x {tokens} tokens")
    compare(steps, str(x.device), repetitions)


if __name__ == "__main__":
    run_functions(main)

"""Time of a step's masks of a large model: drawn on the host and copied, and drawn on the GPU.

    python -m benchmarks.masks --model llama

The variants take turns. What counts is for how long the host is busy, which could launch the next
step meanwhile; a second column waits for the GPU. On the CPU the host's alone is timed.
"""

import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.model_shapes import WHOLE
from lora_dropout.device_draw import DrawingTable, draws, side_by_side
from lora_dropout.mask_memory import FIRST
from lora_dropout.masks import LayerShape, smallest_step_masks
from probes.cli.command_line import run_functions
from probes.jobs.validation import check_count, check_device

#: Rate of both sides.
RATE = 0.1


def shapes_of(model: str) -> list[LayerShape]:
    """Return what the masks of a model's linear layers depend on.

    Args:
        model: "deberta" or "llama", whole.

    Returns:
        One entry a layer, block after block.
    """
    width, layers, inner, _ = vars(WHOLE[model]).values()
    ends = {"deberta": [(inner, width)], "llama": [(width, inner), (inner, width)]}[model]
    block = [(width, width)] * 4 + [(width, inner), *ends]
    return [LayerShape(*sides, RATE, RATE) for _ in range(layers) for sides in block]


def variants_of(
    shapes: list[LayerShape], device: torch.device
) -> dict[str, Callable[[int], Tensor]]:
    """Return what draws the masks of a step, by the place that draws.

    Args:
        shapes: of the layers.
        device: that uses the masks.

    Returns:
        Functions of the step; the GPU's own is left out where it draws none.
    """
    layers = [(number, shape, False) for number, shape in enumerate(shapes)]

    def by_host(step: int) -> Tensor:
        drawn, _ = smallest_step_masks(layers, seed=0, step=step, samples=FIRST)
        if device.type == "cuda":
            drawn = drawn.pin_memory()
        return drawn.to(device, non_blocking=True).float()

    if not draws(device):
        return {"the host": by_host}
    rows, width = side_by_side(layers, seed=0)
    table = DrawingTable(rows, device, torch.float32)
    memory = torch.empty(1, width, device=device)

    def by_device(step: int) -> Tensor:
        table.draw(memory, range(step, step + 1), FIRST)
        return memory

    return {"the host": by_host, "the GPU": by_device}


def main(
    model: Literal["deberta", "llama"] = "llama", repetitions: int = 30, device: str = "cuda"
) -> None:
    """Time the masks of a step.

    Args:
        model: DeBERTa-v3-base or LLaMA-7B; all linear layers of its blocks are adapted.
        repetitions: steps of every variant, in turns.
        device: that uses the masks.
    """
    check_device(device)
    check_count("repetitions", repetitions)
    shapes = shapes_of(model)
    variants = variants_of(shapes, torch.device(device))
    alike = {name: draw(7) for name, draw in variants.items()}
    assert all(torch.equal(masks, alike["the host"]) for masks in alike.values())
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for step in range(repetitions):
        for name, draw in variants.items():
            _wait(device)
            start = time.perf_counter()
            draw(step)
            busy = time.perf_counter() - start
            _wait(device)
            seconds[name].append((busy, time.perf_counter() - start))
    medians = {name: 1e3 * np.median(found, axis=0) for name, found in seconds.items()}
    entries = sum(shape.d_in + shape.d_out for shape in shapes)
    print(f"{model}: {len(shapes)} layers, {entries:,} entries a step, {device}; milliseconds")
    print(pd.DataFrame(medians, ["host busy", "until drawn"]).T.round(3).to_string())


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    run_functions(main)

"""Leave-one-out retraining on a GPU: in one launch or by steps, which are graphs, and on the CPU.

The cells of ``benchmarks.loo`` and, with the extra ``text``, of ``benchmarks.loo_text``. The
variants take turns; ratios are to this project as it is. Needs a CUDA device.

    python -m benchmarks.captured_step --n 64 256 --steps 100 300
"""

from dataclasses import replace
from itertools import product
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks import loo, loo_text
from benchmarks.interleaved_timing import Variant, compare
from probes.cli.command_line import run_functions

AnyCell = TypeVar("AnyCell", loo.Cell, loo_text.Cell)
OURS = "this project"


def placed_on(cell: AnyCell, device: str) -> AnyCell:
    """Return the same cell on another device.

    Args:
        cell: on the CPU.
        device: where it is put.

    Returns:
        The cell, in float32.
    """
    like = torch.empty((), dtype=torch.float32, device=device)
    changes: dict[str, Any] = {
        "network": cell.network.place(like),
        "inputs": cell.inputs.place(like),
        "start": [(A.to(like), B.to(like)) for A, B in cell.start],
    }
    return cell._replace(**changes) if isinstance(cell, tuple) else replace(cell, **changes)


def variants_of(cell: loo.Cell | loo_text.Cell, device: str) -> list[Variant]:
    """The same cell by every variant; the losses that are compared are read by the host.

    Args:
        cell: what is trained, on the CPU.
        device: on which it is trained, too.

    Returns:
        This project as it is, its steps as a CUDA graph, as single launches, and the CPU.
    """
    placed = placed_on(cell, device)

    def by_steps() -> Tensor:
        with patch("probes.training.retrain.can_be_fused", lambda *plan: False):
            return _run(placed)

    def launched() -> Tensor:
        with patch("probes.training.retrain.captured", lambda step, masks, state: step):
            return by_steps()

    count = len(cell.weights)
    return [
        Variant(OURS, lambda: _run(placed), count),
        Variant("a CUDA graph a step", by_steps, count),
        Variant("launch by launch", launched, count),
        Variant("on the CPU, one process", lambda: _run(cell), count),
    ]


def _run(cell: loo.Cell | loo_text.Cell) -> Tensor:
    losses = loo.run_ours(cell) if isinstance(cell, loo.Cell) else loo_text.run_ours(cell)
    return losses.cpu()


def main(
    n: tuple[int, ...] = (64, 256),
    steps: tuple[int, ...] = (100, 300),
    repetitions: int = 5,
    tweets: bool = True,
) -> None:
    """Print the table.

    Args:
        n: sizes of the training set, of digits.
        steps: optimizer steps, of digits.
        repetitions: interleaved repetitions; medians are shown.
        tweets: also the transformer, at n = 32 and 60 steps.

    Raises:
        ValueError: there is no CUDA device, or a number is out of range.
    """
    loo.check_settings(n, steps, repetitions)
    if not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here")
    name = torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {name}, {torch.get_num_threads()} threads, float32")
    for size, count in product(n, steps):
        cell = loo.make_cell(size, count, torch.float32)
        print(f"\ndigits, n = {size}, {count} steps, {cell.replicas} replicas")
        compare(variants_of(cell, "cuda"), repetitions, [OURS])
    if tweets:
        print("\ntweets, n = 32, 60 steps, 33 replicas")
        compare(variants_of(loo_text.make_cell(32, 60), "cuda"), repetitions, [OURS])


if __name__ == "__main__":
    run_functions(main)

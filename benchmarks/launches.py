"""Training in one launch, with the launch made otherwise, beside JAX; digits, float32.

A part of ``on_gpu.sh``: which settings of ``probes.training.fused_training.Launch`` are the fastest
on a card. The masks are drawn before, as JAX gets them, so that the kernel alone is timed.

    python -m benchmarks.launches --json out/launches.json
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.captured_step import placed_on
from benchmarks.interleaved_timing import Variant, take_turns
from benchmarks.jax_peer import peer_variant
from benchmarks.loo import (
    LR,
    SWEEP_CELLS,
    Cell,
    P,
    check_settings,
    make_cell,
    prepare_jax,
    run_together,
)
from benchmarks.table_file import check_place, keep_rows
from probes.cli.command_line import run_functions
from probes.jobs.validation import check_device
from probes.training import fused_training
from probes.training.fused_training import Launch
from probes.training.mask_draws import stacked_masks
from probes.training.plan import Dropout, Training
from probes.training.retrain import retrain

#: No training set is as large.
ALL = 1_000_000
AS_IT_IS = "as it is"
LAUNCHES = {
    AS_IT_IS: fused_training.LAUNCH,
    "CUDA cores": Launch(most_in_float32=ALL),
    "CUDA cores, 168 registers": Launch(most_in_float32=ALL, registers=168),
    "tensor cores": Launch(most_in_float32=0),
    "tensor cores, 168 registers": Launch(most_in_float32=0, registers=168),
    "tensor cores, 128 registers": Launch(most_in_float32=0, registers=128),
    "tensor cores, 16 examples": Launch(most_in_float32=0, examples=16),
    "tensor cores, 64 examples": Launch(most_in_float32=0, examples=64),
    "tensor cores, 2 warps": Launch(most_in_float32=0, warps=2),
    "tensor cores, 8 warps": Launch(most_in_float32=0, warps=8),
}
#: Steps after which factors are compared with float64's: later, rounding has grown.
STEPS_COMPARED = 20
#: Examples of all replicas that are trained at once, beside those of a single cell, at most.
MOST_EXAMPLES = SWEEP_CELLS * 65 * 64


def main(
    json: Path,
    n: tuple[int, ...] = (64, 256, 1024),
    steps: int = 300,
    repetitions: int = 3,
    device: str = "cuda",
) -> None:
    """Time every launch and JAX, and compare what they trained with float64.

    Args:
        json: file for the table.
        n: sizes of the training set.
        steps: optimizer steps.
        repetitions: interleaved repetitions; medians are shown.
        device: where it trains.
    """
    check_settings(n, [steps], repetitions)
    check_device(device)
    check_place(json)
    rows: list[dict[str, object]] = []
    for size in n:
        cell = make_cell(size, steps, torch.float32)
        errors = errors_of(size, device)
        for cells in sorted({1, cells_together(cell)}):
            seconds = _seconds(cell, cells, repetitions, device)
            table = [
                {
                    "n": size, "cells": cells, "variant": name,
                    "microseconds a step": 1e6 * float(np.median(found)),
                    "ratio": float(np.median(found / seconds[AS_IT_IS])), **errors.get(name, {}),
                }
                for name, found in seconds.items()
            ]  # fmt: skip
            print(pd.DataFrame(table).to_string(index=False), flush=True)
            # What is known by then is kept where there is no time for the next.
            rows += table
            keep_rows(json, rows)


def cells_together(cell: Cell) -> int:
    """How many cells are trained at once.

    Args:
        cell: one of them.

    Returns:
        As many as a default sweep of n = 64 has; fewer of larger cells.
    """
    return min(SWEEP_CELLS, max(1, MOST_EXAMPLES // cell.weights.numel()))


def runs_of(placed: Cell, cells: int = 1) -> dict[str, Callable[[], Tensor]]:
    """Return what trains some cells by every launch and returns the first one's losses on S.

    Args:
        placed: one of the cells, where it is trained.
        cells: that differ in their masks and are trained together.

    Returns:
        Functions, by the name of the launch.
    """
    plans = [(Training(placed.steps, LR, seed=seed), Dropout(P)) for seed in range(cells)]
    masks = stacked_masks(placed.network, plans)

    def run(launch: Launch) -> Tensor:
        with (
            patch.object(fused_training, "LAUNCH", launch),
            patch("probes.training.retrain.stacked_masks", lambda *of_plans: masks),
        ):
            return run_together(placed, cells).cpu()

    return {name: partial(run, launch) for name, launch in LAUNCHES.items()}


def errors_of(n: int, device: str) -> dict[str, dict[str, float]]:
    """How far factors are from float64's after a few steps.

    Args:
        n: size of the training set.
        device: where they are trained.

    Returns:
        The median and the largest difference of an entry, by the name of the launch.
    """
    plan, objective = Training(STEPS_COMPARED, LR), Dropout(P)

    def factors_of(cell: Cell) -> Tensor:
        given = cell.network, cell.inputs, cell.weights, cell.start
        trained = retrain(*given, plan, objective)
        return torch.cat([factor.flatten().double().cpu() for pair in trained for factor in pair])

    exact = factors_of(make_cell(n, STEPS_COMPARED, torch.float64))
    placed = placed_on(make_cell(n, STEPS_COMPARED, torch.float32), device)
    found = {}
    for name, launch in LAUNCHES.items():
        with patch.object(fused_training, "LAUNCH", launch):
            off = (factors_of(placed) - exact).abs()
        found[name] = {"median error": float(off.median()), "largest error": float(off.max())}
    return found


def _seconds(cell: Cell, cells: int, repetitions: int, device: str) -> dict[str, np.ndarray]:
    """Seconds a step of all replicas, by variant, (repetitions,)."""
    runs = runs_of(placed_on(cell, device), cells)
    variants = [Variant(name, run, cell.steps) for name, run in runs.items()]
    variants += peer_variant("JAX", partial(prepare_jax, cell, device, cells), cell.steps)
    return take_turns(variants, repetitions)[1]


if __name__ == "__main__":
    run_functions(main)

"""Time and memory of leave-one-out retraining against n, width, replicas and cells.

    python -m benchmarks.scaling --out scaling.png

Each size runs in a process of its own with one thread, as a worker does, so that its peak memory
is its own. Exponents are slopes of least squares in the logarithms, over the larger half of the
sizes, where fixed costs no longer count. Digits' images; wider networks are random ones of the same
depth. Where there is no ``/proc`` (macOS), memory is left out.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import tyro

from figures.style import MARKERS, Drawing, curve_colours, style
from probes.cli.command_line import run_functions
from probes.models.feedforward import FeedForward, random_network_weights
from probes.models.losses import cross_entropy
from probes.tasks import load_task
from probes.training.example_weights import bootstrap, full_sample, leave_one_out
from probes.training.plan import Dropout, Training
from probes.training.retrain import retrain

#: What is varied, with its sizes; the others stay at n = 64, width 64, its n + 1 replicas, 1 cell.
SIZES = {
    "n": (32, 64, 128, 256, 512, 1024),
    "width": (32, 64, 128, 256, 512, 1024),
    "replicas": (64, 128, 256, 512, 1024, 2048, 4096),
    "cells": (1, 2, 4, 8, 16, 32),
}
STEPS = 100


@dataclass(frozen=True)
class One:
    """A measurement: sizes of everything that is varied."""

    n: int = 64
    width: int = 64
    replicas: int | None = None
    cells: int = 1


def measure(one: One) -> dict[str, float]:
    """Train the cells one after the other; return seconds and, on Linux, peak memory in MiB."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    task = load_task("digits")
    layers = list(random_network_weights((64, one.width, 10), generator))
    network = FeedForward(
        [weight.float() for weight, _ in layers], [bias.float() for _, bias in layers],
        rank=8, alpha=8.0, loss=cross_entropy,
    )  # fmt: skip
    inputs = network.read(task.features[: one.n], task.targets[: one.n])
    weights = torch.cat([full_sample(one.n), leave_one_out(one.n)])
    if one.replicas is not None:
        weights = bootstrap(one.n, one.replicas, generator)
    start = network.initial_factors(generator)

    def train(steps: int) -> None:
        retrain(network, inputs, weights, start, Training(steps, 1e-3), Dropout(0.1))

    train(2)
    begin = time.perf_counter()
    for _ in range(one.cells):
        train(STEPS)
    return {"seconds": time.perf_counter() - begin, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """Largest memory of this process so far; NaN where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def exponent(sizes: pd.Series, values: pd.Series) -> float:
    """Slope of the values' logarithm over the larger half of the sizes.

    Args:
        sizes: in rising order.
        values: at these sizes, positive.

    Returns:
        The exponent of a power law.
    """
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])


def draw(table: pd.DataFrame) -> Drawing:
    """Draw time and memory against every size, with the exponents."""
    with style():
        figure = Drawing(figsize=(14, 3.8))
        for axes, (what, rows) in zip(
            figure.subplots(1, len(SIZES)), table.groupby("what", sort=False), strict=True
        ):
            colours = curve_colours(2)
            axes.loglog(rows["size"], rows["seconds"], MARKERS[0] + "-", color=colours[0])
            axes.set(
                xlabel=str(what), ylabel="seconds" if what == "n" else "",
                title=f"time ~ {what}^{exponent(rows['size'], rows['seconds']):.2f}",
            )  # fmt: skip
            beside = axes.twinx()
            beside.semilogx(rows["size"], rows["peak_mib"], MARKERS[1] + "--", color=colours[1])
            beside.set_ylabel("peak MiB (dashed)" if what == "cells" else "")
            beside.grid(False)
            beside.set_ylim(0, 1.5 * rows["peak_mib"].max())
            axes.set_xticks(rows["size"], [str(size) for size in rows["size"]], fontsize=7)
            axes.minorticks_off()
        figure.suptitle(
            f"digits, 64-width-10 network, rank 8, objective dropout, N = 1, {STEPS} steps, "
            "float32, one thread; otherwise n = 64, width 64, n + 1 replicas, 1 cell",
            fontsize="small",
        )
    return figure


def main(
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None, one: str | None = None
) -> None:
    """Print the table.

    Args:
        out: where the figure is written.
        one: JSON of a single measurement, which is then all that is done.
    """
    if one is not None:
        print(json.dumps(measure(One(**json.loads(one)))))
        return
    records = []
    for what, sizes in SIZES.items():
        for size in sizes:
            command = [
                sys.executable,
                "-m",
                "benchmarks.scaling",
                "--one",
                json.dumps({what: size}),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            records.append({"what": what, "size": size} | json.loads(done.stdout))
            print(f"{what:9s} {size:5d}: {records[-1]['seconds']:8.3f} s "
                  f"{records[-1]['peak_mib']:8.0f} MiB", flush=True)  # fmt: skip
    table = pd.DataFrame(records)
    for what, rows in table.groupby("what", sort=False):
        print(f"time ~ {what}^{exponent(rows['size'], rows['seconds']):.2f}")
    if out is not None:
        draw(table).savefig(out)


if __name__ == "__main__":
    run_functions(main)

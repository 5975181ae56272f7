"""Parts of ``on_gpu.sh`` that compare a GPU with the CPU of the same machine, and its summary.

python -m benchmarks.on_gpu retraining --json out/retraining.json
python -m benchmarks.on_gpu rows --json out/rows.json
python -m benchmarks.on_gpu summary out
"""

import json as json_format
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.captured_step import CAPTURED, variants_of
from benchmarks.interleaved_timing import Variant, lines_of, take_turns
from benchmarks.loo import make_cell, prepare_jax
from probes.cli.command_line import run_functions
from probes.jobs.validation import check_count, check_device, require
from probes.stability import measure
from probes.tasks import TASKS

JAX_HERE, JAX_ON_CPU = "JAX, the same device", "JAX, on the CPU"


def retraining(
    json: Path,
    n: tuple[int, ...] = (64, 256, 1024),
    steps: int = 100,
    repetitions: int = 3,
    largest_on_cpu: int = 256,
    device: str = "cuda",
) -> None:
    """Time leave-one-out retraining of digits there, in JAX there, and on the CPU.

    Args:
        json: file for the table.
        n: sizes of the training set.
        steps: optimizer steps.
        repetitions: interleaved repetitions; medians are shown.
        largest_on_cpu: above this n the CPU is left out.
        device: that is compared with the CPU.
    """
    for size in n:
        require(2 <= size <= len(TASKS["digits"]()), "n", "from 2 to all examples of digits", size)
    check_count("steps", steps)
    check_count("repetitions", repetitions)
    _check(json, device)
    rows = []
    for size in n:
        cell = make_cell(size, steps, torch.float32)
        variants = [*variants_of(cell, device)]
        if find_spec("jax"):
            variants += [Variant(JAX_HERE, prepare_jax(cell), cell.replicas)]
            with _jax_on_cpu():
                variants += [Variant(JAX_ON_CPU, prepare_jax(cell), cell.replicas)]
        if size > largest_on_cpu:
            variants = [variant for variant in variants if "CPU" not in variant.name]
        print(f"\ndigits, n = {size}, {steps} steps, {cell.replicas} replicas, {device}")
        results, each = take_turns(variants, repetitions)
        print("\n".join(f"  {line}" for line in lines_of(each, results, [CAPTURED])))
        rows += [
            {
                "n": size, "steps": steps, "variant": name,
                "ms a replica": 1e3 * float(np.median(seconds)),
                "ratio": float(np.median(seconds / each[CAPTURED])),
            }
            for name, seconds in each.items()
        ]  # fmt: skip
    _write(json, rows)


def rows(json: Path, task: tuple[str, ...] = ("digits", "tweets"), device: str = "cuda") -> None:
    """Measure stability on a device and on the CPU, and compare the rows.

    Args:
        json: file for the table.
        task: what is learned.
        device: that is compared with the CPU.
    """
    _check(json, device)
    found = []
    for name in task:
        settings = {"task": name, "p": (0.0, 0.1, 0.3), "n": 32, "draws": 1, "steps": 30}
        tables, seconds = [], []
        for place in ("cpu", device):
            start = time.perf_counter()
            tables.append(measure(**settings, device=place).table)
            seconds.append(time.perf_counter() - start)
        numbers = [table.select_dtypes("number") for table in tables]
        for column in numbers[0]:
            here, there = (table[column].to_numpy(float) for table in numbers)
            found.append(
                {
                    "task": name, "column": column,
                    "largest difference": float(np.nanmax(np.abs(here - there), initial=0)),
                    "largest value": float(np.nanmax(np.abs(here), initial=0)),
                    "seconds on the CPU": seconds[0], "seconds on the device": seconds[1],
                }
            )  # fmt: skip
        # What is known of one task is kept where there is no time for the next.
        _write(json, found)
    print(pd.DataFrame(found).to_string(index=False))


def summary(out: Path) -> None:
    """Say what every part came to, and gather their tables in one file.

    Args:
        out: folder of the parts.
    """
    require((out / "parts.tsv").is_file(), "out", "a folder of on_gpu.sh", out)
    parts = pd.read_csv(out / "parts.tsv", sep="\t", names=["part", "status", "seconds"])
    parts["result"] = parts["status"].map(_said)
    print(parts.to_string(index=False))
    tables = {file.stem: json_format.loads(file.read_text()) for file in sorted(out.glob("*.json"))}
    tables.pop("summary", None)
    gathered = {"parts": parts.to_dict("records"), **tables}
    (out / "summary.json").write_text(json_format.dumps(gathered, indent=1))
    for name, table in tables.items():
        print(f"\n{name}\n{pd.DataFrame(table).to_string(index=False)}")


def _said(status: int) -> str:
    return {0: "done", 124: "out of time", 137: "out of time"}.get(status, "failed")


@contextmanager
def _jax_on_cpu() -> Iterator[None]:
    import jax

    with jax.default_device(jax.devices("cpu")[0]):
        yield


def _check(json: Path, device: str) -> None:
    """Refuse, before anything is measured, what would end in nothing."""
    check_device(device)
    require(json.parent.is_dir(), "json", "a file in a folder that is there", json)


def _write(path: Path, found: list[dict[str, Any]]) -> None:
    path.write_text(json_format.dumps(found, indent=1))


if __name__ == "__main__":
    run_functions(retraining, rows, summary)

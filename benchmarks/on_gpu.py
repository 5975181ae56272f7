"""Parts of ``on_gpu.sh`` that compare a GPU with the CPU of the same machine, and its summary.

python -m benchmarks.on_gpu imports
python -m benchmarks.on_gpu retraining --json out/retraining.json
python -m benchmarks.on_gpu rows --json out/rows.json
python -m benchmarks.on_gpu sweep --json out/sweep.json
python -m benchmarks.on_gpu summary --out out
"""

import json as json_format
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.captured_step import OURS, placed_on, variants_of
from benchmarks.interleaved_timing import Variant, lines_of, take_turns
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
from probes.cells.cell import Cell as StabilityCell
from probes.cells.leave_one_out import (
    TrainedPart,
    joined,
    replica_blocks_of,
    train_cells,
    train_part,
)
from probes.cells.prepare import Prepared, prepare_all
from probes.cells.run_cell import CellRun, rows_of
from probes.cli.command_line import run_functions
from probes.cli.stability_settings import StabilitySettings
from probes.jobs.validation import check_count, check_device, require
from probes.stability import measure
from probes.training.blocks import cells_per_block
from probes.training.plan import Dropout, Training

JAX_HERE, JAX_ON_CPU = "JAX, the same device", "JAX, on the CPU"
#: The rates of a sweep.
RATES = (0.0, 0.1, 0.3, 0.5, 0.7)
#: What the parts import and takes long.
LIBRARIES = (
    "scipy.stats", "sklearn.datasets", "matplotlib.pyplot", "seaborn", "torchmetrics", "pytest",
    "hypothesis", "xdist", "transformers.models.bert.modeling_bert",
    "transformers.models.deberta_v2.modeling_deberta_v2",
    "transformers.models.llama.modeling_llama", "transformers.trainer", "peft", "jax.numpy",
)  # fmt: skip
#: Rows of a table, and last lines of a part that is not done, that the summary shows.
FIRST_ROWS, LAST_LINES = 15, 15


def imports(device: str = "cuda") -> None:
    """Import what the parts need, so that a fresh machine has read it, and use the device once.

    Args:
        device: that is used.
    """
    for name in LIBRARIES:
        start = time.perf_counter()
        package = name.partition(".")[0]
        try:
            version = getattr(import_module(package), "__version__", "")
            import_module(name)
        except ImportError as error:
            print(f"{name}: {error}")
            continue
        print(f"{name} {version}: {time.perf_counter() - start:.1f} s")
    check_device(device)
    start = time.perf_counter()
    ones = torch.ones(512, 512, device=device)
    total = float((ones @ ones).sum())
    print(f"torch {torch.__version__}, {device}: {total:g}, {time.perf_counter() - start:.1f} s")


def retraining(
    json: Path,
    n: tuple[int, ...] = (64, 256, 1024),
    steps: int = 300,
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
    check_settings(n, [steps], repetitions)
    _check(json, device)
    rows = []
    for size in n:
        cell = make_cell(size, steps, torch.float32)
        variants = [
            *variants_of(cell, device),
            *_together_variants(cell, device),
            *peer_variant(JAX_HERE, partial(prepare_jax, cell, device), cell.replicas),
        ]
        if size > largest_on_cpu:
            variants = [variant for variant in variants if "CPU" not in variant.name]
        else:
            on_cpu = partial(prepare_jax, cell)
            variants += peer_variant(JAX_ON_CPU, on_cpu, cell.replicas, platform="cpu")
        print(f"\ndigits, n = {size}, {steps} steps, {cell.replicas} replicas, {device}")
        results, each = take_turns(variants, repetitions)
        print("\n".join(f"  {line}" for line in lines_of(each, results, [OURS])))
        rows += [
            {
                "n": size, "steps": steps, "variant": name,
                "ms a replica": 1e3 * float(np.median(seconds)),
                "ratio": float(np.median(seconds / each[OURS])),
            }
            for name, seconds in each.items()
        ]  # fmt: skip
        # What is known of one size is kept where there is no time for the next.
        keep_rows(json, rows)


def rows(json: Path, task: tuple[str, ...] = ("digits", "tweets"), device: str = "cuda") -> None:
    """Measure stability on a device and on the CPU, and compare the rows.

    Args:
        json: file for the table, the column that differs most first.
        task: what is learned.
        device: that is compared with the CPU.
    """
    _check(json, device)
    found = []
    for name in task:
        # All replicas read all other texts, which takes a CPU a while.
        sizes = {"p": (0.1,), "n": 16} if name == "tweets" else {"p": (0.0, 0.1, 0.3), "n": 32}
        settings: dict[str, Any] = {"task": name, "draws": 1, "steps": 30, **sizes}
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
        found.sort(key=_relative_difference, reverse=True)
        # What is known of one task is kept where there is no time for the next.
        keep_rows(json, found)
    print(pd.DataFrame(found).to_string(index=False))


def sweep(
    json: Path,
    n: int = 64,
    draws: int = 16,
    steps: int | None = None,
    workers: int = 1,
    device: str = "cuda",
) -> None:
    """Time a sweep over five rates: its parts, and all of it by ``probes.stability``.

    Args:
        json: file for the table.
        n: size of the training set.
        draws: of S.
        steps: optimizer steps; None for the task's.
        workers: processes of all of it.
        device: where it trains.
    """
    _check(json, device)
    check_count("workers", workers)
    settings: dict[str, Any] = {"p": RATES, "n": n, "draws": draws, "steps": steps}
    cells = StabilitySettings(**settings, device=device).cells()
    groups = CellRun().groups(cells, 1)
    print(
        f"{len(cells)} cells in {len(groups)} blocks, {device}, {torch.get_num_threads()} threads"
    )
    found: list[dict[str, Any]] = []

    def note(part: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        found.append({"part": part, "device": device, "seconds": time.perf_counter() - start})
        print(f"{part}: {found[-1]['seconds']:.3f} s")
        keep_rows(json, found)
        return result

    def prepare_groups() -> list[list[Prepared]]:
        return [prepare_all(group) for group in groups]

    def train_all() -> list[list[TrainedPart]]:
        return [_trained(*of_group) for of_group in zip(groups, ready, strict=True)]

    def measure_all() -> None:
        for group, group_ready, parts in zip(groups, ready, trained, strict=True):
            whole = [joined(one, [part]) for one, part in zip(group_ready, parts, strict=True)]
            list(rows_of(group, whole))

    # The first time a device loads what it needs.
    for again in ("", ", again"):
        ready = note(f"prepare{again}", prepare_groups)
        trained = note(f"train{again}", train_all)
        note(f"measure{again}", measure_all)
    note("all of it", lambda: measure(**settings, device=device, workers=workers))


def summary(out: Path) -> None:
    """Say what every part came to, and gather their tables and texts in one file.

    Args:
        out: folder of the parts.
    """
    require((out / "parts.tsv").is_file(), "out", "a folder of on_gpu.sh", out)
    parts = pd.read_csv(out / "parts.tsv", sep="\t", names=["part", "status", "seconds"])
    parts["result"] = parts["status"].map(_said)
    print(parts.to_string(index=False))
    files = [file for file in sorted(out.glob("*.json")) if file.stem != "summary"]
    read = {file.stem: _table(file) for file in files}
    tables = {name: table for name, table in read.items() if table is not None}
    texts = {name: _text(out, name) for name in parts["part"]}
    gathered = {"parts": parts.to_dict("records"), **tables, "texts": texts}
    (out / "summary.json").write_text(json_format.dumps(gathered, indent=1))
    for name, table in tables.items():
        print(f"\n{name}\n{pd.DataFrame(table[:FIRST_ROWS]).to_string(index=False)}")
        if len(table) > FIRST_ROWS:
            print(f"{len(table) - FIRST_ROWS} more rows in {out / 'summary.json'}")
    for name in parts.loc[parts["result"] != "done", "part"]:
        print("\n".join([f"\n{name} ended with", *texts[name].splitlines()[-LAST_LINES:]]))


def _relative_difference(row: dict[str, Any]) -> float:
    return float(row["largest difference"] / max(row["largest value"], np.finfo(float).tiny))


def _text(out: Path, name: str) -> str:
    file = out / f"{name}.txt"
    return file.read_text(errors="replace") if file.is_file() else ""


def _table(file: Path) -> Any:
    """The rows of a table; None, said, where a part left something else."""
    try:
        return json_format.loads(file.read_text())
    except ValueError as error:
        print(f"{file.name} is left out: {error}")
        return None


def _said(status: int) -> str:
    return {0: "done", 124: "out of time", 137: "out of time"}.get(status, "failed")


def _trained(cells: Sequence[StabilityCell], ready: Sequence[Prepared]) -> list[TrainedPart]:
    """Train a group of cells; read their factors, so that all is done."""
    if len(cells) > 1:
        parts = train_cells(cells, ready)
    else:
        parts = [train_part(cells[0], ready[0], replica_blocks_of(cells[0], ready[0]))]
    assert parts[-1].factors[0][0].isfinite().any()
    return parts


def _together_variants(cell: Cell, device: str) -> list[Variant]:
    """As many cells as one block as fit, up to those of a default sweep, and in JAX as many."""
    placed, plan = placed_on(cell, device), Training(cell.steps, LR)
    fitting = cells_per_block(placed.network, cell.replicas, len(cell.inputs), plan, Dropout(P))
    cells = min(fitting, SWEEP_CELLS)
    if cells == 1:
        return []
    name, replicas = f"{cells} cells together", cells * cell.replicas
    return [
        Variant(name, lambda: run_together(placed, cells).cpu(), replicas),
        *peer_variant(f"{JAX_HERE}, {name}", partial(prepare_jax, cell, device, cells), replicas),
    ]


def _check(json: Path, device: str) -> None:
    """Refuse, before anything is measured, what would end in nothing."""
    check_device(device)
    check_place(json)


if __name__ == "__main__":
    run_functions(imports, retraining, rows, sweep, summary)

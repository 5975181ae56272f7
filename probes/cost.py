"""What do N mask pairs in training and N members at test time cost, relative to plain LoRA?

python -m probes.cost
python -m probes.cost --width 768 --heads 12 --tokens 128 --samples 1 2 4 8

>>> result = measure(width=8, heads=2, batch=2, tokens=4, rounds=2, samples=2, ensemble=2)
>>> result.summary["phase"].unique().tolist()
['training', 'inference']
"""

if __name__ == "__main__":
    # Importing takes seconds, in which Ctrl-C must not end in a traceback.
    import probes.cli.early_interrupt

    probes.cli.early_interrupt.be_brief()

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
import tyro
from torch import Tensor, nn
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from lora_dropout import Ensemble, backward_over_samples, grouped_samples, inject
from probes.cli.measures import MeasureCost
from probes.cli.probe import Probe
from probes.jobs.amounts import how_many
from probes.jobs.engine_options import EngineOptions
from probes.jobs.job import Progress, TableKind, Tables
from probes.jobs.manifest import device_name
from probes.jobs.validation import LARGEST_SIZE, check_count, check_device, check_seed, require
from probes.results.answer_words import listed
from probes.results.result import Result
from probes.results.text_tables import decimals

if TYPE_CHECKING:
    from figures.style import Drawing

#: Rank of the updates, and the linear layers that are adapted: all of the block.
RANK, LAYERS = 8, ("q", "k", "v", "o", "up", "down")
#: Steps of every variant that are not counted.
WARM_UP = 3
#: Plain LoRA against itself: how far from 1 is worth a sentence.
LARGE_NOISE = 0.1
BASELINE, CONTROL = "LoRA", "LoRA again (control)"


@dataclass(frozen=True)
class CostSettings:
    """Measure time and memory of a transformer block with LoRA Dropout, relative to plain LoRA."""

    p: float = 0.3
    """Dropout rate in (0, 1)."""

    samples: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers N of mask pairs a training step."""

    ensemble: tuple[int, ...] = (1, 4, 16)
    """Numbers N of members at test time."""

    width: int = 384
    """Width of the block, a multiple of heads."""

    heads: int = 12
    """Attention heads."""

    batch: int = 8
    """Sequences a step."""

    tokens: int = 64
    """Tokens a sequence."""

    rounds: int = 15
    """Number of rounds. In each, every variant is timed once and compared with plain LoRA."""

    seed: int = 0
    """Seed of weights and inputs."""

    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, ..."""

    reuse: bool = False
    """Reuse a finished timing of this machine that lies in the folder."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the rows, the manifest and the figure. Default: runs/cost from the command line,
    none from Python."""

    engine_options: ClassVar[EngineOptions] = EngineOptions()

    def cells(self) -> "list[CostCell]":
        """Check every value and return one cell a phase.

        Raises:
            ValueError: a value is out of range; the message names it and what is allowed.
        """
        require(0 < self.p < 1, "p", "in (0, 1)", self.p)
        for name in ("samples", "ensemble"):
            for size in getattr(self, name):
                check_count(name, size)
        check_count("rounds", self.rounds)
        for name in ("heads", "batch", "tokens"):
            check_count(name, getattr(self, name), most=LARGEST_SIZE)
        allowed = f"a multiple of heads = {self.heads}, at least {RANK}"
        divisible = self.width >= RANK and self.width % self.heads == 0
        require(divisible, "width", allowed, self.width)
        check_device(self.device)
        check_seed(self.seed)
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        del known["out"], known["reuse"]
        for name in ("samples", "ensemble"):
            known[name] = tuple(dict.fromkeys(known[name]))
        hardware = device_name(self.device)
        return [CostCell(phase, hardware, **known) for phase in ("training", "inference")]


@dataclass(frozen=True)
class CostCell:
    """One phase, on one machine.

    Attributes:
        phase: "training" or "inference".
        hardware: name of what computes.
        p, samples, ensemble, width, heads, batch, tokens, rounds, seed, device: of the settings.
    """

    phase: str
    hardware: str
    p: float
    samples: tuple[int, ...]
    ensemble: tuple[int, ...]
    width: int
    heads: int
    batch: int
    tokens: int
    rounds: int
    seed: int
    device: str

    @property
    def libraries(self) -> tuple[str, ...]:
        """What is timed."""
        return ("torch",)

    @property
    def replica_steps(self) -> int:
        """Size of the work, in rounds."""
        return self.rounds


class CostResult(Result):
    """Time and memory, one row a variant and round: see :func:`measure_cell`."""

    name = "cost"
    question = "Time and memory relative to plain LoRA"

    @property
    def note(self) -> str:
        """How it was measured."""
        taken = (
            f"medians of {self._rounds} rounds in which all variants take turns, with quartiles"
            if self._rounds > 1
            else "one round, so without quartiles"
        )
        return (
            f"{taken}; the control is plain LoRA once more: what it differs from 1 is noise; "
            "memory: peak of one step beyond what is held between steps"
        )

    @property
    def _rounds(self) -> int:
        return int(self.rows["round"].nunique())

    @property
    def said_of_numbers(self) -> str:
        """What the times of the first screen are."""
        said = "median [quartiles]" if self._rounds > 1 else "one round"
        return f"time: {said}, plain LoRA = 1"

    @property
    def finding(self) -> str:
        """What the largest N costs relative to plain LoRA, and whether noise is as large."""
        measured = self.summary[self.summary["N"] > 0]
        said = [
            f"{variant} of N = {row['N']}: {row['ratio']:.2f} times the time and "
            f"{row['memory']:.2f} times the memory"
            for (_, variant), group in measured.groupby(["phase", "variant"], sort=False)
            for row in [group.iloc[int(group["N"].argmax())]]
        ]
        found = f"Relative to plain LoRA: {'; '.join(said) or 'not measured'}."
        return f"{found} {self._noise}".strip()

    @property
    def _noise(self) -> str:
        """What plain LoRA costs relative to itself, where that is far from 1."""
        control = self.summary[self.summary["variant"] == CONTROL]
        off = control[(control["ratio"] - 1).abs() > LARGE_NOISE]
        if not len(off):
            return ""
        said = listed([f"{row['ratio']:.2f} ({row['phase']})" for row in off.to_dict("records")])
        return (
            f"Noise is large: plain LoRA takes {said} times as long as itself; more --rounds help."
        )

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a variant: median and quartiles of the time ratio, and the memory ratio."""
        groups = self.rows.groupby(["phase", "variant", "N"], sort=False)
        return pd.DataFrame(
            [
                {
                    "phase": phase,
                    "variant": variant,
                    "N": size,
                    "milliseconds": 1e3 * group["seconds"].median(),
                    "ratio": group["ratio"].median(),
                    "ratio_low": group["ratio"].quantile(0.25),
                    "ratio_high": group["ratio"].quantile(0.75),
                    "memory": group["memory"].iloc[0],
                }
                for (phase, variant, size), group in groups
            ]
        )

    def brief(self) -> pd.DataFrame:
        """Every variant, at its largest N."""
        largest = self.summary.groupby(["phase", "variant"])["N"].transform("max")
        return self.text()[self.summary["N"] == largest].drop(columns="median ms")

    @property
    def said_of_brief(self) -> str:
        """Which N the first screen has."""
        return "every variant at its largest N"

    def text(self) -> pd.DataFrame:
        """The summary as it is printed."""
        summary = self.summary
        return pd.DataFrame(
            {
                "part": summary["phase"],
                "variant": summary["variant"],
                "N": summary["N"].map(lambda size: str(size) if size else ""),
                "median ms": decimals(summary["milliseconds"], 2),
                "time": [
                    f"{row.ratio:.2f}"
                    + (f" [{row.ratio_low:.2f}, {row.ratio_high:.2f}]" if self._rounds > 1 else "")
                    for row in summary.itertuples()
                ],
                "peak memory": decimals(summary["memory"], 2),
            }
        )

    @property
    def setting(self) -> str:
        """What was timed."""
        first = self.rows.iloc[0]
        return (
            f"transformer block of width {first['width']}, {first['batch']} × "
            f"{how_many(first['tokens'], 'token')}, rank {RANK} on all its linear "
            f"layers, p = {first['p']:g}, {first['hardware']}"
        )

    def plot(self) -> "Drawing":
        """Draw time and memory against N."""
        from figures.cost import draw

        shown = "medians and quartiles" if self._rounds > 1 else "one round"
        caption = f"{self.setting}; {shown}; dotted: plain LoRA against itself"
        return draw(self.summary, caption).titled(self.answer)


def measure_cell(cell: CostCell, progress: Progress) -> Tables:
    """Time all variants of a phase in turn, round by round, so that what disturbs one disturbs all.

    Args:
        cell: the phase, "training" or "inference", and the sizes of the block.
        progress: told 1 after every round.

    Returns:
        One row a variant and round: ``phase``, ``variant``, ``N`` (0 where there is none),
        ``round``, ``seconds``, ``ratio`` (to plain LoRA in the same round), ``bytes`` (peak beyond
        what was held before), ``memory`` (ratio of that), ``hardware`` and the settings.
    """
    variants = _training(cell) if cell.phase == "training" else _inference(cell)
    for variant in variants.values():
        for _ in range(WARM_UP):
            variant()
    peaks = {key: peak_bytes(variant, cell.device) for key, variant in variants.items()}
    records = []
    for number in range(cell.rounds):
        seconds = {key: timed(variant, cell.device) for key, variant in variants.items()}
        records += [(number, *key, value) for key, value in seconds.items()]
        progress(1)
    table = pd.DataFrame(records, columns=["round", "variant", "N", "seconds"])
    base = table[table["variant"] == BASELINE].set_index("round")["seconds"]
    held = [
        peaks[variant, size] for variant, size in zip(table["variant"], table["N"], strict=True)
    ]
    known = {name: getattr(cell, name) for name in ("p", "width", "heads", "batch", "tokens")}
    rows = table.assign(
        phase=cell.phase,
        ratio=table["seconds"] / table["round"].map(base),
        bytes=held,
        memory=np.array(held) / peaks[BASELINE, 0],
        **known,
        hardware=cell.hardware,
    )
    return {TableKind.ROWS: rows}


class Block(nn.Module):
    """A pre-norm transformer block.

    Args:
        width: number of features of a token.
        heads: number of attention heads, a divisor of ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        h = self.first(x)
        q, k, v = (f(h).unflatten(-1, (self.heads, -1)) for f in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)))
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


#: What is timed, by its name and N; the first is what the others are compared with.
Variants = dict[tuple[str, int], Callable[[], object]]


def _training(cell: CostCell) -> Variants:
    """Return one optimizer step by every variant."""

    def step(model: nn.Module, backward: Callable[[], object]) -> Callable[[], object]:
        trained = [one for one in model.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)

        def take() -> None:
            optimizer.zero_grad()
            backward()
            optimizer.step()

        return take

    def loss_of(model: nn.Module, inputs: Tensor) -> Callable[[], Tensor]:
        return lambda: model(inputs).square().mean()

    def grouped(model: nn.Module, inputs: Tensor, size: int) -> Callable[[], object]:
        loss = loss_of(model, inputs.repeat(size, 1, 1))

        def backward() -> None:
            with grouped_samples(model, size):
                loss().backward()

        return backward

    variants: Variants = {}
    for name in (BASELINE, CONTROL):
        model, inputs = _adapted(cell, 0.0)
        loss = loss_of(model, inputs)
        variants[name, 0] = step(model, lambda loss=loss: loss().backward())  # type: ignore[misc]
    for size in cell.samples:
        model, inputs = _adapted(cell, cell.p)
        loss = loss_of(model, inputs)
        variants["N passes", size] = step(
            model,
            lambda model=model, loss=loss, size=size: backward_over_samples(model, loss, size),  # type: ignore[misc]
        )
        model, inputs = _adapted(cell, cell.p)
        variants["one grouped pass", size] = step(model, grouped(model, inputs, size))
    return variants


def _inference(cell: CostCell) -> Variants:
    """One forward pass of the network as it is deployed, by every variant."""

    def forward(model: nn.Module, inputs: Tensor) -> Callable[[], object]:
        def run() -> Tensor:
            with torch.inference_mode():
                return model(inputs)

        return run

    variants: Variants = {}
    for name, p in ((BASELINE, 0.0), (CONTROL, 0.0), ("expected weight", cell.p)):
        model, inputs = _adapted(cell, p)
        variants[name, 0] = forward(model.eval(), inputs)
    for size in cell.ensemble:
        model, inputs = _adapted(cell, cell.p)
        variants["ensemble", size] = forward(Ensemble(model.eval(), size), inputs)
    return variants


def _adapted(cell: CostCell, p: float) -> tuple[nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(cell.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        block = Block(cell.width, cell.heads)
    inputs = torch.randn(cell.batch, cell.tokens, cell.width, generator=generator)
    model = inject(block.to(cell.device), rank=RANK, p=p, target=LAYERS)
    return model, inputs.to(cell.device)


def timed(variant: Callable[[], object], device: str) -> float:
    """Time a call until the device is done.

    Args:
        variant: what is called.
        device: that it computes on, such as "cpu" or "cuda".

    Returns:
        Wall time in seconds.
    """
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    variant()
    if cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_bytes(variant: Callable[[], object], device: str) -> int:
    """Measure the largest memory that a call holds beyond what was held before it.

    Args:
        variant: what is called.
        device: that it computes on, such as "cpu" or "cuda".

    Returns:
        Bytes that PyTorch's allocator handed out.
    """
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        variant()
        return torch.cuda.max_memory_allocated(device) - before
    with _silenced(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        variant()
    return _peak_of(record.profiler.kineto_results.experimental_event_tree())


def _peak_of(events: Iterable[Any]) -> int:
    """Largest sum of what was handed out and not taken back.

    Only what was handed out by these events counts: of older memory that is given back PyTorch may
    know no size, or that of something else that once lay there.
    """
    held: dict[int, int] = {}
    peak = now = 0
    for event in sorted(_allocations(events), key=lambda one: one.start_time_ns):
        place, size = event.extra_fields.ptr, event.extra_fields.alloc_size
        if size > 0:
            held[place] = size
            now += size
        else:
            now -= held.pop(place, 0)
        peak = max(peak, now)
    return peak


def _allocations(events: Iterable[Any]) -> Iterator[Any]:
    for event in events:
        if event.tag == _EventType.Allocation:
            yield event
        yield from _allocations(event.children)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep what the profiler's C++ writes to standard error off the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


PROBE = Probe(
    "cost",
    CostSettings,
    cells=CostSettings.cells,
    run=lambda settings: measure_cell,
    result=lambda settings, tables: CostResult.of(tables),
    # A timing is of one moment: it is taken again unless it is asked for.
    keeps_cells=lambda settings: settings.reuse,
    doing="timing",
)
measure: MeasureCost[CostResult] = PROBE.measure

if __name__ == "__main__":
    PROBE.main()

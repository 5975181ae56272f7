"""Ways of doing one thing take turns, so that a machine whose speed drifts slows them alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Way:
    """One way of retraining.

    Attributes:
        name: what it is called.
        run: does it; may return the losses of all replicas, to be compared.
        replicas: how many it trains.
    """

    name: str
    run: Callable[[], object]
    replicas: int


def compare(ways: Sequence[Way], repetitions: int, references: Sequence[str]) -> dict[str, float]:
    """Time the ways, print them beside the references, and return their best seconds a replica.

    Args:
        ways: the losses of the first one are what those of the others are compared with, of as
            many replicas as they train.
        repetitions: of all ways, after one that is not timed.
        references: names of the ways that ratios are given to.
    """
    results = [way.run() for way in ways]
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(repetitions):
        for way in ways:
            times[way.name].append(timed(way.run) / way.replicas)
    each = {name: np.array(found) for name, found in times.items()}
    for way, result in zip(ways, results, strict=True):
        print(f"  {_line(way.name, each, references)}{_difference(result, results[0])}")
    return {name: float(found.min()) for name, found in each.items()}


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def matmul_peak(dtype: torch.dtype) -> float:
    """Measure the machine's matrix-product peak on 1,024-square matrices, in GFLOP/s."""
    left = torch.randn(1024, 1024, dtype=dtype)
    seconds = min(timed(lambda: left @ left) for _ in range(20))
    return 2 * 1024**3 / seconds / 1e9


def print_peak(flops: float, seconds: dict[str, float], dtype: torch.dtype) -> None:
    """Print the rates of ways beside the peak: operations and seconds of one replica."""
    peak = matmul_peak(dtype)
    for name, each in seconds.items():
        rate = flops / each / 1e9
        print(f"  {name}: {rate:.0f} GFLOP/s, {rate / peak:.0%} of the measured peak of {peak:.0f}")


def _line(name: str, each: dict[str, NDArray[np.float64]], references: Sequence[str]) -> str:
    own = each[name]
    ratios = "".join(f", {np.median(own / each[other]):7.2f} x {other}" for other in references)
    return (
        f"{name:30s} {1e3 * np.median(own):8.2f} ms a replica (best {1e3 * own.min():.2f}){ratios}"
    )


def _difference(result: object, first: object) -> str:
    if result is first or not (isinstance(result, Tensor) and isinstance(first, Tensor)):
        return ""
    return f", largest loss difference {(result - first[: len(result)]).abs().max():.1e}"

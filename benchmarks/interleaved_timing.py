"""Variants of one task take turns: a machine whose speed drifts then slows all of them alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probes.jobs.validation import check_count


@dataclass(frozen=True)
class Variant:
    """One variant of retraining.

    Attributes:
        name: what it is called.
        run: does it; may return the losses of all replicas, to be compared.
        replicas: how many it trains.
    """

    name: str
    run: Callable[[], object]
    replicas: int


def compare(
    variants: Sequence[Variant], repetitions: int, references: Sequence[str]
) -> dict[str, float]:
    """Time the variants, print them beside the references, and return their best seconds a replica.

    Args:
        variants: the losses of the first one are what those of the others are compared with, of as
            many replicas as they train.
        repetitions: of all variants, after one that is not timed.
        references: names of the variants that ratios are given to.

    Returns:
        Least seconds a replica, by variant.
    """
    results, each = take_turns(variants, repetitions)
    for line in lines_of(each, results, references):
        print(f"  {line}")
    return {name: float(found.min()) for name, found in each.items()}


def take_turns(
    variants: Sequence[Variant], repetitions: int
) -> tuple[list[object], dict[str, NDArray[np.float64]]]:
    """Time the variants, one after the other in every repetition.

    Args:
        variants: what is timed.
        repetitions: of all variants, after one that is not timed.

    Returns:
        What the variants returned when they were not timed, and seconds a replica by their names,
        (repetitions,).
    """
    check_count("repetitions", repetitions)
    results = [variant.run() for variant in variants]
    times: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for _ in range(repetitions):
        for variant in variants:
            times[variant.name].append(timed(variant.run) / variant.replicas)
    return results, {name: np.array(found) for name, found in times.items()}


def lines_of(
    each: dict[str, NDArray[np.float64]], results: Sequence[object], references: Sequence[str]
) -> list[str]:
    """Say the times of every variant beside those of the references.

    Args:
        each: seconds a replica, by variant, (repetitions,).
        results: losses of every variant, if it returned any; compared with those of the first.
        references: names of the variants that ratios are given to.

    Returns:
        One line a variant.
    """
    return [
        _line(name, each, references) + _difference(result, results[0])
        for name, result in zip(each, results, strict=True)
    ]


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
    """Print the rates of variants beside the peak of the machine.

    Args:
        flops: operations of one replica.
        seconds: a replica, by variant.
        dtype: of the products.
    """
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

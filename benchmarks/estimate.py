"""Time of estimating what leaving each example out does, beside that of retraining without it.

One draw of S at one rate: the network of S is trained once and not timed, then the n others are
estimated from it by one Newton step, or retrained. A replica is one left-out example.

    python -m benchmarks.estimate
    python -m benchmarks.estimate --task tweets --n 32 --solver cg ekfac   # extra: ekfac
"""

import torch

from benchmarks.interleaved_timing import Variant, compare
from probes.cells.cell import Cell, objective_of
from probes.cells.leave_one_out import estimated_factors
from probes.cells.prepare import Prepared, prepare
from probes.cli.command_line import run_functions
from probes.cli.stability_settings import StabilitySettings
from probes.models.network import Factors, replica
from probes.training.retrain import retrain

RETRAINED = "retraining"


def main(
    task: str = "digits",
    n: int = 64,
    p: float = 0.1,
    layers: int = 1,
    solver: tuple[str, ...] = ("cg",),
    repetitions: int = 3,
) -> None:
    """Print the table.

    Args:
        task: as for the probe.
        n: size of S.
        p: dropout rate.
        layers: text tasks: number of adapted layers.
        solver: cg, ekfac or both.
        repetitions: interleaved repetitions; medians are shown.
    """
    cells = {
        name: StabilitySettings(
            task=task, n=n, p=(p,), draws=1, layers=layers, method="influence", solver=name
        ).cells()[0]
        for name in solver
    }
    cell = next(iter(cells.values()))
    ready = prepare(cell)
    full = replica(_trained(cell, ready, slice(0, 1)), 0)
    variants = [Variant(RETRAINED, lambda: _trained(cell, ready, slice(1, n + 1)), n)]
    variants += [
        Variant(name, lambda own=own: estimated_factors(own, ready, full), n)
        for name, own in cells.items()
    ]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{task}, n = {n}, p = {p:g}, {cell.steps} steps, {layers} adapted layers of text tasks")
    compare(variants, repetitions, [RETRAINED])


def _trained(cell: Cell, ready: Prepared, rows: slice) -> Factors:
    """Train some replicas: 0 on S, the others without one example each."""
    with torch.no_grad():
        return retrain(
            ready.network, ready.train, ready.weights[rows], ready.start, ready.training,
            objective_of(cell),
        )  # fmt: skip


if __name__ == "__main__":
    run_functions(main)

"""Training on a GPU in one launch: which trainings can be, and how.

See ``probes.training.fused_kernel`` for what is launched. What cannot be trained so is trained step
by step, as on the CPU: ``probes.training.retrain``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from lora_dropout.device_draw import compiles_for
from probes.models.feedforward import Columns, FeedForward, beside
from probes.models.network import Network
from probes.training.plan import Dropout, Objective, Training
from probes.training.retraining import Retraining

#: Widest layer, and most outputs and highest rank: with more, a replica falls out of the registers.
MOST_FEATURES, MOST_OUTPUTS = 64, 16
#: A side that products take.
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Launch:
    """How the programs of a launch are made; no number depends on it but for rounding.

    The defaults were the fastest on an H200: ``benchmarks/results/gpu/one-launch-variants.txt``.

    Attributes:
        examples: that a program computes at once.
        warps: of a program.
        most_in_float32: above so many examples products of float32 are made of products of TF32 on
            the tensor cores, as exact to rounding: errors after 20 steps against float64 are equal.
        registers: that a thread may have; None leaves it to the compiler.
    """

    examples: int = 32
    warps: int = 4
    most_in_float32: int = 128
    registers: int | None = None


#: The one that is used.
LAUNCH = Launch()


def can_be_fused(network: Network, training: Training, objective: Objective) -> bool:
    """Whether a training can be done in one launch.

    Args:
        network, training, objective: as for :func:`probes.training.retrain.retrain`.

    Returns:
        True for LoRA Dropout with Adam on full batches of a network of two narrow layers, in
        float32 on an NVIDIA GPU of Ampere or later, where Triton is installed, which comes with
        PyTorch's builds for CUDA.
    """
    like = network.weights[0]
    return (
        like.dtype == torch.float32
        and isinstance(network, FeedForward)
        and len(network.weights) == 2
        and max(network.weights[0].shape) <= MOST_FEATURES
        and max(network.outputs_count, network.rank) <= MOST_OUTPUTS
        and isinstance(objective, Dropout)
        and training.optimizer == "adam"
        and training.batch is None
        and compiles_for(like.device)
    )


def fused_steps(
    network: FeedForward,
    cells: Sequence[Retraining],
    masks: Sequence[tuple[Tensor, Tensor]],
    flat: Tensor,
    stops: Iterable[int],
) -> Iterator[int]:
    """Train the replicas of some cells, in place.

    Args:
        network: the frozen network, of all cells.
        cells: as for :func:`probes.training.retrain.retrain_cells`.
        masks: of :func:`probes.training.mask_draws.stacked_masks`.
        flat: the factors, laid out as ``Network.views``.
        stops: numbers of steps, from 1, after which to stop.

    Yields:
        The number of the step just taken, at every stop in order and at the last step.
    """
    training, launch = cells[0].training, _launcher(network, cells, masks, flat)
    done = 0
    for stop in sorted({*stops, training.steps}):
        launch(done, stop)
        yield stop
        done = stop


def _launcher(
    network: FeedForward,
    cells: Sequence[Retraining],
    masks: Sequence[tuple[Tensor, Tensor]],
    flat: Tensor,
) -> Any:
    """Return what takes the steps from one number to another."""
    kernel = import_module("probes.training.fused_kernel").train_replica
    columns = beside([one.inputs for one in cells if isinstance(one.inputs, Columns)])
    weights = torch.cat([cell.weights for cell in cells]).to(flat)
    (d, h), (_, k) = network.sides
    examples, samples = weights.shape[1], masks[0][0].shape[1]
    tensors = (
        flat, torch.zeros_like(flat), torch.zeros_like(flat),
        columns.features, columns.frozen, columns.targets, weights,
        network.weights[1], network.biases[1],
        *(mask.contiguous() for pair in masks for mask in pair),
        _rates(cells[0].training).to(flat),
    )  # fmt: skip
    counts = len(weights), len(cells[0].weights), len(cells), examples, samples
    numbers = network.scaling, 1 - cells[0].training.lr * cells[0].training.weight_decay
    sides: dict[str, Any] = {"d": d, "h": h, "k": k, "r": network.rank}
    filled = {name.upper(): _filled(side) for name, side in sides.items()}
    precision = "ieee" if examples <= LAUNCH.most_in_float32 else "tf32x3"
    made = {"M": LAUNCH.examples, "num_warps": LAUNCH.warps, "num_stages": 1}
    if LAUNCH.registers:
        made["maxnreg"] = LAUNCH.registers

    def launch(start: int, stop: int) -> None:
        with torch.cuda.device_of(flat):
            kernel[(len(weights),)](
                *tensors, start, stop, *counts, *numbers, **sides, **filled, **made,
                LOSS=network.loss.name, PRECISION=precision,
            )  # fmt: skip

    return launch


def _rates(training: Training) -> Tensor:
    """Adam's rate and the correction of its second moment at every step, (steps, 2), float64."""
    step = torch.arange(1, training.steps + 1, dtype=torch.float64)
    return torch.stack([training.lr / (1 - 0.9**step), (1 - 0.999**step).rsqrt()], 1)


def _filled(side: int) -> int:
    """The next power of two, which a program's arrays need."""
    return max(SMALLEST_SIDE, 1 << (side - 1).bit_length())

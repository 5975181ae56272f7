"""Drawing masks on the GPU that uses them, bit for bit those that are drawn on the host.

A large model has millions of entries, which a host takes milliseconds to draw, in every step, while
the GPU waits. Needs Triton, which comes with PyTorch's builds for CUDA.
"""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from lora_dropout.masks import ENSEMBLE_STEP, Described, LayerShape, stack_masks

#: The compute capability from which Triton compiles for NVIDIA's GPUs, and which have TF32.
OLDEST = (8, 0)
#: Entries of a block of the generator, and blocks that a program draws.
ENTRIES, BLOCKS = 8, 128
#: Precisions that masks have where they are drawn on a GPU.
PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: Said where the first masks of a GPU are not those of the host.
NOT_ALIKE = "masks are drawn on the host, as {} draws none or others: {}"


class DrawnLayer(NamedTuple):
    """What is drawn of one layer, and where it is written.

    Attributes:
        seed: of the masks, in [0, 2**64).
        number: of the layer in its model.
        shape: sides and rates; the kind is "bernoulli".
        rescale: whether masks are divided by 1 - p.
        column_in, column_out: of the memory, at which its two masks begin.
    """

    seed: int
    number: int
    shape: LayerShape
    rescale: bool
    column_in: int
    column_out: int


def side_by_side(layers: Sequence[Described], seed: int) -> tuple[list[DrawnLayer], int]:
    """Put the masks of layers side by side, as ``smallest_step_masks`` does.

    Args:
        layers: of the model.
        seed: of the masks, in [0, 2**64).

    Returns:
        What is drawn, and the columns of all of it.
    """
    starts = list(accumulate((side for _, shape, _ in layers for side in shape[:2]), initial=0))
    drawn = [
        DrawnLayer(seed, *one, *columns)
        for one, *columns in zip(layers, starts[:-1:2], starts[1::2], strict=True)
    ]
    return drawn, starts[-1]


class DrawingTable:
    """Layers whose masks are drawn together, at any step.

    Args:
        layers: at least one.
        device: that draws.
        rounded_to: the precision to which entries are rounded.
    """

    def __init__(
        self, layers: Sequence[DrawnLayer], device: torch.device, rounded_to: torch.dtype
    ) -> None:
        rows = [
            [_signed(one.seed), one.number, one.shape.d_in, one.shape.d_in + one.shape.d_out,
             one.column_in, one.column_out]
            for one in layers
        ]  # fmt: skip
        rates = [[one.shape.p_in, one.shape.p_out] for one in layers]
        kept = [
            [1 - p if one.rescale else 1 for p in (one.shape.p_in, one.shape.p_out)]
            for one in layers
        ]
        entries = (1 / _numbers(kept)).to(rounded_to).float()
        self._layers = torch.tensor(rows, device="cpu").to(device)
        self._rates = torch.cat([_numbers(rates), entries], 1).to(device)
        self._programs = -(-max(row[3] for row in rows) // (ENTRIES * BLOCKS))

    def draw(self, memory: Tensor, steps: range, samples: range) -> None:
        """Write masks, without waiting for them.

        Args:
            memory: (steps * samples, width), in one of ``PRECISIONS``; what lies between the masks
                of the layers stays as it is.
            steps, samples: numbers without gaps, as in :func:`lora_dropout.masks.stack_masks`,
                whose entries are written.
        """
        kernel = import_module("lora_dropout.mask_kernel").draw_rows
        with torch.cuda.device_of(memory):
            kernel[(len(memory), len(self._layers), self._programs)](
                memory, memory.stride(0), self._layers, self._rates, _signed(steps.start),
                samples.start, len(samples), BLOCKS=BLOCKS,
            )  # fmt: skip
        # Nobody else tells PyTorch, which refuses a backward pass through what was overwritten.
        torch.autograd.graph.increment_version(memory)


def draws(device: torch.device) -> bool:
    """Whether masks can be drawn on a device.

    The first answer for a GPU waits for the kernel to be compiled, and compares what it draws with
    what the host draws.

    Args:
        device: any.

    Returns:
        True for an NVIDIA GPU of Ampere or later, where Triton is installed and works.
    """
    if not compiles_for(device):
        return False
    index = torch.cuda.current_device() if device.index is None else device.index
    return _draws_alike(torch.device("cuda", index))


@lru_cache
def compiles_for(device: torch.device) -> bool:
    """Whether Triton is there and compiles for a device."""
    return (
        device.type == "cuda"
        and torch.version.cuda is not None
        and find_spec("triton") is not None
        and torch.cuda.get_device_capability(device) >= OLDEST
    )


@lru_cache
def _draws_alike(device: torch.device) -> bool:
    """Whether a device draws what the host draws; otherwise it is said, once."""
    try:
        differ = differing_entries(device)
    except Exception as error:  # Whatever Triton, its compiler or a driver lacks.
        reason = f"{type(error).__name__}: {error}"
    else:
        if not differ:
            return True
        reason = f"{differ} entries differ"
    warnings.warn(NOT_ALIKE.format(device, reason.splitlines()[0]), stacklevel=2)
    return False


def differing_entries(device: torch.device) -> int:
    """Count entries in which a device's masks differ from the host's: of two layers, eight passes.

    Args:
        device: that draws.

    Returns:
        The number, out of 17,488.
    """
    shapes = [LayerShape(1500, 77, 0.3, 0.1), LayerShape(9, 600, 0.0, 0.5)]
    seed, samples, width = 2**64 - 3, range(3, 5), 2200
    layers = [
        DrawnLayer(seed, 5, shapes[0], True, 7, 1511),
        DrawnLayer(seed, 6, shapes[1], False, 1590, 1600),
    ]
    table = DrawingTable(layers, device, torch.float32)
    differ = 0
    for steps in (range(1), range(2**31 - 1, 2**31 + 1), range(ENSEMBLE_STEP, ENSEMBLE_STEP + 1)):
        memory = torch.zeros(len(steps) * len(samples), width, device=device)
        table.draw(memory, steps, samples)
        drawn = memory.cpu().view(len(steps), len(samples), width)
        for layer in layers:
            pair = stack_masks(layer.shape, seed=seed, steps=steps, layer=layer.number,
                               samples=samples, rescale=layer.rescale)  # fmt: skip
            columns = layer.column_in, layer.column_out
            for mask, column in zip(pair, columns, strict=True):
                found = drawn[..., column : column + mask.shape[-1]]
                differ += int((found != mask).sum())
    return differ


def _numbers(rows: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32, device="cpu")


def _signed(number: int) -> int:
    """The signed number of 64 bits that has the bits of one in [0, 2**64)."""
    return number - 2**64 if number >= 2**63 else number

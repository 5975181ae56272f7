"""The masks of a training, for all layers of a network."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_dropout.device_draw import DrawingTable, DrawnLayer, draws
from lora_dropout.masks import LayerShape, MaskKind, masks_of_uniforms, stack_uniforms
from probes.models.network import Masks, Network
from probes.training.blocks import step_samples
from probes.training.plan import Objective, Training, draws_masks


class CellDraw(NamedTuple):
    """What the masks of one cell are drawn by.

    Attributes:
        seed: of the masks.
        p: dropout rate of A's columns and of B's rows, in [0, 1).
        rescale: whether masks are divided by 1 - p.
        kind: of the masks.
    """

    seed: int
    p: float
    rescale: bool = False
    kind: MaskKind = "bernoulli"


def draw_steps(
    network: Network,
    p: float,
    steps: range,
    samples: range,
    seed: int,
    rescale: bool = False,
) -> list[Masks]:
    """Draw the masks of many steps.

    Args:
        network: the frozen network.
        p: dropout rate of A's columns and of B's rows, in [0, 1).
        steps: numbers of the steps, without gaps; ``ENSEMBLE_STEP`` for the members of an ensemble.
        samples: numbers of the N mask pairs within each step.
        seed: of the masks.
        rescale: whether masks are divided by 1 - p.

    Returns:
        For every step one pair a layer, (N, 1, 1, d_in) and (N, 1, 1, d_out), in the dtype and on
        the device of the network.
    """
    return _by_step(_stack(network, [CellDraw(seed, p, rescale)], steps, samples))


def masks_of_cells(network: Network, plans: Sequence[tuple[Training, Objective]]) -> list[Masks]:
    """Draw the masks of cells that are trained together, each as if it were alone.

    Args:
        network: the frozen network.
        plans: as for :func:`stacked_masks`.

    Returns:
        For every step one pair a layer, (N, C, 1, 1, d_in) and (N, C, 1, 1, d_out); of a single
        cell (N, 1, 1, d_in) and (N, 1, 1, d_out).
    """
    return _by_step(stacked_masks(network, plans))


def stacked_masks(
    network: Network, plans: Sequence[tuple[Training, Objective]]
) -> list[tuple[Tensor, Tensor]]:
    """Draw the masks of cells that are trained together, of all steps in one piece.

    Args:
        network: the frozen network.
        plans: how every cell is trained, and what it minimises: dropout or the penalty. Steps and
            mask pairs a step are as many in all.

    Returns:
        One pair a layer, (steps, N, C, d_in) and (steps, N, C, d_out), in the dtype and on the
        device of the network; ones, with N = 1, where the objective draws none.
    """
    cells = [
        CellDraw(training.seed, objective.p, objective.rescale, objective.kind)
        if draws_masks(objective)
        else CellDraw(training.seed, 0.0)
        for training, objective in plans
    ]
    training, objective = plans[0]
    return _stack(network, cells, range(training.steps), range(step_samples(training, objective)))


def _by_step(stacked: Sequence[tuple[Tensor, Tensor]]) -> list[Masks]:
    """Cut masks of all steps into those of each, with dimensions for replicas and examples."""
    several = stacked[0][0].shape[2] > 1
    layers = [
        [mask[..., None, None, :] if several else mask[..., None, :] for mask in pair]
        for pair in stacked
    ]
    pairs = [list(zip(*(mask.unbind(0) for mask in pair), strict=True)) for pair in layers]
    return [list(of_step) for of_step in zip(*pairs, strict=True)]


def _stack(
    network: Network, cells: Sequence[CellDraw], steps: range, samples: range
) -> list[tuple[Tensor, Tensor]]:
    """One pair a layer, (steps, N, C, d_in) and (steps, N, C, d_out), as the network is."""
    like = network.weights[0]
    if all(cell.kind == "bernoulli" for cell in cells) and draws(like.device):
        return _draw_there(network, cells, steps, samples)
    drawn: dict[tuple[int, int], NDArray[np.float32]] = {}
    pairs = []
    for layer in range(len(network.sides)):
        of_cells = [_draw_here(network, cell, layer, steps, samples, drawn) for cell in cells]
        masks_in, masks_out = zip(*of_cells, strict=True)
        pairs.append((_beside(masks_in), _beside(masks_out)))
    return pairs


def _draw_here(
    network: Network,
    cell: CellDraw,
    layer: int,
    steps: range,
    samples: range,
    drawn: dict[tuple[int, int], NDArray[np.float32]],
) -> tuple[Tensor, Tensor]:
    """Draw one pair on the CPU, (steps, N, d_in) and (steps, N, d_out).

    Rates of one draw of S have their seed in common, and so the numbers that their masks are made
    of: ``drawn`` keeps them by seed and layer.
    """
    like, (d_in, d_out) = network.weights[0], network.sides[layer]
    if cell.p == 0:
        # One number in memory.
        one = like.new_ones(()).expand(len(steps), len(samples), 1)
        return one.expand(-1, -1, d_in), one.expand(-1, -1, d_out)
    key = cell.seed, layer
    if key not in drawn:
        drawn[key] = stack_uniforms(
            d_in + d_out, seed=cell.seed, steps=steps, layer=layer, samples=samples
        )
    shape = LayerShape(d_in, d_out, cell.p, cell.p, cell.kind)
    mask_in, mask_out = masks_of_uniforms(drawn[key], shape, cell.rescale)
    return mask_in.to(like), mask_out.to(like)


def _draw_there(
    network: Network, cells: Sequence[CellDraw], steps: range, samples: range
) -> list[tuple[Tensor, Tensor]]:
    """Draw all masks at once on the network's device."""
    like = network.weights[0]
    widths = [side * len(cells) for sides in network.sides for side in sides]
    starts = list(accumulate(widths, initial=0))
    layers = [
        DrawnLayer(
            cell.seed, layer, LayerShape(d_in, d_out, cell.p, cell.p), cell.rescale,
            starts[2 * layer] + number * d_in, starts[2 * layer + 1] + number * d_out,
        )
        for layer, (d_in, d_out) in enumerate(network.sides)
        for number, cell in enumerate(cells)
    ]  # fmt: skip
    memory = like.new_empty(len(steps) * len(samples), starts[-1])
    DrawingTable(layers, like.device, like.dtype).draw(memory, steps, samples)
    parts = memory.unflatten(0, (len(steps), len(samples))).split(widths, -1)
    masks = [part.unflatten(-1, (len(cells), -1)) for part in parts]
    return list(zip(masks[::2], masks[1::2], strict=True))


def _beside(masks: Sequence[Tensor]) -> Tensor:
    """Put masks of cells side by side; those of a single cell are not copied."""
    return masks[0].unsqueeze(2) if len(masks) == 1 else torch.stack(list(masks), 2)

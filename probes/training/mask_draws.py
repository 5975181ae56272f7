"""The masks of a training, for all layers of a network."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_dropout.masks import (
    LayerShape,
    MaskKind,
    masks_of_uniforms,
    stack_masks,
    stack_uniforms,
)
from probes.models.network import Masks, Network
from probes.training.plan import Objective, Training, draws_masks


def draw_steps(
    network: Network,
    p: float,
    steps: Sequence[int],
    samples: range,
    seed: int,
    rescale: bool = False,
    kind: MaskKind = "bernoulli",
) -> list[Masks]:
    """Draw the masks of many steps.

    Args:
        network: the frozen network.
        p: dropout rate of A's columns and of B's rows, in [0, 1).
        steps: numbers of the steps; ``ENSEMBLE_STEP`` for the members of an ensemble.
        samples: numbers of the N mask pairs within each step.
        seed: of the masks.
        rescale: whether masks are divided by 1 - p.
        kind: of the masks.

    Returns:
        For every step one pair a layer, (N, 1, 1, d_in) and (N, 1, 1, d_out), in the dtype and on
        the device of the network.
    """
    drawn = _draw_layers(network, p, steps, samples, seed, rescale, kind)
    return _by_step([[mask[:, :, None, None] for mask in pair] for pair in drawn])


def _draw_layers(
    network: Network,
    p: float,
    steps: Sequence[int],
    samples: range,
    seed: int,
    rescale: bool,
    kind: MaskKind,
) -> list[list[Tensor]]:
    """Draw one pair of masks a layer, (steps, N, d_in) and (steps, N, d_out)."""
    layers = []
    for layer, (d_in, d_out) in enumerate(network.sides):
        pair = stack_masks(
            LayerShape(d_in, d_out, p, p, kind),
            seed=seed,
            steps=steps,
            layer=layer,
            samples=samples,
            rescale=rescale,
        )
        layers.append([mask.to(network.weights[0]) for mask in pair])
    return layers


def _by_step(layers: Sequence[Sequence[Tensor]]) -> list[Masks]:
    """Cut masks of all steps, the steps in front, into those of each."""
    pairs = [list(zip(*(mask.unbind(0) for mask in pair), strict=True)) for pair in layers]
    return [list(of_step) for of_step in zip(*pairs, strict=True)]


def masks_of_training(
    network: Network, training: Training, objective: Objective
) -> Sequence[Masks]:
    """Draw the masks of a training.

    Args:
        network: the frozen network.
        training: how it is trained; its seed draws.
        objective: what is minimised: dropout or the penalty.

    Returns:
        For every step one pair a layer, (N, 1, 1, d_in) and (N, 1, 1, d_out); ones, with N = 1,
        where the objective draws none.
    """
    if not draws_masks(objective):
        ones = network.weights[0].new_ones
        return [[(ones(1, 1, 1, d_in), ones(1, 1, 1, d_out)) for d_in, d_out in network.sides]] * (
            training.steps
        )
    return draw_steps(
        network,
        objective.p,
        range(training.steps),
        range(training.samples),
        training.seed,
        objective.rescale,
        objective.kind,
    )


def masks_of_cells(network: Network, plans: Sequence[tuple[Training, Objective]]) -> list[Masks]:
    """Draw the masks of several cells that are trained together, each as if it were alone.

    Args:
        network: the frozen network.
        plans: how every cell is trained, and what it minimises: dropout or the penalty. Steps and
            mask pairs a step are as many in all.

    Returns:
        For every step one pair a layer, (N, C, 1, 1, d_in) and (N, C, 1, 1, d_out); of a single
        cell those of :func:`masks_of_training`.
    """
    if len(plans) == 1:
        return list(masks_of_training(network, *plans[0]))
    stacked = stacked_masks(network, plans)
    return _by_step([[mask[..., None, None, :] for mask in pair] for pair in stacked])


def stacked_masks(
    network: Network, plans: Sequence[tuple[Training, Objective]]
) -> list[tuple[Tensor, Tensor]]:
    """Draw the masks of several cells, of all steps in one piece.

    Rates of one draw have their seed in common, and so the numbers that their masks are made of:
    those are drawn once.

    Args:
        network, plans: as for :func:`masks_of_cells`; one plan or more.

    Returns:
        One pair a layer, (steps, N, C, d_in) and (steps, N, C, d_out), in the dtype and on the
        device of the network.
    """
    drawn: dict[tuple[int, int], NDArray[np.float32]] = {}
    cells = [_masks_of_cell(network, *plan, drawn) for plan in plans]
    like = network.weights[0]
    return [
        (torch.stack(masks_in, 2).to(like), torch.stack(masks_out, 2).to(like))
        for masks_in, masks_out in (zip(*pairs, strict=True) for pairs in zip(*cells, strict=True))
    ]


def _masks_of_cell(
    network: Network,
    training: Training,
    objective: Objective,
    drawn: dict[tuple[int, int], NDArray[np.float32]],
) -> list[tuple[Tensor, Tensor]]:
    """One pair a layer, (steps, N, d_in) and (steps, N, d_out), on the CPU.

    Args:
        network, training, objective: of the cell.
        drawn: numbers by seed and layer, of earlier cells; those of this one are added.
    """
    if not draws_masks(objective):
        return [
            (torch.ones(training.steps, 1, d_in), torch.ones(training.steps, 1, d_out))
            for d_in, d_out in network.sides
        ]
    steps, samples = range(training.steps), range(training.samples)
    found = []
    for layer, (d_in, d_out) in enumerate(network.sides):
        key = training.seed, layer
        if key not in drawn:
            drawn[key] = stack_uniforms(
                d_in + d_out, seed=training.seed, steps=steps, layer=layer, samples=samples
            )
        shape = LayerShape(d_in, d_out, objective.p, objective.p, objective.kind)
        found.append(masks_of_uniforms(drawn[key], shape, objective.rescale))
    return found

"""Losses and scores of trained replicas: of the deterministic network, and of ensembles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from probes.cells.cell import Cell
from probes.models.feedforward import Columns, beside, of_replicas
from probes.models.network import Factors, Inputs, Network, scaled_together, some_replicas
from probes.training.blocks import blocks, examples_per_block, replicas_per_block
from probes.training.ensemble_members import member_outputs

#: Merged weights of replicas that are evaluated at once with those of other cells.
JOINT_WEIGHTS = 2**26


@dataclass(frozen=True)
class Evaluation:
    """Losses and scores of R replicas on m examples, (R, m) each, float64 on the CPU."""

    losses: Tensor
    scores: Tensor


@torch.no_grad()
def deterministic_losses(cell: Cell, network: Network, factors: Factors, inputs: Inputs) -> Tensor:
    """Compute the losses of R replicas on m examples without masks.

    Args:
        cell: says the factor of the update and where losses are clipped.
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.

    Returns:
        Losses, (R, m), float64 on the CPU, clipped at ``cell.loss_bound``; NaN stays NaN.
    """
    found = torch.empty(len(factors[0][0]), len(inputs), dtype=torch.float64)
    for rows, columns, some, part in pieces(network, factors, inputs):
        outputs = network.replica_outputs(some, part, update_scale=cell.update_scale)
        found[rows, columns] = _losses(cell, network, outputs, part)
    return found


@torch.no_grad()
def evaluate(
    cell: Cell, network: Network, factors: Factors, inputs: Inputs
) -> Iterator[tuple[int, Evaluation]]:
    """Evaluate the deterministic network (0), then an ensemble of each size that is asked for.

    The members of a smaller ensemble are the first of a larger one, and the same for all replicas.

    Args:
        cell: says the sizes of the ensembles, the masks, and where losses are clipped.
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.

    Yields:
        The size of the ensemble, 0 for the deterministic network, and its losses and scores.
    """
    replicas, examples = len(factors[0][0]), len(inputs)
    found = {
        size: Evaluation(*torch.empty(2, replicas, examples, dtype=torch.float64))
        for size in (0, *cell.ensemble)
    }
    for rows, columns, some, part in pieces(network, factors, inputs):
        for size, outputs in inferred_outputs(cell, network, some, part):
            result = _evaluation(cell, network, outputs, part)
            found[size].losses[rows, columns] = result.losses
            found[size].scores[rows, columns] = result.scores
    yield from found.items()


@torch.no_grad()
def evaluate_cells(
    cells: Sequence[Cell], network: Network, factors: Sequence[Factors], inputs: Sequence[Inputs]
) -> list[dict[int, Evaluation]]:
    """Evaluate cells, each on its own examples.

    Deterministic networks are computed together where they fit, as a GPU takes as long for one cell
    as for all; ensembles are not, as the masks of cells differ.

    Args:
        cells: of a sweep, alike but for the draw and p.
        network: the frozen network, of all.
        factors: of every cell's replicas, as many of each.
        inputs: examples of every cell, as many of each.

    Returns:
        For every cell what :func:`evaluate` yields, by the size of the ensemble.
    """
    weights = sum(weight.numel() for weight in network.weights)
    fitting = min(replicas_per_block(network, len(inputs[0])), JOINT_WEIGHTS // weights)
    together = fitting // len(factors[0][0][0])
    if cells[0].ensemble or together == 0:
        alone = zip(cells, factors, inputs, strict=True)
        return [dict(evaluate(cell, network, own, examples)) for cell, own, examples in alone]
    return [
        {0: found}
        for some in blocks(len(cells), together)
        for found in _deterministic(cells[some], network, factors[some], inputs[some])
    ]


def _deterministic(
    cells: Sequence[Cell], network: Network, factors: Sequence[Factors], inputs: Sequence[Inputs]
) -> Iterator[Evaluation]:
    """Evaluate the deterministic networks of some cells in one call."""
    scaled = scaled_together(factors, [cell.update_scale for cell in cells])
    side, replicas = beside([one for one in inputs if isinstance(one, Columns)]), len(scaled[0][0])
    each = replace(
        side,
        features=of_replicas(side.features, replicas),
        targets=of_replicas(side.targets, replicas),
    )
    found = _evaluation(cells[0], network, network.replica_outputs(scaled, each), each)
    of_cells = (of_all.chunk(len(cells)) for of_all in (found.losses, found.scores))
    yield from map(Evaluation, *of_cells)


def pieces(
    network: Network, factors: Factors, inputs: Inputs
) -> Iterator[tuple[slice, slice, Factors, Inputs]]:
    """Cut replicas and examples into what is evaluated together.

    Args:
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.

    Yields:
        The replicas and the examples of a piece, and their factors and inputs.
    """
    examples = len(inputs)
    for rows, columns in product(
        blocks(len(factors[0][0]), replicas_per_block(network, examples)),
        blocks(examples, examples_per_block(network)),
    ):
        part = inputs
        if columns.stop - columns.start < examples:
            part = inputs.take(torch.arange(columns.start, columns.stop))
        yield rows, columns, some_replicas(factors, rows), part


def inferred_outputs(
    cell: Cell, network: Network, factors: Factors, inputs: Inputs
) -> Iterator[tuple[int, Tensor]]:
    """Compute the outputs of the deterministic network (0), then of an ensemble of each size.

    Args:
        cell: says the factor of the update, the sizes of the ensembles, and the masks.
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.

    Yields:
        The size, 0 for the deterministic network, and the outputs, (R, k, m).
    """
    yield 0, network.replica_outputs(factors, inputs, update_scale=cell.update_scale)
    if not cell.ensemble:
        return
    *_, mask_seed = cell.seeds()
    total: Tensor | float = 0.0
    members = member_outputs(
        network,
        factors,
        inputs,
        max(cell.ensemble),
        p=cell.p,
        seed=mask_seed,
        rescale=cell.rescale,
    )
    for size, output in enumerate(members, start=1):
        total = total + output
        if size in cell.ensemble:
            yield size, total / size


def _evaluation(cell: Cell, network: Network, outputs: Tensor, inputs: Inputs) -> Evaluation:
    scores = network.loss.score(outputs, inputs.targets)
    return Evaluation(_losses(cell, network, outputs, inputs), scores.double().cpu())


def _losses(cell: Cell, network: Network, outputs: Tensor, inputs: Inputs) -> Tensor:
    losses = network.loss.value(outputs, inputs.targets)
    if cell.loss_bound is not None:
        # NaN stays NaN: a diverged replica is not a loss at the bound.
        losses = losses.clamp(max=cell.loss_bound)
    return losses.double().cpu()

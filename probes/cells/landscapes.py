"""Curvature and expansion of cells that trained as one block on a GPU: measured together there."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch

from probes.cells.cell import Cell, objective_of
from probes.cells.leave_one_out import Trained
from probes.landscape.assumption_audit import (
    EXPANSION_REPLICAS,
    Expansion,
    expansion_paths,
    expansion_radii,
)
from probes.landscape.curvature import (
    DENSE_WEIGHTS,
    JOINT_PRODUCTS,
    Curvature,
    smallest_curvature,
    smallest_curvatures,
)
from probes.models.feedforward import Columns, beside
from probes.models.network import Network, replica, scaled_together
from probes.training.blocks import blocks
from probes.training.plan import penalty_weight_of

#: Bytes that cells which are measured together may hold on a GPU.
TOGETHER_BYTES = 2**29
#: Vectors of all adapted weights, float64, that a cell holds beside those of Lanczos.
#: Counted: the paths, twice while they are copied; the point, its gradient and the Hessian's
#: products with the paths; and of Lanczos the start, the vector and its product, twice each.
VECTORS = 3 * EXPANSION_REPLICAS + 8
#: Numbers, float64, that the Hessian's products hold for each activation of one replica: the graph
#: of the gradient (``create_graph`` in ``curvature._lanczos``) and the backward pass through it.
#: Measured as in ``memory_limit``, without the float64 copy of the examples: ff 2.3 to 2.8, encoder
#: 2.2 to 4.1. The rest is a safety margin.
CURVATURE_COPIES = 5


@dataclass(frozen=True)
class Landscape:
    """What second derivatives of the training loss say of a cell.

    Attributes:
        curvature: smallest, at theta(S).
        expansion: what the paths from theta(S) to the theta(S^i) say.
    """

    curvature: Curvature
    expansion: Expansion


def landscapes_of(cells: Sequence[Cell], trained: Sequence[Trained]) -> list[Landscape]:
    """Measure curvature and expansion of cells at once, on the device where they trained.

    A GPU takes as long for the products of one cell as for those of a hundred.

    Args:
        cells: that trained as one block.
        trained: their replicas.

    Returns:
        Those of every cell; none where each is better measured by itself: on a CPU, with few
        weights, and with very many.
    """
    network = trained[0].network
    weights = sum(weight.numel() for weight in network.weights)
    together = TOGETHER_BYTES // _bytes_of_a_cell(network, cells[0].n)
    if network.weights[0].device.type == "cpu" or weights <= DENSE_WEIGHTS or together == 0:
        return []
    return [
        found
        for some in blocks(len(cells), together)
        for found in measure_together(cells[some], trained[some])
    ]


def _bytes_of_a_cell(network: Network, examples: int) -> int:
    """Bytes that a cell takes on the device while it is measured beside others."""
    weights = sum(weight.numel() for weight in network.weights)
    vectors = JOINT_PRODUCTS + VECTORS
    return 8 * (vectors * weights + CURVATURE_COPIES * network.activations * examples)


def measure_together(cells: Sequence[Cell], trained: Sequence[Trained]) -> list[Landscape]:
    """Measure curvature and expansion of cells at once, wherever they trained.

    Args:
        cells: that trained as one block, with more than ``DENSE_WEIGHTS`` weights.
        trained: their replicas.

    Returns:
        Those of every cell.
    """
    network = trained[0].network
    inputs = beside([one.train for one in trained if isinstance(one.train, Columns)])
    scales = [cell.update_scale for cell in cells]
    scaled = scaled_together([one.factors for one in trained], scales)
    starts, paths, distances = expansion_paths(network, scaled, len(cells))
    penalties = torch.tensor([penalty_weight_of(objective_of(cell)) for cell in cells])
    radii = expansion_radii(network, starts, paths, inputs, penalties)
    curvatures = smallest_curvatures(network, starts, inputs, cells[0].seed)
    measured = zip(cells, trained, curvatures, distances, radii, strict=True)
    return [
        Landscape(
            found if isfinite(found.value) else _alone(cell, one), Expansion(lengths, float(radius))
        )
        for cell, one, found, lengths, radius in measured
    ]


def _alone(cell: Cell, trained: Trained) -> Curvature:
    """The curvature by itself: it restarts, and says why there is none."""
    full = replica(trained.factors, 0)
    return smallest_curvature(trained.network, full, trained.train, cell.update_scale, cell.seed)

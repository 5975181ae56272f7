"""Which assumptions of the theory a trained cell meets, and by how much it misses the others."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from probes.landscape.stationarity import objective_gradient_norms
from probes.models.network import (
    Factors,
    Inputs,
    Network,
    flat_weights,
    some_replicas,
    training_loss,
    training_losses,
)
from probes.training.blocks import blocks, replicas_per_block
from probes.training.example_weights import full_sample, leave_one_out
from theory.closeness import EXPANSION_STEPS, expansion_reach

#: Replicas whose paths are looked at: evenly spaced in distance, the farthest among them.
EXPANSION_REPLICAS = 5
#: Weights, in float64, that are formed at once.
WEIGHTS_AT_ONCE = 2**20
#: Random pairs of outputs at which convexity is checked.
CONVEXITY_PAIRS = 1000


@dataclass(frozen=True)
class Audit:
    """What was found; distances and gradients are in the weights W.

    Attributes:
        gradient_norm: of the regularized loss of S at theta(S); NaN where the algorithm has no
            lambda, and so no such objective.
        gradient_norm_left_out: mean over i of the norm of the gradient of the regularized loss of
            S^i at theta(S^i), over the replicas that did not diverge; NaN as before.
        positive_semidefinite: whether the Hessian of the training loss at theta(S) is.
        distance: largest distance of theta(S^i) to theta(S) among the replicas that did not
            diverge.
        distance_mean: their mean.
        expansion_radius: how far the second-order expansion of the regularized loss (of the raw one
            without a lambda) at theta(S) is accurate to 10 %, on the path to the theta(S^i) for
            which that is least, in units of the distance to it; at most 4, where the search ends,
            and 0 if it is accurate nowhere.
        nonconvex_pairs: share of random pairs of outputs whose midpoint's loss is above their mean.
        bounded: whether the loss is bounded, by a clip.
    """

    gradient_norm: float
    gradient_norm_left_out: float
    positive_semidefinite: bool
    distance: float
    distance_mean: float
    expansion_radius: float
    nonconvex_pairs: float
    bounded: bool


@dataclass(frozen=True)
class Expansion:
    """What the paths from theta(S) to the theta(S^i) say of the second-order expansion.

    Attributes:
        distances: length of each path, (n,), float64 on the CPU; not finite where a replica, or
            that of S, diverged.
        radius: as :attr:`Audit.expansion_radius`; it says nothing where no distance is finite.
    """

    distances: Tensor
    radius: float


def audit(
    network: Network,
    factors: Factors,
    inputs: Inputs,
    *,
    update_scale: float,
    penalty_weight: float | None,
    curvature: float,
    clipped: bool,
    seed: int,
    known: Expansion | None = None,
) -> Audit:
    """Check the assumptions for the network trained on S and those trained on every S^i.

    Args:
        network: the frozen network.
        factors: of n + 1 replicas, that of S first.
        inputs: S, n examples.
        update_scale: factor of the update in the deterministic network.
        penalty_weight: lambda (2p - p^2) of the regularized loss; None where the algorithm has no
            lambda.
        curvature: smallest eigenvalue of the Hessian at theta(S), free of rounding below 0; NaN if
            it is not known.
        clipped: whether losses are clipped.
        seed: of the random pairs.
        known: what the paths say; it is measured if None.

    Returns:
        What was found. Distances are NaN, and the radius is 0, where theta(S) or all theta(S^i) are
        not finite.
    """
    expansion = known or _expansion(network, factors, inputs, update_scale, penalty_weight or 0.0)
    finite = expansion.distances[expansion.distances.isfinite()]
    at_full, left_out = _gradient_norms(network, factors, inputs, penalty_weight)
    return Audit(
        gradient_norm=at_full,
        gradient_norm_left_out=left_out,
        positive_semidefinite=curvature >= 0,
        distance=float(finite.max()) if len(finite) else float("nan"),
        distance_mean=float(finite.mean()) if len(finite) else float("nan"),
        expansion_radius=expansion.radius if len(finite) else 0.0,
        nonconvex_pairs=_nonconvex_pairs(network, inputs, seed),
        bounded=clipped,
    )


def _gradient_norms(
    network: Network, factors: Factors, inputs: Inputs, penalty_weight: float | None
) -> tuple[float, float]:
    """Norm of the objective's gradient at theta(S), and its mean over the theta(S^i)."""
    if penalty_weight is None:
        return float("nan"), float("nan")
    n = len(inputs)
    weights = torch.cat([full_sample(n), leave_one_out(n)])
    norms = objective_gradient_norms(network, factors, inputs, weights, penalty_weight)
    left_out = norms[1:][norms[1:].isfinite()]
    return float(norms[0]), float(left_out.mean()) if len(left_out) else float("nan")


def expansion_radii(
    network: Network, starts: Tensor, paths: Tensor, inputs: Inputs, penalty_weights: Tensor
) -> np.ndarray:
    """Radii of the expansion for several networks, each on its own examples, at once.

    Args:
        network: the frozen network, of all.
        starts: adapted weights theta(S) of C networks, (C, size), float64, on the device where all
            is computed.
        paths: of :func:`expansion_paths` for each, (P, C, size); rows of 0 say nothing.
        inputs: examples of the C networks beside each other, on that device.
        penalty_weights: of each, (C,); 0 where the algorithm has no lambda.

    Returns:
        As :attr:`Audit.expansion_radius` of each, (C,).
    """
    losses = training_losses(network, inputs, starts, penalty_weights.to(starts))
    position = starts.detach().requires_grad_(True)
    with torch.enable_grad():
        values = losses(position)
        (gradient,) = torch.autograd.grad(values.sum(), position, create_graph=True)
        slopes = (gradient * paths).sum(2)
        products = [
            torch.autograd.grad(of_path.sum(), position, retain_graph=True)[0] for of_path in slopes
        ]
    curvatures = (torch.stack(products) * paths).sum(2)

    @torch.no_grad()
    def change(step: float) -> np.ndarray:
        moved = torch.stack([losses(starts + step * path) for path in paths])
        return (moved - values).cpu().numpy()

    slope, curvature = (part.detach().cpu().numpy() for part in (slopes, curvatures))
    return np.min(expansion_reach(change, slope=slope, curvature=curvature), axis=0)


def expansion_paths(
    network: Network, factors: Factors, cells: int, update_scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """The paths of some cells on which the expansion is looked at, and the lengths of all.

    Args:
        network: the frozen network, of all cells.
        factors: of the n + 1 replicas of every cell, cell after cell.
        cells: C.
        update_scale: factor of all updates in the deterministic network.

    Returns:
        theta(S) of every cell, (C, size); the paths, (``EXPANSION_REPLICAS``, C, size), 0 in place
        of missing ones: both float64 where the factors are. And :attr:`Expansion.distances` of
        every cell, (C, n).
    """

    def weights(rows: slice | Tensor) -> Tensor:
        merged = network.merged_weights(some_replicas(factors, rows), update_scale=update_scale)
        return flat_weights(merged).double()

    replicas = len(factors[0][0]) // cells
    starts = weights(slice(None, None, replicas))
    together = max(1, WEIGHTS_AT_ONCE // starts.shape[1])
    lengths = [
        (weights(slice(first + some.start, first + some.stop)) - start).norm(dim=1)
        for first, start in zip(range(1, cells * replicas, replicas), starts, strict=True)
        for some in blocks(replicas - 1, together)
    ]
    distances = torch.cat(lengths).view(cells, -1).cpu()
    # Replica 0, that of S, stands for what is missing: its path is 0.
    rows = torch.zeros(cells, EXPANSION_REPLICAS, dtype=torch.int64)
    for number, of_cell in enumerate(distances):
        chosen = _looked_at(of_cell)
        rows[number, : len(chosen)] = chosen
        rows[number] += number * replicas
    ends = weights(rows.flatten().to(starts.device)).unflatten(0, (cells, -1))
    return starts, (ends - starts.unsqueeze(1)).transpose(0, 1), distances


def _looked_at(distances: Tensor) -> Tensor:
    """Numbers of the replicas whose paths are looked at, from the lengths (n,) of all paths."""
    finite = torch.nonzero(distances.isfinite() & (distances > 0))[:, 0]
    by_distance = finite[distances[finite].argsort()]
    if len(by_distance) == 0:
        return by_distance
    places = torch.linspace(0, len(by_distance) - 1, EXPANSION_REPLICAS).round().long().unique()
    return 1 + by_distance[places]


def _expansion(
    network: Network, factors: Factors, inputs: Inputs, update_scale: float, penalty_weight: float
) -> Expansion:
    """Measure the paths of one network."""
    (start,), paths, (distances,) = expansion_paths(network, factors, 1, update_scale)
    if not distances.isfinite().any():
        return Expansion(distances, 0.0)
    chosen = paths[paths.any(2)]
    radius = _expansion_radius(network, inputs, penalty_weight, start.cpu(), chosen.cpu())
    return Expansion(distances, radius)


def _expansion_radius(
    network: Network, inputs: Inputs, penalty_weight: float, start: Tensor, paths: Tensor
) -> float:
    """Smallest share of some paths within which the expansion is accurate."""
    if len(paths) == 0:
        return EXPANSION_STEPS[-1]
    loss = training_loss(network, inputs, penalty_weight)
    losses = training_losses(network, inputs, start, penalty_weight)
    slopes, curvatures = _second_order(loss, start, paths)
    value, together = loss(start).item(), replicas_per_block(network, len(inputs))
    return min(
        _least_reach(losses, value, start, paths[some], slopes[some], curvatures[some])
        for some in blocks(len(paths), together)
    )


def _second_order(
    loss: Callable[[Tensor], Tensor], point: Tensor, paths: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Slope of a loss along each of some paths (P, size), and its curvature, (P,) each."""
    position = point.clone().requires_grad_(True)
    # One graph of the gradient serves all paths.
    (gradient,) = torch.autograd.grad(loss(position), position, create_graph=True)
    slopes, curvatures = [], []
    for path in paths:
        slope = gradient @ path
        (product,) = torch.autograd.grad(slope, position, retain_graph=True)
        slopes.append(slope.item())
        curvatures.append((product @ path).item())
    return np.array(slopes), np.array(curvatures)


def _least_reach(
    losses: Callable[[Tensor], Tensor], start: float, point: Tensor, paths: Tensor,
    slopes: np.ndarray, curvatures: np.ndarray,
) -> float:  # fmt: skip
    """Least reach of the expansion along some paths, whose losses are computed together."""

    def change(step: float) -> np.ndarray:
        return (losses(point + step * paths) - start).numpy()

    return float(np.min(expansion_reach(change, slope=slopes, curvature=curvatures)))


def _nonconvex_pairs(network: Network, inputs: Inputs, seed: int) -> float:
    """Check the midpoints of pairs of random outputs against the targets of random examples."""
    ends, chosen = _random_pairs(network.outputs_count, len(inputs), seed)
    targets = inputs.targets.double().cpu()[:, chosen]
    values = network.loss.value(ends, targets)
    middle = network.loss.value(ends.mean(0), targets)
    above = middle > values.mean(0) * (1 + 1e-9) + 1e-12
    return float(above.double().mean())


# The cells of a sweep, one after the other, ask for the same.
@lru_cache(maxsize=1)
def _random_pairs(outputs: int, examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw pairs of outputs (2, outputs, pairs), float64, and the number of an example for each."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    scale = 10 * torch.rand(2, 1, CONVEXITY_PAIRS, generator=generator, dtype=torch.float64)
    ends = scale * torch.randn(
        2, outputs, CONVEXITY_PAIRS, generator=generator, dtype=torch.float64
    )
    return ends, torch.randint(examples, (CONVEXITY_PAIRS,), generator=generator)

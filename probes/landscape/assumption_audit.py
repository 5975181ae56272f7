"""Which assumptions of the theory a trained cell meets, and by how much it misses the others."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from probes.models.network import Factors, Inputs, Network, flat_weights, training_loss
from probes.training.blocks import blocks

#: Relative error of the second-order expansion up to which it counts as accurate.
EXPANSION_ERROR = 0.1
#: Steps along the path to theta(S^i) at which the expansion is looked at, in units of that path.
EXPANSION_STEPS = tuple(2.0**power for power in range(-8, 3))
#: Replicas whose paths are looked at: evenly spaced in distance, the farthest among them.
EXPANSION_REPLICAS = 5
#: Weights, in float64, that are formed at once.
WEIGHTS_AT_ONCE = 2**20
#: Random pairs of outputs at which convexity is checked.
CONVEXITY_PAIRS = 1000
#: A Hessian eigenvalue above minus this counts as not negative.
FLAT = 1e-9


@dataclass(frozen=True)
class Audit:
    """What was found; distances are in the weights W.

    Attributes:
        positive_semidefinite: whether the Hessian of the training loss at theta(S) is.
        distance: largest distance of theta(S^i) to theta(S) among the replicas that did not
            diverge.
        distance_mean: their mean.
        expansion_radius: how far the second-order expansion at theta(S) is accurate to 10 %, on the
            path to the theta(S^i) for which that is least, in units of the distance to it; at most
            4, where the search ends, and 0 if it is accurate nowhere.
        nonconvex_pairs: share of random pairs of outputs whose midpoint's loss is above their mean.
        bounded: whether the loss is bounded, by a clip.
    """

    positive_semidefinite: bool
    distance: float
    distance_mean: float
    expansion_radius: float
    nonconvex_pairs: float
    bounded: bool


def audit(
    network: Network,
    factors: Factors,
    inputs: Inputs,
    update_scale: float,
    curvature: float,
    clipped: bool,
    seed: int,
) -> Audit:
    """Check the assumptions for the network trained on S and those trained on every S^i.

    Args:
        network: the frozen network.
        factors: of n + 1 replicas, that of S first.
        inputs: S, n examples.
        update_scale: factor of the update in the deterministic network.
        curvature: smallest eigenvalue of the Hessian at theta(S); NaN if it is not known.
        clipped: whether losses are clipped.
        seed: of the random pairs.

    Returns:
        What was found. Distances are NaN, and the radius is 0, where theta(S) or all theta(S^i) are
        not finite.
    """
    paths = _Paths(network, factors, update_scale)
    distances = paths.distances()
    finite = distances.isfinite()
    known = bool(finite.any()) and bool(paths.start.isfinite().all())
    return Audit(
        positive_semidefinite=curvature >= -FLAT,
        distance=float(distances[finite].max()) if known else float("nan"),
        distance_mean=float(distances[finite].mean()) if known else float("nan"),
        expansion_radius=_expansion_radius(network, inputs, paths, distances) if known else 0.0,
        nonconvex_pairs=_nonconvex_pairs(network, inputs, seed),
        bounded=clipped,
    )


def audit_table(table: pd.DataFrame) -> pd.DataFrame:
    """Summarize the audit of many cells.

    Args:
        table: one row a cell and inference mode, with the columns ``audit_...``.

    Returns:
        One row an assumption: ``assumption``, ``found``, ``verdict``.
    """
    cells = table[table["ensemble"] == 0]
    convex = int(cells["audit_positive_semidefinite"].sum())
    near = int((cells["audit_expansion_radius"] >= 1).sum())
    pairs = cells["audit_nonconvex_pairs"].max()
    bounded = bool(cells["audit_bounded"].all())
    count = len(cells)
    return pd.DataFrame(
        [
            (
                "Hessian at θ(S) positive semidefinite",
                f"smallest eigenvalue {cells['curvature'].min():.3g} to "
                f"{cells['curvature'].max():.3g}",
                _verdict(convex, count),
            ),
            (
                "θ(S^i) within the second-order region of θ(S)",
                f"distance up to {cells['audit_distance'].max():.3g}; accurate to 10 % up to "
                f"{cells['audit_expansion_radius'].median():.3g} of the way (median)",
                _verdict(near, count),
            ),
            (
                "loss convex in the final activation",
                f"{pairs:.1%} of {CONVEXITY_PAIRS} random pairs against it",
                "holds" if pairs == 0 else "fails",
            ),
            (
                "loss bounded",
                "clipped" if bounded else f"largest seen {cells['largest_loss'].max():.3g}",
                "holds" if bounded else "not known: C is the largest seen",
            ),
        ],
        columns=["assumption", "found", "verdict"],
    )


def _verdict(held: int, count: int) -> str:
    if held == count:
        return "holds"
    return "fails" if held == 0 else f"fails in {count - held} of {count} cells"


class _Paths:
    """The paths from theta(S) to every theta(S^i), in the weights W, formed when asked for."""

    def __init__(self, network: Network, factors: Factors, update_scale: float) -> None:
        self.network, self.factors, self.update_scale = network, factors, update_scale
        (self.start,) = self._weights(slice(0, 1))

    def distances(self) -> Tensor:
        """Length of every path, (n,)."""
        rows = blocks(len(self.factors[0][0]) - 1, max(1, WEIGHTS_AT_ONCE // len(self.start)))
        found = [
            (self._weights(slice(1 + some.start, 1 + some.stop)) - self.start).norm(dim=1)
            for some in rows
        ]
        return torch.cat(found)

    def path(self, number: int) -> Tensor:
        """The path to theta(S^i) for i = ``number``."""
        return self._weights(slice(1 + number, 2 + number))[0] - self.start

    def _weights(self, rows: slice) -> Tensor:
        some = [(A[rows], B[rows]) for A, B in self.factors]
        return flat_weights(self.network.merged_weights(some, update_scale=self.update_scale))


def _expansion_radius(network: Network, inputs: Inputs, paths: _Paths, distances: Tensor) -> float:
    """Smallest share of the path to a theta(S^i) within which the expansion is accurate."""
    loss = training_loss(network, inputs)
    finite = torch.nonzero(distances.isfinite() & (distances > 0))[:, 0]
    if len(finite) == 0:
        return EXPANSION_STEPS[-1]
    by_distance = finite[distances[finite].argsort()]
    places = torch.linspace(0, len(by_distance) - 1, EXPANSION_REPLICAS).round().long().unique()
    return min(
        _accurate_up_to(loss, paths.start, paths.path(int(number)))
        for number in by_distance[places]
    )


def _accurate_up_to(loss: Callable[[Tensor], Tensor], point: Tensor, path: Tensor) -> float:
    position = point.clone().requires_grad_(True)
    value = loss(position)
    (gradient,) = torch.autograd.grad(value, position, create_graph=True)
    slope = gradient @ path
    (hessian_product,) = torch.autograd.grad(slope, position)
    first, second, start = slope.item(), (hessian_product @ path).item() / 2, value.item()
    reached = 0.0
    for step in EXPANSION_STEPS:
        change = loss(point + step * path).item() - start
        error = abs(change - step * first - step**2 * second)
        # The change may vanish by itself where first and second order cancel: so their sizes.
        if error > EXPANSION_ERROR * (abs(step * first) + abs(step**2 * second)) + 1e-12:
            break
        reached = step
    return reached


def _nonconvex_pairs(network: Network, inputs: Inputs, seed: int) -> float:
    """Check the midpoints of pairs of random outputs against the targets of random examples."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    outputs = network.outputs_count
    scale = 10 * torch.rand(2, 1, CONVEXITY_PAIRS, generator=generator, dtype=torch.float64)
    ends = scale * torch.randn(
        2, outputs, CONVEXITY_PAIRS, generator=generator, dtype=torch.float64
    )
    chosen = torch.randint(len(inputs), (CONVEXITY_PAIRS,), generator=generator)
    targets = inputs.targets.double().cpu()[:, chosen]
    values = network.loss.value(ends, targets)
    middle = network.loss.value(ends.mean(0), targets)
    above = middle > values.mean(0) * (1 + 1e-9) + 1e-12
    return float(above.double().mean())

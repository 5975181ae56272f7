"""Which replicas, and which examples, are computed together."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeGuard

from probes.models.network import Network
from probes.training.plan import Dropout, Objective, Perturbation, Training

#: Activations that a block of replicas may hold on a GPU; on a CPU the kind of network says it.
#: Constants, not properties of the machine, as the split into blocks changes the rounding of the
#: products.
CUDA_BLOCK_ACTIVATIONS = 2**28


def replica_blocks(
    network: Network, replicas: int, examples: int, training: Training, objective: Objective,
    max_replicas: int | None = None,
) -> list[slice]:  # fmt: skip
    """Cut the replicas into those that are trained together, which decides how products round.

    Args:
        network, training, objective: as for :func:`retrain`.
        replicas: R.
        examples: of the pool.
        max_replicas: largest length of a block; None for as many as
            :func:`replicas_per_block` says.

    Returns:
        Slices of ``range(replicas)``, in order, that cover it.
    """
    draws = _draws_masks(objective) or isinstance(objective, Perturbation)
    samples = training.samples if draws else 1
    fitting = replicas_per_block(network, examples, samples)
    return list(blocks(replicas, fitting if max_replicas is None else min(fitting, max_replicas)))


def replicas_per_block(network: Network, examples: int, samples: int = 1) -> int:
    """Number of replicas that are best computed together.

    Args:
        network: the frozen network; its device decides how much a block may hold.
        examples: m, that every replica is computed on.
        samples: mask pairs that are computed at once.

    Returns:
        At least 1.
    """
    return max(1, _block_activations(network) // (examples * samples * network.activations))


def examples_per_block(network: Network) -> int:
    """Number of examples that one replica is best evaluated on together, at least 1."""
    return max(1, _block_activations(network) // network.activations)


def _block_activations(network: Network) -> int:
    on_cpu = network.weights[0].device.type == "cpu"
    return network.block_activations if on_cpu else CUDA_BLOCK_ACTIVATIONS


def blocks(count: int, size: int) -> Iterator[slice]:
    """Cut ``range(count)`` into slices whose lengths differ by one at most.

    Args:
        count: at least 0.
        size: largest length of a slice, at least 1.

    Yields:
        Slices in order; none where ``count`` is 0.
    """
    pieces = -(-count // size)
    edges = [count * piece // pieces for piece in range(pieces + 1)]
    yield from (slice(*edge) for edge in pairwise(edges))


def _draws_masks(objective: Objective) -> TypeGuard[Dropout]:
    return isinstance(objective, Dropout) and objective.p > 0

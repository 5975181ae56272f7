"""Which replicas, and which examples, are computed together."""

from collections.abc import Iterator
from itertools import pairwise

from probes.models.feedforward import FeedForward
from probes.models.network import Network
from probes.training.plan import Objective, Perturbation, Training, draws_masks

#: Activations that a block of replicas may hold on a GPU; on a CPU the kind of network says it.
#: Constants, not properties of the machine, as the split into blocks changes the rounding of the
#: products.
CUDA_BLOCK_ACTIVATIONS = 2**28
#: Activations of the cells that train as one block on a CPU. Measured on digits, one thread, 1 MiB
#: of second-level cache, time of a step a cell over that of a cell alone: at n = 16 (34,816
#: activations a cell) 0.86 with 2 cells, 0.75 with 4, 0.74 with 8, 0.80 with 16; at n = 32
#: (135,168) 0.97 with 2 and 1.07 with 4; at n = 64 (532,480) 1.18 with 2, which fall out of the
#: caches.
CPU_CELLS_ACTIVATIONS = 300_000
#: Bytes: PyTorch's own allocations on a CPU begin at multiples of it.
ALIGNMENT = 64


def replica_blocks(
    network: Network, replicas: int, examples: int, training: Training, objective: Objective,
    max_replicas: int | None = None,
) -> list[slice]:  # fmt: skip
    """Cut the replicas into blocks that train together; the blocks decide how products round.

    Args:
        network, training, objective: as for :func:`retrain`.
        replicas: R.
        examples: of the pool.
        max_replicas: largest length of a block; None for as many as
            :func:`replicas_per_block` says.

    Returns:
        Slices of ``range(replicas)``, in order, that cover it.
    """
    fitting = replicas_per_block(network, examples, step_samples(training, objective))
    return list(blocks(replicas, fitting if max_replicas is None else min(fitting, max_replicas)))


def step_samples(training: Training, objective: Objective) -> int:
    """Number of mask pairs of a step.

    Args:
        training: how many it asks for.
        objective: what is minimised.

    Returns:
        N, or 1 where nothing is drawn.
    """
    draws = draws_masks(objective) or isinstance(objective, Perturbation)
    return training.samples if draws else 1


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


def cells_per_block(
    network: Network, replicas: int, examples: int, training: Training, objective: Objective
) -> int:
    """Number of cells that are best trained as one block, by :func:`retrain_cells`.

    On a CPU a cell's numbers do not depend on what is beside it: cells are trained together only
    where each begins at a multiple of ``ALIGNMENT`` bytes in all memory, as alone, since products
    round by the place of their factors. On a GPU they differ by rounding.

    Args:
        network: the frozen network; its device decides how much a block may hold.
        replicas: R, of a cell.
        examples: of a cell's pool.
        training, objective: of the cells, as for :func:`retrain`.

    Returns:
        At least 1; 1 where cells cannot be trained together.
    """
    if not isinstance(network, FeedForward) or isinstance(objective, Perturbation):
        return 1
    step_examples = min(training.batch or examples, examples)
    if _on_cpu(network) and not _begins_aligned(network, replicas, step_examples):
        return 1
    most = CPU_CELLS_ACTIVATIONS if _on_cpu(network) else CUDA_BLOCK_ACTIVATIONS
    held = replicas * examples * step_samples(training, objective) * network.activations
    return max(1, most // held)


def _begins_aligned(network: Network, replicas: int, examples: int) -> bool:
    """Whether all that is held of a cell fills whole multiples of ``ALIGNMENT`` bytes."""
    sides = {side for pair in network.sides for side in pair}
    held = [side * examples for side in sides]
    held += [replicas * network.rank * examples]
    held += [replicas * network.rank * side for side in sides]
    held += [replicas * d_in * d_out for d_in, d_out in network.sides]
    number = network.weights[0].element_size()
    return all(numbers * number % ALIGNMENT == 0 for numbers in held)


def examples_per_block(network: Network) -> int:
    """Number of examples that one replica is best evaluated on together, at least 1."""
    return max(1, _block_activations(network) // network.activations)


def _block_activations(network: Network) -> int:
    return network.block_activations if _on_cpu(network) else CUDA_BLOCK_ACTIVATIONS


def _on_cpu(network: Network) -> bool:
    return network.weights[0].device.type == "cpu"


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

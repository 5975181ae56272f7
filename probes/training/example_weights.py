"""Which examples a replica is trained on, as a matrix of example weights.

Row r of a weight matrix holds the weight of every example of the pool in replica r's loss; a row
sums to 1. Leave-one-out, leave-k-out, the bootstrap and subbags are one mechanism.
"""

import numpy as np
import torch
from torch import Tensor


def full_sample(n: int) -> Tensor:
    """Return the weights 1/n of a replica trained on all examples, (1, n), float64."""
    return torch.full((1, n), 1 / n, dtype=torch.float64)


def leave_one_out(n: int) -> Tensor:
    """Return the weights of the n replicas S^i, (n, n): 0 for example i, 1/(n-1) elsewhere.

    The mean runs over the n - 1 examples that are left (the deletion form).

    Raises:
        ValueError: n is below 2.
    """
    return leave_out([[i] for i in range(n)], n)


def leave_out(subsets: list[list[int]], n: int) -> Tensor:
    """Return the weights of replicas that each leave out a subset.

    Args:
        subsets: the examples, 0 to n - 1, that each replica does not see.
        n: size of the pool.

    Returns:
        Weights, (len(subsets), n), float64: 0 for what is left out, equal for all others.

    Raises:
        ValueError: a replica would see no example.
    """
    weights = torch.ones(len(subsets), n, dtype=torch.float64)
    for row, subset in zip(weights, subsets, strict=True):
        row[subset] = 0
    kept = weights.sum(1, keepdim=True)
    if (kept == 0).any():
        raise ValueError(f"n must be larger than the number of examples left out, got n = {n}")
    return weights / kept


def leave_k_out(n: int, k: int, replicas: int, generator: torch.Generator) -> Tensor:
    """Return the weights of replicas that each leave out k examples at random.

    Args:
        n: size of the pool.
        k: number of examples that a replica does not see, 0 to n - 1.
        replicas: number of subsets, drawn independently.
        generator: of the subsets.

    Returns:
        Weights, (replicas, n), float64.

    Raises:
        ValueError: k is n or more.
    """
    draws = [torch.randperm(n, generator=generator)[:k].tolist() for _ in range(replicas)]
    return leave_out(draws, n)


def bootstrap(n: int, replicas: int, generator: torch.Generator) -> Tensor:
    """Return the weights of replicas trained on n examples drawn with replacement.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".

    Args:
        n: size of the pool, and of every draw.
        replicas: number of draws.
        generator: of the draws.

    Returns:
        Weights, (replicas, n), float64: how often an example was drawn, divided by n.
    """
    draws = torch.randint(n, (replicas, n), generator=generator)
    counts = torch.zeros(replicas, n, dtype=torch.float64)
    return counts.scatter_add_(1, draws, torch.ones_like(draws, dtype=torch.float64)) / n


def subbags(weights: Tensor, share: float, members: int, generator: np.random.Generator) -> Tensor:
    """Draw the weights of networks on random subsets of what each replica sees.

    A network sees the examples of its replica that come first in an order of its own, common to all
    replicas: where two replicas differ in one example, so do their subsets, at most. Each is a
    uniform subset of what its replica sees, drawn as if for that replica alone.

    Args:
        weights: example weights, one replica a row, (R, m).
        share: of the examples that a network sees, in (0, 1], of the replica that sees most; a
            replica that sees fewer than that has networks that see all of them.
        members: M, networks of a replica.
        generator: of the orders.

    Returns:
        Weights, (R M, m), float64, those of a replica side by side; rows sum to 1.
    """
    seen = weights > 0
    size = max(1, round(share * int(seen.sum(1).max())))
    order = torch.from_numpy(generator.random((members, weights.shape[1])))
    places = order.unsqueeze(0).where(seen.unsqueeze(1), torch.inf).argsort(-1).argsort(-1)
    # What a replica does not see has weight 0, wherever it is.
    kept = weights.double().unsqueeze(1) * (places < size)
    return (kept / kept.sum(-1, keepdim=True)).flatten(0, 1)

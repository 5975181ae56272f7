"""Subbagging: every subset enumerated, for learners that try to be unstable and for networks.

The statement is about any algorithm, so that the hardest ones are made up: they answer 1 or 0 by
which examples a subset holds. Beside them a LoRA Dropout network is trained on every subset.
"""

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import torch

from probes.cells.cell import Cell, objective_of
from probes.cells.prepare import prepare
from probes.cells.subbagging import draw_subsets
from probes.statements.case import Case
from probes.statements.linear_losses import Array
from probes.training.retrain import retrain
from theory.soloff2024 import (
    drawn_bags_stability_bound,
    leave_one_out_changes,
    subbagging_stability_bound,
)

#: Sizes n of S and m of the subsets that are enumerated, 924 of them at most.
SIZES = ((2, 1), (4, 2), (7, 2), (9, 6), (12, 6))
#: Size of S and number of subsets where they are drawn.
DRAWN_N, DRAWN = 64, 200
#: Size of S, of which the network is trained on all 70 halves, and how.
NETWORK_N, NETWORK_STEPS = 8, 100
#: Test examples of the network.
NETWORK_POINTS = 200
STATEMENT, COMMAND = "Subbagging", "--statement subbagging"
ALL, BAGS = "all subsets", "the subsets drawn"


def memorise(bags: Array, generator: np.random.Generator) -> Array:
    """Answer 1 if the first example is there: at halves it reaches the bound.

    Args:
        bags: 1 where a subset holds an example and 0 elsewhere, (subsets, n).
        generator: of what the learner draws.

    Returns:
        The answer of a learner on every subset, 0 or 1, (subsets,).
    """
    return bags[:, 0]


def vote(bags: Array, generator: np.random.Generator) -> Array:
    """Answer 1 if more of the first half of S is there than of the second.

    With arguments as of :func:`memorise`.
    """
    half = bags.shape[1] // 2
    return (bags[:, :half].mean(1) > bags[:, half:].mean(1)).astype(np.float64)


def toss(bags: Array, generator: np.random.Generator) -> Array:
    """Answer by a coin of its own for every subset: a network that amplifies every difference.

    With arguments as of :func:`memorise`.
    """
    return generator.integers(0, 2, len(bags)).astype(np.float64)


#: Learners that answer by what is in a subset.
LEARNERS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "memoriser": memorise,
    "vote": vote,
    "coin of every subset": toss,
}


def subbagging_cases(seed: int) -> Iterator[Case]:
    """Both bounds for every learner, and where they fail.

    Args:
        seed: of what is drawn.

    Yields:
        One case a learner and size, then those outside the assumptions.
    """
    for name, learn in LEARNERS.items():
        for n, m in SIZES:
            bags, generator = all_subsets(n, m), np.random.default_rng([seed, n, m])
            measured = largest_change(learn(bags, generator), bags)
            bound = subbagging_stability_bound(n=n, m=m)
            yield _case(ALL, f"{name}, n = {n}, m = {m}", measured, float(bound))
        generator = np.random.default_rng([seed, DRAWN_N])
        drawn = draw_subsets(DRAWN_N, DRAWN_N // 2, DRAWN, generator)
        measured = largest_change(learn(drawn, generator), drawn)
        setting = f"{name}, n = {DRAWN_N}, {DRAWN} halves drawn"
        yield _case(BAGS, setting, measured, drawn_bags_stability_bound(drawn))
    yield from _outside()


def network_cases(p: float, seed: int) -> Iterator[Case]:
    """The network of breast_cancer with LoRA Dropout, trained on all halves of 8 examples.

    Args:
        p: dropout rate, in [0, 1).
        seed: of S, the start and the masks.

    Yields:
        One case: the test example whose probability changes most.
    """
    cell = Cell(
        task="breast_cancer", n=NETWORK_N, p=p, draw=0, objective="dropout", strength=None, rank=1,
        alpha=1.0, steps=NETWORK_STEPS, lr=0.03, optimizer="adam", batch=None, samples=1,
        rescale=False, warm_start=False, ensemble=(), loss_bound=None, seed=seed, device="cpu",
        dtype="float64",
    )  # fmt: skip
    ready, bags = prepare(cell), all_subsets(NETWORK_N, NETWORK_N // 2)
    weights = torch.from_numpy(bags / bags.sum(1, keepdims=True))
    points = ready.test.take(torch.arange(NETWORK_POINTS))
    with torch.no_grad():
        factors = retrain(
            ready.network, ready.train, weights, ready.start, ready.training, objective_of(cell)
        )
        outputs = ready.network.replica_outputs(factors, points, update_scale=cell.update_scale)
    measured = largest_change(outputs[:, 0].sigmoid().numpy(), bags)
    bound = float(subbagging_stability_bound(n=NETWORK_N, m=NETWORK_N // 2))
    yield _case(ALL, f"network, breast_cancer, n = {NETWORK_N}, p = {p:g}", measured, bound)


def all_subsets(n: int, m: int) -> Array:
    """All subsets of m of n examples.

    Args:
        n: number of examples.
        m: size of a subset.

    Returns:
        1 where a subset holds an example and 0 elsewhere, (subsets, n).
    """
    return np.array(
        [[i in held for i in range(n)] for held in map(set, combinations(range(n), m))], np.float64
    )


def largest_change(predictions: Array, bags: Array) -> float:
    """Root mean square change on leaving one out, at the point where it is largest.

    Args:
        predictions: of every subset's network, (subsets,) or (subsets, points).
        bags: 1 where a subset holds an example and 0 elsewhere, (subsets, n).

    Returns:
        The change, in units of the prediction.
    """
    squares = np.square(leave_one_out_changes(predictions, bags)).mean(0)
    return float(np.sqrt(squares.max()))


def _outside() -> Iterator[Case]:
    """What the bound does not say: it fails there."""
    n, m = 12, 6
    bags, bound = all_subsets(n, m), float(subbagging_stability_bound(n=n, m=m))
    one = float(np.abs(leave_one_out_changes(bags[:, 0], bags)).max())
    yield _case(ALL, f"memoriser, n = {n}, m = {m}", one, bound, failed="one example, not the mean")
    wide = largest_change(2 * bags[:, 0], bags)
    yield _case(
        ALL, f"memoriser, n = {n}, m = {m}", wide, bound, failed="values in [0, 1]: in [0, 2]"
    )
    blocks = np.repeat(np.eye(2), m, axis=1)
    two = largest_change(np.array([0.0, 1.0]), blocks)
    yield _case(ALL, f"two blocks, n = {n}, m = {m}", two, bound, failed="all subsets: two alone")


def _case(reading: str, setting: str, measured: float, bound: float, failed: str = "") -> Case:
    return Case(
        STATEMENT, reading, setting, measured, bound, ceiling=1.0, failed=failed, command=COMMAND,
        assumptions="values in [0, 1], any algorithm",
    )  # fmt: skip

"""What dropout adds to the loss of a low-rank update at every place: all masks enumerated."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from probes.statements.case import Case
from probes.statements.linear_losses import Array
from theory.arora2021 import dropout_regularizer

STATEMENT = "Dropout's regularizer"
#: Examples, inputs, rank and outputs: 2^3, 2^2 and 2^2 masks.
EXAMPLES, D_IN, RANK, D_OUT = 4, 3, 2, 2
#: Places by the arguments that say their rates.
PLACES = {
    "inputs": ("p_in",),
    "rank": ("p_rank",),
    "outputs": ("p_out",),
    "inputs and outputs": ("p_in", "p_out"),
    "all three": ("p_in", "p_rank", "p_out"),
}
#: Maps outputs (m, d_out) to losses (m,).
Loss = Callable[[Array], Array]


def place_cases(p: float, seed: int) -> Iterator[Case]:
    """The closed form against all masks, rescaled; and the logistic loss, for which it is none.

    Source: Arora, Bartlett, Mianjy & Srebro 2021 (arXiv 2003.03397); ``theory.arora2021``.

    Args:
        p: rate, in (0, 1).
        seed: of the layer.

    Yields:
        One case a place, then one outside what is assumed.
    """
    generator = np.random.default_rng([seed, 4])
    shapes = ((EXAMPLES, D_IN), (RANK, D_IN), (D_OUT, RANK), (EXAMPLES, D_OUT))
    x, A, B, targets = (generator.standard_normal(shape) for shape in shapes)

    def squared(outputs: Array) -> Array:
        return np.square(targets - outputs).sum(1)

    def logistic(outputs: Array) -> Array:
        return np.logaddexp(0, -outputs).sum(1)

    for place, names in PLACES.items():
        yield _case(place, p, seed, squared, (x, A, B), names)
    yield _case("rank", p, seed, logistic, (x, A, B), ("p_rank",), failed="not the squared loss")


def added_by_masks(
    loss: Loss, x: Array, A: Array, B: Array, *, p_in: float = 0.0, p_rank: float = 0.0,
    p_out: float = 0.0,
) -> Array:  # fmt: skip
    """What rescaled masks add to every example's loss, by enumeration of all masks.

    Args:
        loss: of outputs.
        x: inputs, (m, d_in).
        A: (r, d_in).
        B: (d_out, r).
        p_in: rate at the inputs, in [0, 1).
        p_rank: rate in the rank dimension, in [0, 1).
        p_out: rate at the outputs, in [0, 1).

    Returns:
        (m,).
    """
    places = ((x.shape[1], p_in), (len(A), p_rank), (len(B), p_out))
    total = np.zeros(len(x))
    for kept in product(*(product((0, 1), repeat=size) for size, _ in places)):
        into, rank, out = (
            np.array(one) / (1 - p) for one, (_, p) in zip(kept, places, strict=True)
        )
        chance = np.prod(
            [(1 - p) ** sum(one) * p ** (len(one) - sum(one))
             for one, (_, p) in zip(kept, places, strict=True)]
        )  # fmt: skip
        if chance > 0:
            total += chance * loss(((x * into) @ A.T * rank) @ B.T * out)
    return total - loss(x @ A.T @ B.T)


def _case(
    place: str, p: float, seed: int, loss: Loss, layer: tuple[Array, Array, Array],
    names: tuple[str, ...], failed: str = "",
) -> Case:  # fmt: skip
    (x, A, B), rates = layer, dict.fromkeys(names, p)
    added = float(added_by_masks(loss, x, A, B, **rates).mean())
    stated = float(dropout_regularizer(x, A, B, **rates).mean())
    return Case(
        STATEMENT,
        place,
        f"{'logistic loss' if failed else 'random layer'}, {D_OUT} x {D_IN}, rank {RANK}, "
        f"p = {p:g}",
        added,
        stated,
        equal=True,
        tolerance=1e-12 * max(1.0, abs(stated)),
        failed=failed,
        assumptions="all masks enumerated, rescaled; squared loss",
        command=f"--statement arora --p {p:g} --seed {seed}",
    )

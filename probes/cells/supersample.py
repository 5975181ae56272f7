"""Training on one example of each of n pairs, for many ways to choose: the supersample setting.

A supersample holds n pairs of examples. A selection U in {0, 1}^n says which example of each pair a
replica trains on; the other one is new to it. Pairs, start, masks and example order are the same
for all replicas, so that they differ in U alone.

Source of the setting: Steinke & Zakynthinou 2020, arXiv 2001.09122.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probes.cells.cell import Cell
from probes.cells.evaluation import pieces
from probes.cells.prepare import Prepared
from probes.jobs.job import Progress
from probes.models.losses import Loss
from probes.models.network import Factors, Inputs, Network
from probes.tasks import load_task
from probes.training.plan import Objective
from probes.training.retrain import retrain

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]
#: Outputs of some replicas on some examples, with the size of the ensemble, 0 for none.
Infer = Callable[[Factors, Inputs], Iterator[tuple[int, Tensor]]]


@dataclass(frozen=True)
class Supersample:
    """The examples of a draw, and the selections that replicas train on.

    Attributes:
        pairs: 2n examples; pair i holds the examples i and n + i.
        test: the rest of the data set.
        selections: U, (K, n), 0 for example i and 1 for example n + i.
    """

    pairs: Inputs
    test: Inputs
    selections: Integers

    @property
    def weights(self) -> Tensor:
        """Of the 2n examples in every replica's loss, (K, 2n), float64: 1/n where selected."""
        chosen = np.concatenate([1 - self.selections, self.selections], axis=1)
        return torch.from_numpy(chosen / self.selections.shape[1])


@dataclass(frozen=True)
class Outcome:
    """What K replicas make of m examples.

    Attributes:
        losses: (K, m), float64, not clipped; not finite where a replica diverged.
        classes: predicted, (K, m); None in regression.
        wrong: whether they are, (K, m), bool; None in regression.
    """

    losses: Reals
    classes: Integers | None
    wrong: NDArray[np.bool_] | None


def draw_supersample(cell: Cell, ready: Prepared, count: int) -> Supersample:
    """Draw the pairs and the selections of a cell.

    The pairs are the first 2n examples of the draw's order of the data set, so that the first
    example of each is the cell's own S.

    Args:
        cell: one draw; its n is the number of pairs.
        ready: of :func:`probes.cells.prepare.prepare` for this cell.
        count: K, number of selections, even.

    Returns:
        The supersample; fewer selections are the first of more, and all rates have the same.
    """
    task, n = load_task(cell.task, cell.text), cell.n
    generator = np.random.default_rng([cell.seeds()[0], 1])
    return Supersample(
        task.read(ready.network, ready.index[: 2 * n]),
        task.read(ready.network, ready.index[2 * n :]),
        balanced_selections(count, n, generator),
    )


def balanced_selections(count: int, n: int, generator: np.random.Generator) -> Integers:
    r"""Draw selections, each followed by its opposite.

    Every selection is uniform on :math:`\{0,1\}^n`, and every :math:`U_i` is 1 in exactly half of
    them. What follows from K of them (derived here):

    1. In the uniform law on these K selections :math:`U_i` is a fair coin. What ``theory`` states
       for a fair coin and any losses then holds *exactly* between the plug-in information and the
       mean gap over these selections. The mean of that gap over the draw of the selections is the
       expected gap. So a bound at plug-in information is valid in expectation for every K, whatever
       the error of the estimate.
    2. The frequencies of :math:`U_i` together with what is observed are unbiased, as each
       selection is uniform. The entropy of :math:`U_i` given what is observed is concave in them:
       by Jensen its estimate is never too large in expectation, and the information,
       :math:`\ln2` less that, never too small. Independence of the selections is not needed.

    Args:
        count: K, even.
        n: number of pairs.
        generator: of the selections.

    Returns:
        Selections, (K, n), 0 or 1.

    >>> balanced_selections(4, 3, np.random.default_rng(0)).mean(axis=0).tolist()
    [0.5, 0.5, 0.5]
    """
    half = generator.integers(2, size=(count // 2, n))
    return np.stack([half, 1 - half], axis=1).reshape(count, n)


def train_selections(
    ready: Prepared, sample: Supersample, objective: Objective, progress: Progress
) -> Factors:
    """Train one replica a selection.

    Args:
        ready: says the network, the start and how it is trained.
        sample: the pairs and the selections.
        objective: what is minimised.
        progress: told the number of replicas after every step of a block.

    Returns:
        Factors of K replicas, in the order of the selections.
    """
    return retrain(
        ready.network, sample.pairs, sample.weights, ready.start, ready.training, objective,
        checkpoint=lambda step, rows, factors: progress(rows.stop - rows.start),
    )  # fmt: skip


@torch.no_grad()
def outcomes(
    network: Network, factors: Factors, inputs: Inputs, infer: Infer
) -> Iterator[tuple[int, Outcome]]:
    """Evaluate replicas in every way of inference.

    Args:
        network: the frozen network.
        factors: of K replicas.
        inputs: m examples.
        infer: yields for some replicas and examples the size of the ensemble, 0 for none, and the
            outputs, as :func:`probes.cells.evaluation.inferred_outputs` does.

    Yields:
        The size of the ensemble, and what it makes of all examples.
    """
    found: dict[int, Outcome] = {}
    for rows, columns, some, part in pieces(network, factors, inputs):
        for size, outputs in infer(some, part):
            if size not in found:
                found[size] = _empty(network, len(factors[0][0]), len(inputs))
            losses = network.loss.value(outputs, part.targets)
            found[size].losses[rows, columns] = losses.double().cpu().numpy()
            classes, wrong = found[size].classes, found[size].wrong
            if classes is not None and wrong is not None:
                classes[rows, columns] = predicted_classes(outputs).cpu().numpy()
                wrong[rows, columns] = _wrong(network.loss, outputs, part).cpu().numpy()
    yield from found.items()


def _empty(network: Network, replicas: int, examples: int) -> Outcome:
    shape = (replicas, examples)
    if network.loss.score_name != "accuracy":
        return Outcome(np.empty(shape), None, None)
    return Outcome(np.empty(shape), np.empty(shape, np.int64), np.empty(shape, np.bool_))


def predicted_classes(outputs: Tensor) -> Tensor:
    """The class that outputs (R, k, m) predict, (R, m): 1 for a single positive output."""
    if outputs.shape[-2] == 1:
        return (outputs > 0).squeeze(-2).long()
    return outputs.argmax(-2)


def _wrong(loss: Loss, outputs: Tensor, inputs: Inputs) -> Tensor:
    # Not right, so that what is no number is wrong.
    return loss.score(outputs, inputs.targets) != 1

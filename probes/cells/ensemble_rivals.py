"""The mask ensemble beside other ensembles: who is more stable, who predicts better, at what cost.

All average the members' probabilities of the classes, which lie in [0, 1]: of such averages the
theorem about subbagging speaks. The mask ensemble is also measured as the paper has it, with
outputs averaged before the softmax.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.cells.cell import Cell, objective_of
from probes.cells.prepare import Prepared, prepare
from probes.cells.subbagging import Bags, with_replacements, without_training
from probes.jobs.job import Progress
from probes.metrics.class_probabilities import class_probabilities, labels_of
from probes.models.losses import Loss
from probes.models.network import Factors, Inputs, some_replicas
from probes.training.blocks import blocks, replicas_per_block
from probes.training.ensemble_members import ensemble_output, member_outputs
from probes.training.retrain import retrain
from theory.soloff2024 import (
    drawn_bags_stability_bound,
    leave_one_out_changes,
    subbagging_stability_bound,
)

#: The predictors that are compared, by what they are called.
SINGLE, MASKS, MASKS_OUTPUTS = "one network", "masks", "masks, outputs averaged"
SEEDS, HALVES, MANY_HALVES = "starts", "halves", "many halves"
PREDICTORS = (SINGLE, MASKS, MASKS_OUTPUTS, SEEDS, HALVES, MANY_HALVES)


@dataclass(frozen=True)
class Predictions:
    """Probabilities that a predictor trained on S (row 0), and on all S^i (row 1 + i), gives.

    Attributes:
        test: of the labels of the test examples, (n + 1, m).
        train: of the labels of S, (n + 1, n).
        classes: of all classes of the test examples, by the predictor trained on S, (classes, m).
    """

    test: Tensor
    train: Tensor
    classes: Tensor


def compared_replica_steps(cell: Cell, members: int, bags: int) -> int:
    """Size of the work of :func:`measure_rivals`, in optimizer steps of one network.

    Args:
        cell: one draw of S at one rate.
        members: N.
        bags: networks of the large ensemble.

    Returns:
        The number of steps.
    """
    return cell.steps * (members * (cell.n + 1) + members * (1 + cell.n // 2) + bags)


@torch.no_grad()
def measure_rivals(
    cell: Cell, members: int, bags: int, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Train the rivals on S and on all S^i, and measure them.

    Args:
        cell: one draw of S at one rate, of a task with classes.
        members: N, of every ensemble but the large one.
        bags: networks of the large ensemble, each trained on half of S. Of both halves of these
            networks some must leave out each example.
        progress: told the number of replicas after every step of a block.

    Yields:
        One record a predictor: ``predictor`` (one of ``PREDICTORS``), ``members``, ``networks``
        (that are trained for it), ``test_loss``, ``test_score`` (accuracy), ``train_loss``,
        ``change`` (root mean square, over examples that are left out and test examples, of the
        change of the probability of the test label), ``change_largest`` (that of the test example
        where it is largest) and ``beta`` (mean change of the left-out example's loss). Of the large
        ensemble also ``change_all`` (estimate of ``change`` for all halves, without the noise of
        the draw), ``bound`` and ``bound_drawn`` (of ``change_largest``, for all halves and for
        those drawn); NaN for the others. Numbers are NaN where a network diverged.
    """
    ready = prepare(cell)
    generator = np.random.default_rng([cell.seed, cell.draw, members, bags])
    factors = _train(cell, ready, ready.weights, ready.start, cell.seeds()[2], progress)
    single = _predictions(ready, *_expected(cell, ready, factors))
    yield _record(ready, SINGLE, 1, 1, single)
    # Without masks all members are the one network: equal to the last bit, not up to rounding.
    masked = _mean(_masked(cell, ready, factors, members)) if cell.p else single
    yield _record(ready, MASKS, members, 1, masked)
    averaged = _outputs_averaged(cell, ready, factors, members) if cell.p else single
    yield _record(ready, MASKS_OUTPUTS, members, 1, averaged)
    starts = (_other_start(cell, ready, number, progress) for number in range(1, members))
    yield _record(ready, SEEDS, members, members, _mean(chain([single], starts)))
    few = with_replacements(cell.n, members, generator)
    yield _record(
        ready, HALVES, members, members, _averaged(few, *_of_bags(cell, ready, few, progress))
    )
    many = without_training(cell.n, bags, generator)
    parts = _of_bags(cell, ready, many, progress)
    yield _record(ready, MANY_HALVES, bags, bags, _averaged(many, *parts)) | {
        "change_all": _change_without_noise(parts[0].numpy(), many.inside),
        "bound": subbagging_stability_bound(n=cell.n, m=cell.n // 2),
        "bound_drawn": drawn_bags_stability_bound(many.inside),
    }


def _record(
    ready: Prepared, predictor: str, members: int, networks: int, predicted: Predictions
) -> dict[str, Any]:
    squares = (predicted.test[1:] - predicted.test[0]).square().mean(0)
    kept, left_out = -predicted.train[0].log(), -predicted.train[1:].diagonal().log()
    known = bool(predicted.classes.isfinite().all())
    right = (predicted.classes.argmax(0) == labels_of(ready.test.targets.cpu())).double()
    return {
        "predictor": predictor,
        "members": members,
        "networks": networks,
        "test_loss": float(-predicted.test[0].log().mean()),
        "test_score": float(right.mean()) if known else float("nan"),
        "train_loss": float(kept.mean()),
        "change": float(squares.mean().sqrt()),
        "change_largest": float(squares.max().sqrt()),
        "beta": float((left_out - kept).abs().mean()),
        "change_all": float("nan"),
        "bound": float("nan"),
        "bound_drawn": float("nan"),
    }


def _train(
    cell: Cell, ready: Prepared, weights: Tensor, start: Factors, seed: int, progress: Progress
) -> Factors:
    return retrain(
        ready.network, ready.train, weights, start, replace(ready.training, seed=seed),
        objective_of(cell), checkpoint=lambda step, rows, factors: progress(rows.stop - rows.start),
    )  # fmt: skip


def _expected(cell: Cell, ready: Prepared, factors: Factors) -> tuple[Tensor, Tensor]:
    """Outputs of the expected-weight networks on test and training examples."""
    test, train = (
        ready.network.replica_outputs(factors, inputs, update_scale=cell.update_scale)
        for inputs in (ready.test, ready.train)
    )
    return test, train


def _masked(cell: Cell, ready: Prepared, factors: Factors, members: int) -> Iterator[Predictions]:
    """The masked networks, one after the other."""
    test, train = (
        member_outputs(
            ready.network, factors, inputs, members, p=cell.p, seed=cell.seeds()[2],
            rescale=cell.rescale,
        )
        for inputs in (ready.test, ready.train)
    )  # fmt: skip
    return (_predictions(ready, *pair) for pair in zip(test, train, strict=True))


def _outputs_averaged(cell: Cell, ready: Prepared, factors: Factors, members: int) -> Predictions:
    test, train = (
        ensemble_output(
            ready.network, factors, inputs, members, p=cell.p, seed=cell.seeds()[2],
            rescale=cell.rescale,
        )
        for inputs in (ready.test, ready.train)
    )  # fmt: skip
    return _predictions(ready, test, train)


def _other_start(cell: Cell, ready: Prepared, number: int, progress: Progress) -> Predictions:
    """A network from another start, with other masks, on S and on all S^i."""
    words = np.random.SeedSequence([cell.seed, cell.draw, number]).generate_state(2, np.uint64)
    start = ready.network.initial_factors(torch.Generator().manual_seed(int(words[0])))
    factors = _train(cell, ready, ready.weights, start, int(words[1]), progress)
    return _predictions(ready, *_expected(cell, ready, factors))


def _of_bags(
    cell: Cell, ready: Prepared, bags: Bags, progress: Progress
) -> tuple[Tensor, Tensor, Tensor]:
    """Train on the bags.

    Returns:
        Probabilities of the labels of the test examples, (networks, m), and of S, (networks, n),
        and of all classes of the test examples, averaged as for the predictor of S, (classes, m).
    """
    weights = torch.from_numpy(bags.weights)
    factors = _train(cell, ready, weights, ready.start, cell.seeds()[2], progress)
    first, test, train = torch.from_numpy(bags.mixing[0]), [], []
    classes = torch.tensor(0.0, dtype=torch.float64)
    # All classes of all networks at once would be large.
    for rows in blocks(len(weights), replicas_per_block(ready.network, len(ready.test))):
        outputs = _expected(cell, ready, some_replicas(factors, rows))
        found = _probabilities(ready.network.loss, outputs[0])
        test.append(_of_labels(found, ready.test))
        classes = classes + torch.einsum("r,rcm->cm", first[rows], found)
        train.append(_of_labels(_probabilities(ready.network.loss, outputs[1]), ready.train))
    return torch.cat(test), torch.cat(train), classes


def _averaged(bags: Bags, test: Tensor, train: Tensor, classes: Tensor) -> Predictions:
    mixing = torch.from_numpy(bags.mixing)
    return Predictions(mixing @ test, mixing @ train, classes)


def _change_without_noise(predictions: np.ndarray, inside: np.ndarray) -> float:
    """Root of the mean product of the changes that two halves of the bags find; NaN if negative.

    The two halves are drawn independently, so their noise averages out of the product.
    """
    if not np.isfinite(predictions).all():
        return float("nan")
    parts = (slice(0, len(inside) // 2), slice(len(inside) // 2, None))
    one, other = (leave_one_out_changes(predictions[part], inside[part]) for part in parts)
    square = float((one * other).mean())
    return float(np.sqrt(square)) if square >= 0 else float("nan")


def _predictions(ready: Prepared, test: Tensor, train: Tensor) -> Predictions:
    """Probabilities by the outputs of the networks of S and of all S^i."""
    found = _probabilities(ready.network.loss, test)
    on_train = _probabilities(ready.network.loss, train)
    return Predictions(_of_labels(found, ready.test), _of_labels(on_train, ready.train), found[0])


def _probabilities(loss: Loss, outputs: Tensor) -> Tensor:
    """Of the classes, (R, classes, m), float64 on the CPU."""
    return class_probabilities(loss, outputs.double().cpu())


def _of_labels(probabilities: Tensor, inputs: Inputs) -> Tensor:
    """Probabilities of the labels, (R, m), of those of all classes, (R, classes, m)."""
    labels = labels_of(inputs.targets.cpu())
    return probabilities[:, labels, torch.arange(len(labels))]


def _mean(members: Iterable[Predictions]) -> Predictions:
    """Average the probabilities of the members."""
    count, test, train, classes = 0, *[torch.tensor(0.0, dtype=torch.float64)] * 3
    for one in members:
        count += 1
        test, train, classes = test + one.test, train + one.train, classes + one.classes
    return Predictions(test / count, train / count, classes / count)

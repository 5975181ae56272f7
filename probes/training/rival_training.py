"""Training and prediction of every method of ``probes.training.rivals``, for all replicas at once.

All randomness of a method is common to the replicas, as in :func:`probes.training.retrain.retrain`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from probes.jobs.validation import check_one_of
from probes.models.encoder import Tokens
from probes.models.feedforward import Columns
from probes.models.losses import Loss, cross_entropy, logistic
from probes.models.network import Factors, Inputs, Network, one_after_another, replica
from probes.training.blocks import blocks, replicas_per_block
from probes.training.ensemble_members import ensemble_output
from probes.training.example_masks import ExampleMasks
from probes.training.example_weights import subbags
from probes.training.factor_noise import FactorNoise
from probes.training.hidden_key import HiddenKey
from probes.training.plan import Dropout, Objective, Training
from probes.training.retrain import Checkpoint, retrain
from probes.training.rivals import RIVALS, Rival
from probes.training.whole_adapters import CoTo, ModuleDropout


@dataclass(frozen=True)
class Run:
    """One training: the arguments of :func:`train_rival`."""

    network: Network
    inputs: Inputs
    weights: Tensor
    start: Factors
    training: Training
    rival: Rival
    checkpoint: Checkpoint
    pieces: Sequence[slice] | None

    def retrain(self, objective: Objective | None = None) -> Factors:
        """Train by :func:`retrain`."""
        return retrain(
            self.network, self.inputs, self.weights, self.start, self.training,
            objective or Dropout(0.0), checkpoint=self.checkpoint, pieces=self.pieces,
        )  # fmt: skip


def train_rival(
    network: Network,
    inputs: Inputs,
    weights: Tensor,
    start: Factors,
    training: Training,
    rival: Rival,
    *,
    checkpoint: Checkpoint = lambda step, rows, factors: None,
    pieces: Sequence[slice] | None = None,
) -> Factors:
    """Train every replica by a method.

    Args:
        network, inputs, weights, start: as for :func:`retrain`.
        training: how; its ``samples`` and ``weight_decay`` are the method's own, and of its steps
            ``rival.steps`` are taken.
        rival: the method and its strength.
        checkpoint, pieces: as for :func:`retrain`.

    Returns:
        The trained factors, as of :func:`retrain`, and so that :func:`rival_outputs` reads them,
        which holds for those that ``checkpoint`` gets as well. Of a method with several networks,
        those of a replica lie side by side: (R members, ...).

    Raises:
        ValueError: the method does not apply to the network, or returns other factors than it hands
            to ``checkpoint`` after the last step: these are what is measured.
    """
    reason = obstacle(network, rival.name)
    if reason:
        raise ValueError(reason)
    training = replace(
        training, samples=rival.method.samples, weight_decay=0.0, steps=rival.steps(training.steps)
    )
    handed = _Handed(checkpoint, training.steps)
    run = Run(network, inputs, weights, start, training, rival, handed, pieces)
    factors = TRAINERS[rival.method.rule](run)
    if pieces is None or any(rows.start == 0 for rows in pieces):
        handed.check(rival.name, factors)
    return factors


class _Handed:
    """What a method hands to its checkpoint, of which the last of the first replica is kept."""

    def __init__(self, checkpoint: Checkpoint, steps: int) -> None:
        self.checkpoint, self.steps = checkpoint, steps
        self.last: Factors | None = None

    def __call__(self, step: int, rows: slice, factors: Factors) -> None:
        """Pass on; arguments as of ``Checkpoint``."""
        if step == self.steps and rows.start == 0:
            self.last = [(A.clone(), B.clone()) for A, B in replica(factors, 0)]
        self.checkpoint(step, rows, factors)

    def check(self, name: str, factors: Factors | None) -> None:
        """Refuse factors that are changed after the last step, and a method without that step."""
        if self.last is None or factors is None or not _same(self.last, factors):
            raise ValueError(
                f"{name} must return the factors that it hands to checkpoint after its "
                f"{self.steps} steps: those are what is measured"
            )


def _same(first: Factors, factors: Factors) -> bool:
    """Whether the first replica's factors are these; what diverged is the same where both did."""
    kept, given = [[factor for pair in some for factor in pair] for some in (first, factors)]
    return len(kept) == len(given) and all(
        one.shape == other[:1].shape
        and torch.allclose(one, other[:1].to(one), rtol=0, atol=0, equal_nan=True)
        for one, other in zip(kept, given, strict=True)
    )


@torch.no_grad()
def rival_outputs(
    network: Network, factors: Factors, inputs: Inputs, rival: Rival, *, seed: int
) -> Tensor:
    """Predict as the method does.

    Args:
        network: the frozen network.
        factors: of :func:`train_rival`.
        inputs: m examples.
        rival: the method and its strength.
        seed: of the masks of an ensemble.

    Returns:
        Outputs before the softmax, (R, k, m); those of several networks are averaged.
    """
    method = rival.method
    if method.inference == "ensemble of masks":
        return ensemble_output(
            network, factors, inputs, method.masked_members, p=rival.strength, seed=seed,
            rescale=method.rescale,
        )  # fmt: skip
    outputs = network.replica_outputs(factors, inputs, update_scale=rival.update_scale)
    if method.members == 1:
        return outputs
    return outputs.unflatten(0, (-1, method.members)).mean(1)


def _weight_decay(run: Run) -> Factors:
    training = replace(run.training, weight_decay=run.rival.strength)
    return replace(run, training=training).retrain()


def _smaller_rank(run: Run) -> Factors:
    """Train with the components that are left out held at zero."""
    rank = run.rival.rank(run.network.rank)
    # A row of zeros in A and a column of zeros in B have no gradient.
    start = []
    for A, B in run.start:
        A, B = A.clone(), B.clone()
        A[:, rank:], B[:, :, rank:] = 0, 0
        start.append((A, B))
    return replace(run, start=start).retrain()


def _label_smoothing(run: Run) -> Factors:
    assert isinstance(run.inputs, Columns | Tokens)
    targets = smooth(run.network.loss, run.inputs.targets, run.rival.strength)
    return replace(run, inputs=replace(run.inputs, targets=targets)).retrain()


def _subbag(run: Run) -> Factors:
    members = run.rival.method.members
    generator = np.random.default_rng([run.training.seed, members])
    weights = subbags(run.weights, 1 - run.rival.strength, members, generator)
    return _train_members(run, weights, run.start)


def _seeds(run: Run) -> Factors:
    members, count = run.rival.method.members, len(run.weights)
    words = np.random.SeedSequence([run.training.seed, members]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(words[0]))
    starts = [run.start] + [run.network.initial_factors(generator) for _ in range(1, members)]
    start = [(A.repeat(count, 1, 1), B.repeat(count, 1, 1)) for A, B in one_after_another(starts)]
    return _train_members(run, run.weights.repeat_interleave(members, 0), start)


def _train_members(run: Run, weights: Tensor, start: Factors) -> Factors:
    """Train several networks a replica, side by side and in the same block."""
    members = run.rival.method.members
    pieces = run.pieces
    if pieces is None:
        fitting = replicas_per_block(run.network, len(run.inputs)) // members
        pieces = list(blocks(len(run.weights), max(1, fitting)))

    def checkpoint(step: int, rows: slice, factors: Factors) -> None:
        run.checkpoint(step, slice(rows.start // members, rows.stop // members), factors)

    return replace(
        run, weights=weights, start=start, checkpoint=checkpoint,
        pieces=[slice(rows.start * members, rows.stop * members) for rows in pieces],
    ).retrain()  # fmt: skip


def smooth(loss: Loss, targets: Tensor, strength: float) -> Tensor:
    """Smooth the labels of a task with classes.

    Source: Szegedy et al. 2016, arXiv 1512.00567, Section 7.

    Args:
        loss: cross-entropy, or logistic with one output and two classes.
        targets: one-hot, (k, m), or of class 1, (1, m).
        strength: probability that is spread evenly over all classes, in [0, 1).

    Returns:
        Targets of the same shape.

    >>> smooth(cross_entropy, torch.tensor([[1.0], [0.0]]), 0.25).tolist()
    [[0.875], [0.125]]
    """
    classes = len(targets) if loss is cross_entropy else 2
    return (1 - strength) * targets + strength / classes


def obstacle(network: Network, name: str) -> str:
    """Say why a method does not apply to a network; empty where it does.

    A method that would be plain LoRA under another name does not.

    Args:
        network: with updates of the rank of plain LoRA.
        name: of the method, one of ``RIVALS``.

    Returns:
        One sentence.

    Raises:
        ValueError: the method's rule is none that trains.
    """
    method, loss = RIVALS[name], network.loss
    check_one_of(f"rule of {name}", method.rule, tuple(TRAINERS))
    if method.classes and loss not in (cross_entropy, logistic):
        return f"{name} needs a task with classes, and the loss of this one is {loss.name}"
    if method.rule == "smaller rank" and network.rank == 1:
        return f"{name} needs a rank of at least 2, and it is 1"
    if method.rule == "CoTo" and network.depth == 1:
        return f"{name} needs two adapted layers, of which one is always active, and there is one"
    if method.rule == "HiddenKey" and len(network.sides) == 1:
        return f"{name} needs a hidden layer, and there is none"
    return ""


#: By the rules of the methods.
TRAINERS: dict[str, Callable[[Run], Factors]] = {
    "LoRA": lambda run: run.retrain(),
    "LoRA Dropout": lambda run: run.retrain(Dropout(run.rival.strength, run.rival.method.rescale)),
    "inputs": lambda run: run.retrain(ExampleMasks("inputs", run.rival.strength)),
    "rank": lambda run: run.retrain(ExampleMasks("rank", run.rival.strength)),
    "module dropout": lambda run: run.retrain(ModuleDropout(run.rival.strength)),
    "CoTo": lambda run: run.retrain(CoTo(1 - run.rival.strength)),
    "HiddenKey": lambda run: run.retrain(HiddenKey(run.rival.strength)),
    "noise": lambda run: run.retrain(FactorNoise(run.rival.strength)),
    "weight decay": _weight_decay,
    "smaller rank": _smaller_rank,
    "label smoothing": _label_smoothing,
    "subbag": _subbag,
    "seeds": _seeds,
}

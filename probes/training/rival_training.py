"""Training and prediction of every method of ``probes.training.rivals``, for all replicas at once.

All randomness of a method is common to the replicas, as in :func:`probes.training.retrain.retrain`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from probes.models.network import Factors, Inputs, Network
from probes.training.ensemble_members import ensemble_output
from probes.training.plan import Dropout, Training
from probes.training.retrain import Checkpoint, retrain
from probes.training.rivals import Rival


@dataclass(frozen=True)
class Run:
    """What is trained and how: the arguments of :func:`train_rival`."""

    network: Network
    inputs: Inputs
    weights: Tensor
    start: Factors
    training: Training
    rival: Rival
    checkpoint: Checkpoint
    pieces: Sequence[slice] | None

    def retrain(self, objective: Dropout | None = None) -> Factors:
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
    """
    training = replace(
        training, samples=rival.method.samples, weight_decay=0.0, steps=rival.steps(training.steps)
    )
    run = Run(network, inputs, weights, start, training, rival, checkpoint, pieces)
    return TRAINERS[rival.method.rule](run)


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


def _plain(run: Run) -> Factors:
    return run.retrain()


def _lora_dropout(run: Run) -> Factors:
    return run.retrain(Dropout(run.rival.strength, run.rival.method.rescale))


def _weight_decay(run: Run) -> Factors:
    training = replace(run.training, weight_decay=run.rival.strength)
    return replace(run, training=training).retrain()


def _smaller_rank(run: Run) -> Factors:
    """Train with the components that are left out held at zero."""
    rank = max(1, round(run.network.rank * (1 - run.rival.strength)))
    # A row of zeros in A and a column of zeros in B have no gradient.
    start = []
    for A, B in run.start:
        A, B = A.clone(), B.clone()
        A[:, rank:], B[:, :, rank:] = 0, 0
        start.append((A, B))
    return replace(run, start=start).retrain()


#: By the rules of the methods.
TRAINERS: dict[str, Callable[[Run], Factors]] = {
    "LoRA": _plain,
    "LoRA Dropout": _lora_dropout,
    "weight decay": _weight_decay,
    "smaller rank": _smaller_rank,
    "early stopping": _plain,
    "shrinking": _plain,
}

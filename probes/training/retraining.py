"""What is trained together: the replicas of one cell, from their start."""

from dataclasses import dataclass

from torch import Tensor

from probes.models.network import Factors, Inputs
from probes.training.plan import Objective, Training


@dataclass(frozen=True)
class Retraining:
    """Replicas of one cell, from their start.

    Attributes:
        inputs: the m examples of the pool.
        weights: example weights, one replica a row, (R, m); a row sums to 1.
        start: one replica's factors, A (1, r, d_in) and B (1, d_out, r), the start of all; or those
            of every replica, (R, ...).
        training: how.
        objective: what is minimised.
    """

    inputs: Inputs
    weights: Tensor
    start: Factors
    training: Training
    objective: Objective

"""How replicas are trained, and what they minimise: plain values."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeGuard, get_args

import numpy as np

from lora_dropout.masks import MaskKind

if TYPE_CHECKING:
    from probes.models.network import Factors, Masks, Network
    from probes.training.gradients import ObjectiveGradient

Optimizer = Literal["adam", "sgd"]


OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)


@dataclass(frozen=True)
class Training:
    """How every replica is trained.

    Attributes:
        steps: number of optimizer steps.
        lr: learning rate.
        optimizer: Adam or SGD, with PyTorch's defaults.
        batch: examples a step; all if None.
        samples: mask pairs a step, N of the training objective.
        weight_decay: of the factors, decoupled from the gradient (AdamW): a step multiplies them
            by 1 - lr * weight_decay.
        seed: seed of the masks and of the example order.
    """

    steps: int
    lr: float
    optimizer: Optimizer = "adam"
    batch: int | None = None
    samples: int = 1
    weight_decay: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Dropout:
    """The real algorithm: masks at rate p in every step, with or without rescaling.

    Masks of another kind have the same mean: see ``lora_dropout.masks``.
    """

    p: float
    rescale: bool = False
    kind: MaskKind = "bernoulli"


@dataclass(frozen=True)
class Penalty:
    """The theorem's setting: penalty_weight * ||update||^2 is added to the loss; no masks.

    ``penalty_weight`` is lambda (2p - p^2) in the symbols of arXiv 2404.09610, Section 4.
    """

    penalty_weight: float


class Perturbation(ABC):
    """Any other perturbation of the network in training.

    The kinds are in ``example_masks``, ``whole_adapters``, ``factor_noise`` and ``hidden_key``.
    """

    @abstractmethod
    def draw(self, network: "Network", training: Training, examples: int) -> "Sequence[Masks]":
        """Draw what every step perturbs with, the same for all replicas.

        Args:
            network: the frozen network.
            training: how it is trained; equal seeds draw alike.
            examples: m, of a step.

        Returns:
            For every step one pair of tensors a layer, the N samples first.
        """

    @abstractmethod
    def gradient(
        self,
        network: "Network",
        factors: "Factors",
        gradient: "Factors",
        *,
        samples: int,
        examples: int,
    ) -> "ObjectiveGradient":
        """Return what computes the gradient under the perturbation.

        Args:
            network, factors, gradient, samples: as for ``ObjectiveGradient``.
            examples: m, of a step.
        """


Objective = Dropout | Penalty | Perturbation


def penalty_weight_of(objective: Objective) -> float:
    """Weight of ||update||^2 in the objective, 0 for none."""
    return objective.penalty_weight if isinstance(objective, Penalty) else 0.0


def steps_in_even_ratios(steps: int, count: int) -> list[int]:
    """Return the steps after which networks are looked at, evenly spaced in the logarithm.

    Args:
        steps: of the training, the last of them.
        count: how many, 1 among them; where several round to the same there are fewer.
    """
    return sorted(set(np.geomspace(1, steps, count).round().astype(int).tolist()))


def draws_masks(objective: Objective) -> TypeGuard[Dropout]:
    """Whether the objective draws LoRA Dropout's masks: at rate 0 there are none to draw."""
    return isinstance(objective, Dropout) and objective.p > 0

"""How replicas are trained, and what they minimise: plain values."""

from dataclasses import dataclass
from typing import Literal, get_args

from lora_dropout.masks import MaskKind

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


Objective = Dropout | Penalty

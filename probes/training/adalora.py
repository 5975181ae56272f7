r"""AdaLoRA's update :math:`P\,\Lambda\,Q`: its regularizer and the allocation of its ranks.

Everything here broadcasts over leading dimensions, which stand for replicas. LoRA Dropout puts its
masks on Q's input columns and P's output rows: with :math:`A = Q` and :math:`B = P\Lambda` that is
:func:`lora_dropout.functional.mask_factors`.

Source: Zhang et al. 2023, arXiv 2303.10512 ("the paper" in this file).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from probes.jobs.amounts import how_many

#: Standard deviation of the initial P and Q, as in the authors' code and in PEFT.
INITIAL_SPREAD = 0.02


class Triplets(NamedTuple):
    """One layer's factors.

    Attributes:
        P: (..., d_out, r).
        values: the diagonal of Lambda, (..., r).
        Q: (..., r, d_in).
    """

    P: Tensor
    values: Tensor
    Q: Tensor


def initial_triplets(rank: int, d_in: int, d_out: int, generator: torch.Generator) -> Triplets:
    """Draw normal P and Q, and Lambda = 0, so that the update is zero.

    Args:
        rank: r, number of triplets.
        d_in, d_out: of the layer.
        generator: of P and Q.

    Returns:
        P (d_out, r), Lambda's diagonal (r,) and Q (r, d_in), float32, on the CPU.
    """

    def normal(rows: int, columns: int) -> Tensor:
        drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float32)
        return INITIAL_SPREAD * drawn

    values = torch.zeros(rank, dtype=torch.float32)
    return Triplets(normal(d_out, rank), values, normal(rank, d_in))


def as_factors(triplets: Triplets) -> tuple[Tensor, Tensor]:
    """Return A = Q and B = P Lambda, whose product B A is the update."""
    return triplets.Q, triplets.P * triplets.values.unsqueeze(-2)


def orthogonality(triplets: Triplets) -> Tensor:
    r"""Return :math:`\|P^\top P - I\|_F^2 + \|Q Q^\top - I\|_F^2`, of the leading shape.

    It is 0 where P's columns and Q's rows are orthonormal, so that Lambda holds singular values.

    Source: the paper, Eq. 4.

    >>> float(orthogonality(Triplets(torch.eye(3)[:, :2], torch.ones(2), torch.eye(2, 4))))
    0.0
    """
    one = torch.eye(triplets.P.shape[-1], dtype=triplets.P.dtype, device=triplets.P.device)
    products = (triplets.P.mT @ triplets.P, triplets.Q @ triplets.Q.mT)
    return torch.stack([(product - one).square().sum((-2, -1)) for product in products]).sum(0)


@dataclass(frozen=True)
class BudgetSchedule:
    """How many triplets stay, over all layers, at each step.

    Source: the paper, Eq. 12: a constant budget, a cubic descent, and the target at the end.

    Attributes:
        initial, target: numbers of triplets, target <= initial.
        steps: T, of the whole training.
        warmup: steps before the first triplet goes.
        final: steps at the target, without further descent.
    """

    initial: int
    target: int
    steps: int
    warmup: int
    final: int

    def __post_init__(self) -> None:
        if not 1 <= self.target <= self.initial:
            raise ValueError(f"target must lie in [1, {self.initial}], got {self.target}")
        if not 0 <= self.warmup <= self.steps - self.final <= self.steps:
            raise ValueError(
                f"warmup and final must fit into {how_many(self.steps, 'step')}, "
                f"got {self.warmup} and {self.final}"
            )

    def __call__(self, step: int) -> int:
        """Return the number of triplets that stay after step 1, 2, ...

        >>> schedule = BudgetSchedule(initial=24, target=16, steps=100, warmup=10, final=20)
        >>> [schedule(step) for step in (1, 10, 45, 80, 100)]
        [24, 24, 17, 16, 16]
        """
        if step <= self.warmup:
            return self.initial
        if step >= self.steps - self.final:
            return self.target
        left = 1 - (step - self.warmup) / (self.steps - self.final - self.warmup)
        return int((self.initial - self.target) * left**3 + self.target)


class RankAllocator:
    r"""Keeps the triplets that matter most and sets the singular values of the others to zero.

    The sensitivity of a weight is :math:`|w\,\partial L/\partial w|`; its moving average times the
    moving average of its deviation from that is the weight's importance; a triplet's is that of its
    singular value plus the mean over its column of P plus the mean over its row of Q.

    Source: the paper, Eqs. 7 to 10 and Algorithm 1. A triplet whose value was set to zero goes on
    being trained, and may come back, until in the final steps the allocation is fixed.

    Args:
        schedule: the budget.
        sensitivity_memory, uncertainty_memory: beta_1 and beta_2 of the moving averages, in (0, 1).
    """

    def __init__(
        self,
        schedule: BudgetSchedule,
        sensitivity_memory: float = 0.85,
        uncertainty_memory: float = 0.85,
    ) -> None:
        self.schedule = schedule
        self.memories = (sensitivity_memory, uncertainty_memory)
        self._averages: list[list[tuple[Tensor, Tensor]]] = []
        self._kept: list[Tensor] = []

    @torch.no_grad()
    def step(self, step: int, layers: Sequence[Triplets], gradients: Sequence[Triplets]) -> None:
        """Take note of a step's gradients and set singular values to zero, in place.

        Args:
            step: 1, 2, ...; the optimizer has just taken it.
            layers: the triplets of every layer, after the step.
            gradients: of what is minimised, laid out as ``layers``.
        """
        if step <= self.schedule.steps - self.schedule.final:
            self._remember(layers, gradients)
            budget = self.schedule(step)
            self._kept = self._largest(budget) if budget < self.schedule.initial else []
        for triplets, kept in zip(layers, self._kept, strict=bool(self._kept)):
            triplets.values.mul_(kept)

    def ranks(self, layers: Sequence[Triplets]) -> Tensor:
        """Number of singular values that are not zero, (layers, ...)."""
        return torch.stack([triplets.values.ne(0).sum(-1) for triplets in layers])

    def importance(self) -> list[Tensor]:
        """Importance of every layer's triplets, (..., r)."""
        scores = []
        for averages in self._averages:
            P, values, Q = (sensitivity * spread for sensitivity, spread in averages)
            scores.append(values + P.mean(-2) + Q.mean(-1))
        return scores

    def _remember(self, layers: Sequence[Triplets], gradients: Sequence[Triplets]) -> None:
        if not self._averages:
            self._averages = [
                [(torch.zeros_like(part), torch.zeros_like(part)) for part in triplets]
                for triplets in layers
            ]
        first, second = self.memories
        for triplets, slopes, averages in zip(layers, gradients, self._averages, strict=True):
            for part, slope, (sensitivity, spread) in zip(triplets, slopes, averages, strict=True):
                now = (part * slope).abs()
                sensitivity.lerp_(now, 1 - first)
                spread.lerp_((now - sensitivity).abs(), 1 - second)

    def _largest(self, budget: int) -> list[Tensor]:
        """Which triplets are among the ``budget`` most important of all layers, (..., r) each."""
        scores = self.importance()
        together = torch.cat(scores, dim=-1)
        # By place and not by a threshold, which ties would exceed.
        places = together.topk(budget, dim=-1).indices
        kept = torch.zeros_like(together).scatter_(-1, places, 1.0)
        return list(kept.split([score.shape[-1] for score in scores], dim=-1))

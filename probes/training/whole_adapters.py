"""Dropping whole adapters: at a pass, an adapted layer runs without its update.

A dropped adapter is a mask of zeros on all columns of A, and one that stays a mask of ones: the
masks are those of LoRA Dropout's product, and so is the gradient.
"""

import math
from dataclasses import dataclass

import numpy as np

from lora_dropout.masks import LayerShape, draw_masks
from probes.models.network import Factors, Masks, Network
from probes.training.gradients import ObjectiveGradient, objective_gradient
from probes.training.plan import Perturbation, Training
from probes.training.step_masks import StepMasks

#: Share of the training in which CoTo raises the probability that an adapter is active.
COTO_STAGE = 0.75


class WholeAdapters(Perturbation):
    """Whole adapters dropped in a pass; what stays is not rescaled."""

    def active(self, network: Network, training: Training, step: int) -> list[bool]:
        """Draw which adapters are active.

        Args:
            network: whose layers are adapted.
            training: its seed draws.
            step: number of the step, from 0.

        Returns:
            Whether each of the layers is, in order.
        """
        raise NotImplementedError

    def draw(self, network: Network, training: Training, examples: int) -> StepMasks:
        """Draw the masks of every step.

        Args:
            network, training, examples: as for :meth:`Perturbation.draw`.

        Returns:
            One pair a layer: zeros where the adapter is dropped and ones elsewhere,
            (1, 1, 1, d_in), and ones, (1, 1, 1, d_out).
        """

        def of_step(step: int) -> Masks:
            active = self.active(network, training, step)
            new = network.weights[0].new_full
            return [
                (new((1, 1, 1, d_in), float(here)), new((1, 1, 1, d_out), 1.0))
                for here, (d_in, d_out) in zip(active, network.sides, strict=True)
            ]

        return StepMasks(training.steps, of_step)

    def gradient(
        self, network: Network, factors: Factors, gradient: Factors, *, samples: int, examples: int
    ) -> ObjectiveGradient:
        """Return the masked gradient; arguments as of :meth:`Perturbation.gradient`."""
        return objective_gradient(network, factors, gradient, samples=samples, examples=examples)


@dataclass(frozen=True)
class ModuleDropout(WholeAdapters):
    """Every adapter is dropped at a constant rate, independently of the others.

    Source: ``module_dropout`` of kohya-ss/sd-scripts (``networks/lora.py``) and of PEFT's LoHa and
    LoKr: a layer returns the frozen output with probability p. Neither rescales.

    Attributes:
        p: dropout rate, in [0, 1).
    """

    p: float

    def active(self, network: Network, training: Training, step: int) -> list[bool]:
        """Draw which adapters are active, as in :meth:`WholeAdapters.active`."""
        shape = LayerShape(1, 0, self.p, 0.0)
        return [
            bool(draw_masks(shape, seed=training.seed, step=step, layer=layer)[0][0])
            for layer in range(len(network.sides))
        ]


@dataclass(frozen=True)
class CoTo(WholeAdapters):
    """Adapters are active with a probability that rises to 1.

    It rises linearly over the first ``COTO_STAGE`` of the training, and stays at 1. The adapters of
    one transformer layer are dropped together, and at least one layer is always active: draws
    without any are drawn again.

    Source: Zhuang et al. 2025, arXiv 2506.05713, and the scheduler in the README of
    github.com/zwebzone/coto, whose first probability is 0.1.

    Attributes:
        initial: probability that an adapter is active in the first step, in (0, 1].
    """

    initial: float

    def probability(self, training: Training, step: int) -> float:
        """Probability that an adapter is active.

        Args:
            training: its steps are those of the schedule.
            step: number of the step, from 0.

        Returns:
            The probability, in (0, 1].

        >>> plan = Training(steps=100, lr=0.1)
        >>> [round(CoTo(0.1).probability(plan, step), 2) for step in (0, 25, 75, 99)]
        [0.1, 0.4, 1.0, 1.0]
        """
        end = math.ceil(training.steps * COTO_STAGE)
        return min(1.0, self.initial + (1 - self.initial) * step / end)

    def active(self, network: Network, training: Training, step: int) -> list[bool]:
        """Draw which adapters are active, as in :meth:`WholeAdapters.active`."""
        probability = self.probability(training, step)
        generator = np.random.default_rng([training.seed, step])
        while not (drawn := generator.random(network.depth) <= probability).any():
            pass
        return [bool(here) for here in drawn.repeat(len(network.sides) // network.depth)]

"""Gaussian noise on A in every pass."""

from dataclasses import dataclass

import torch

from lora_dropout.masks import LayerShape
from probes.models.network import Factors, Inputs, Masks, Network
from probes.training.gradients import ObjectiveGradient, objective_gradient
from probes.training.plan import Perturbation, Training
from probes.training.step_masks import StepMasks, draw_entries


@dataclass(frozen=True)
class FactorNoise(Perturbation):
    """Every pass reads A + E in the place of A, E with independent normal entries of mean 0.

    The simplest form, of fixed variance, of two Bayesian parametrizations of A:

    - BLoB (arXiv 2406.11675; github.com/Wang-ML-Lab/bayesian-peft, ``modelwrappers/blob.py``)
      learns a standard deviation for every entry, flips signs of the noise for every token
      (Flipout) and adds a KL divergence from a prior; it may predict by the mean (its N = 0).
    - MonteCLoRA (arXiv 2411.04358, read in abstract; its code is PEFT's
      ``tuners/lora/monteclora.py``) averages several draws with learned covariance and weights,
      adds a KL divergence, and predicts without noise.

    Here the deviation is fixed, one draw is common to all examples of a pass, and nothing is added
    to the loss.

    Attributes:
        spread: standard deviation of the noise, in units of that of LoRA's initial A,
            1 / sqrt(3 d_in); at least 0.
    """

    spread: float

    def draw(self, network: Network, training: Training, examples: int) -> StepMasks:
        """Draw the noise of every step.

        Args:
            network, training, examples: as for :meth:`Perturbation.draw`.

        Returns:
            One pair a layer: the noise on A, (1, 1, r, d_in), and an empty tensor.
        """

        def of_step(step: int) -> Masks:
            pairs = []
            for layer, (d_in, _) in enumerate(network.sides):
                # Rescaled Gaussian masks of rate 1/2 have mean 1 and standard deviation 1.
                shape = LayerShape(network.rank * d_in, 0, 0.5, 0.0, "gaussian")
                mask, unused = draw_entries(
                    network, shape, seed=training.seed, step=step, layer=layer
                )
                noise = self.spread / (3 * d_in) ** 0.5 * (mask - 1)
                pairs.append((noise.view(1, 1, network.rank, d_in), unused))
            return pairs

        return StepMasks(training.steps, of_step)

    def gradient(
        self, network: Network, factors: Factors, gradient: Factors, *, samples: int, examples: int
    ) -> ObjectiveGradient:
        """Return the gradient at noisy factors; arguments as of :meth:`Perturbation.gradient`."""
        return NoisyGradient(network, factors, gradient, samples=samples, examples=examples)


class NoisyGradient(ObjectiveGradient):
    """The gradient at A + E and B, which is that of the noisy loss in A and in B.

    Args:
        network, factors, gradient, samples: as for :class:`ObjectiveGradient`.
        examples: m, of a step.
    """

    def __init__(
        self, network: Network, factors: Factors, gradient: Factors, *, samples: int, examples: int
    ) -> None:
        super().__init__(network, factors, gradient, samples=samples)
        self.noisy = [(torch.empty_like(A), B) for A, B in factors]
        self.at_noisy = objective_gradient(
            network, self.noisy, gradient, samples=samples, examples=examples
        )
        ones = network.weights[0].new_ones
        self.ones = [(ones(1, 1, 1, d_in), ones(1, 1, 1, d_out)) for d_in, d_out in network.sides]

    def feed(self, inputs: Inputs, weights: torch.Tensor) -> None:
        """Take examples and weights, as in :meth:`ObjectiveGradient.feed`."""
        self.at_noisy.feed(inputs, weights)

    def write(self, masks: Masks) -> None:
        """Write the gradient under the noise of a step."""
        for (A, _), (noisy, _), (noise, _) in zip(self.factors, self.noisy, masks, strict=True):
            torch.add(A, noise[0], out=noisy)
        self.at_noisy.write(self.ones)

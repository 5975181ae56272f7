"""HiddenKey: dropout of hidden representations, and two passes that must agree."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lora_dropout.masks import LayerShape
from probes.models.feedforward import FeedForward
from probes.models.losses import Loss, logistic
from probes.models.network import Factors, Masks, Network
from probes.training.gradients import FeedForwardGradient, ObjectiveGradient, relu_gradient
from probes.training.plan import Perturbation, Training
from probes.training.step_masks import StepMasks, draw_entries

#: Weight of the bidirectional divergence of the two passes.
AGREEMENT = 1.0


@dataclass(frozen=True)
class HiddenKey(Perturbation):
    """Entries of hidden representations dropped for every example, in two passes a step.

    Masks are divided by 1 - p and fall on the output of every hidden layer, after its activation:
    on what the frozen weights read as well as on what the updates read. The loss is the mean of
    those of the passes plus ``AGREEMENT`` times half the sum of the Kullback-Leibler divergences of
    each pass's classes from the other's.

    Source: Wang et al. 2024, arXiv 2403.00812, of which the abstract and summaries could be read:
    HiddenKey drops columns of attention logits and elements of hidden representations and adds a
    bidirectional KL loss. The networks here have no attention, so that the first has no place; the
    divergence is R-Drop's (arXiv 2106.14448), and its weight is chosen here.

    Attributes:
        p: dropout rate, in [0, 1).
    """

    p: float

    def draw(self, network: Network, training: Training, examples: int) -> StepMasks:
        """Draw a mask for the output of every layer but the last, (2, 1, d_out, m).

        Args:
            network, training, examples: as for :meth:`Perturbation.draw`.

        Returns:
            The masks as the first of a pair; that of the last layer, and all second ones, are
            empty.
        """

        def of_step(step: int) -> Masks:
            pairs = []
            last = len(network.sides) - 1
            for layer, (_, d_out) in enumerate(network.sides):
                width = d_out if layer < last else 0
                mask, unused = draw_entries(
                    network, LayerShape(width * examples, 0, self.p, 0.0), seed=training.seed,
                    step=step, layer=layer, samples=2,
                )  # fmt: skip
                pairs.append((mask.view(2, 1, width, examples), unused))
            return pairs

        return StepMasks(training.steps, of_step)

    def gradient(
        self, network: Network, factors: Factors, gradient: Factors, *, samples: int, examples: int
    ) -> ObjectiveGradient:
        """Return the written-out gradient."""
        assert isinstance(network, FeedForward)
        return HiddenKeyGradient(network, factors, gradient, samples=samples, examples=examples)


class HiddenKeyGradient(FeedForwardGradient):
    """Of a feed-forward network whose hidden representations are masked, in two passes.

    Args:
        network, *tensors, **sizes: arguments of :class:`FeedForwardGradient`.
    """

    def __init__(self, network: FeedForward, *tensors: Any, **sizes: Any) -> None:
        super().__init__(network, *tensors, **sizes)
        one = network.weights[0].new_ones(1, 1, 1, 1)
        for layer in self.maps:
            layer.hold_masks(*[one.expand(2, 1, 1, side) for side in layer.weight.shape[::-1]])
        self.hidden_masks: list[Tensor] = []
        self.divergence = torch.empty_like(self.grad)

    def write(self, masks: Masks) -> None:
        """Write the gradient at the factors as they are, under the masks of two passes."""
        self.hidden_masks = [mask for mask, _ in masks[:-1]]
        self._forward()
        self.loss.gradient(self.outputs, self.targets, self.grad)
        outputs = self.outputs.unflatten(0, (2, -1))
        apart = divergence_gradient(self.loss, outputs, outputs.flip(0))
        self.grad_by_sample.add_(apart, alpha=AGREEMENT)
        self.grad_by_sample.mul_(self.weights)
        self._backward()

    def _forward(self) -> None:
        *hidden, last = self.maps
        for layer, mask in zip(hidden, self.hidden_masks, strict=True):
            layer.forward()
            layer.output.relu_().unflatten(0, (2, -1)).mul_(mask)
        last.forward()

    def _backward(self) -> None:
        pairs = zip(self.maps[:-1], self.maps[1:], self.hidden_masks, strict=True)
        for below, layer, mask in reversed(list(pairs)):
            layer.backward()
            grad = below.output_gradient
            layer.input_gradient(grad)
            # What was dropped is 0, as what the activation cut off: neither has a gradient.
            relu_gradient(grad, below.output, 0, grad_input=grad)
            grad.unflatten(0, (2, -1)).mul_(mask)
        self.maps[0].backward()


def divergence_gradient(loss: Loss, outputs: Tensor, others: Tensor) -> Tensor:
    r"""Gradient in the outputs of :math:`KL(P \| Q) + KL(Q \| P)`, P and Q the classes' laws.

    With :math:`P = \mathrm{softmax}(z)` and :math:`l = \log P - \log Q` it is
    :math:`P (l - \sum_c P_c l_c) + P - Q`; of two classes with one output, whose law has
    :math:`P_1 = \sigma(z)`, it is :math:`P_1 (1 - P_1) (z - z') + P_1 - Q_1`. Derived here.

    Args:
        loss: cross-entropy or logistic.
        outputs: z, before the softmax, (..., k, m).
        others: of Q, of the same shape.

    Returns:
        The gradient, of the same shape, with Q held.
    """
    if loss is logistic:
        p, q = outputs.sigmoid(), others.sigmoid()
        return p * (1 - p) * (outputs - others) + p - q
    log_p, log_q = outputs.log_softmax(-2), others.log_softmax(-2)
    p, ratio = log_p.exp(), log_p - log_q
    return p * (ratio - (p * ratio).sum(-2, keepdim=True)) + p - log_q.exp()

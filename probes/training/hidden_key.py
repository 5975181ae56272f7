"""HiddenKey: dropout of hidden representations, and two passes that must agree."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lora_dropout.masks import LayerShape
from probes.models.encoder import Encoder, LayerMasks, Tokens
from probes.models.feedforward import FeedForward
from probes.models.losses import Loss, logistic
from probes.models.network import Factors, Masks, Network
from probes.training.gradients import (
    AutogradGradient,
    FeedForwardGradient,
    ObjectiveGradient,
    relu_gradient,
)
from probes.training.plan import Perturbation, Training
from probes.training.step_masks import StepMasks, draw_entries

#: Weight of the bidirectional divergence of the two passes.
AGREEMENT = 1.0


@dataclass(frozen=True)
class HiddenKey(Perturbation):
    """Entries of hidden representations dropped for every example, in two passes a step.

    Masks are divided by 1 - p. In a feed-forward network they fall on the output of every hidden
    layer, after its activation: on what the frozen weights read as well as on what the updates
    read. In a transformer they fall on the output of every adapted layer's feed-forward block, and
    every adapted layer drops attention logits by columns: a key, for all queries and heads. The
    loss is the mean of those of the passes plus ``AGREEMENT`` times half the sum of the
    Kullback-Leibler divergences of each pass's classes from the other's.

    Source: Wang et al. 2024, arXiv 2403.00812, of which the abstract and summaries could be read:
    HiddenKey drops columns of attention logits and elements of hidden representations and adds a
    bidirectional KL loss. The divergence is R-Drop's (arXiv 2106.14448). Its weight, one mask of
    keys for all heads, and one rate for keys and representations are chosen here.

    Attributes:
        p: dropout rate, in [0, 1).
    """

    p: float

    def draw(self, network: Network, training: Training, examples: int) -> StepMasks:
        """Draw the masks of both passes.

        Args:
            network, training, examples: as for :meth:`Perturbation.draw`.

        Returns:
            Of a feed-forward network one pair a layer, the mask of its output, (2, 1, d_out, m),
            which is empty for the last layer, and an empty one. Of an encoder one pair a
            transformer layer: of the feed-forward block, (2, m, tokens, d), and of the keys,
            (2, m, tokens).
        """
        sides: list[tuple[tuple[int, ...], tuple[int, ...]]]
        if isinstance(network, Encoder):
            tokens = (2, examples, network.tokens)
            width = network.head.shape[1]
            sides = [((*tokens, width), tokens)] * len(network.layers)
        else:
            hidden = [(2, 1, d_out, examples) for _, d_out in network.sides[:-1]]
            sides = [(shape, (2, 0)) for shape in [*hidden, (2, 1, 0, examples)]]

        def of_step(step: int) -> Masks:
            pairs = []
            for layer, (first, second) in enumerate(sides):
                numbers = [torch.Size(shape[1:]).numel() for shape in (first, second)]
                drawn = draw_entries(
                    network, LayerShape(numbers[0], numbers[1], self.p, self.p),
                    seed=training.seed, step=step, layer=layer, samples=2,
                )  # fmt: skip
                pairs.append((drawn[0].view(first), drawn[1].view(second)))
            return pairs

        return StepMasks(training.steps, of_step)

    def gradient(
        self, network: Network, factors: Factors, gradient: Factors, *, samples: int, examples: int
    ) -> ObjectiveGradient:
        """Choose the gradient: arguments as of :meth:`Perturbation.gradient`.

        Returns:
            The written-out gradient of a feed-forward network, of others autograd's.
        """
        if not isinstance(network, FeedForward):
            return EncoderHiddenKeyGradient(network, factors, gradient, samples=samples)
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


class EncoderHiddenKeyGradient(AutogradGradient):
    """Of an encoder, by automatic differentiation.

    Args:
        network, factors, gradient, samples: as for :class:`AutogradGradient`.
    """

    network: Encoder

    def write(self, masks: Masks) -> None:
        """Write the gradient at the factors as they are, under the masks of two passes."""
        assert isinstance(self.inputs, Tokens)
        leaves = [
            (A.detach().requires_grad_(), B.detach().requires_grad_()) for A, B in self.factors
        ]
        with torch.enable_grad():
            maps = self.network.low_rank_maps(leaves, self.inputs)
            passes = []
            for number in range(2):
                dropped = [LayerMasks(hidden[number], keys[number] > 0) for hidden, keys in masks]
                passes.append(self.network.mapped_outputs(maps, self.inputs, dropped=dropped))
        outputs = torch.stack(passes).detach()
        slopes = self.loss.gradient(outputs, self.targets, None)
        slopes = slopes + AGREEMENT * divergence_gradient(self.loss, outputs, outputs.flip(0))
        found = torch.autograd.grad(
            passes, [factor for pair in leaves for factor in pair], list(slopes * self.weights)
        )
        for written, new in zip((g for pair in self.gradient for g in pair), found, strict=True):
            written.copy_(new)


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

"""Masks that every example has of its own, on what the update reads or on its rank.

A layer computes W0 x + (alpha / r) B (n * A (m * x)): ``m`` masks the input of the update, as
PEFT's ``lora_dropout`` does, and ``n`` its rank, as DropLoRA does. The frozen product reads x as it
is. Both are products with one more factor, which the written-out gradient carries.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lora_dropout.masks import LayerShape
from probes.models.encoder import Encoder, Tokens
from probes.models.feedforward import FeedForward
from probes.models.network import Factors, Masks, Network
from probes.training.gradients import AutogradGradient, FeedForwardGradient, ObjectiveGradient
from probes.training.plan import Perturbation, Training
from probes.training.replica_maps import LowRank
from probes.training.step_masks import StepMasks, draw_entries


@dataclass(frozen=True)
class ExampleMasks(Perturbation):
    """Dropout of entries of what the update reads, or of its rank, for every example anew.

    In a transformer every token has masks of its own. Every adapted layer draws its own masks,
    which are divided by 1 - p, so that their expectation is 1.

    Source of "inputs": PEFT's ``lora.Linear``, ``lora_B(lora_A(dropout(x)))`` with
    ``dropout = nn.Dropout(lora_dropout)``. Source of "rank": DropLoRA (arXiv 2508.17337) and its
    code, ``lora_B(inner_dropout(lora_A(x)))`` with ``inner_dropout = nn.Dropout(p)``.

    Attributes:
        place: of the masks.
        p: dropout rate, in [0, 1).
    """

    place: Literal["inputs", "rank"]
    p: float

    def draw(self, network: Network, training: Training, examples: int) -> StepMasks:
        """Draw one mask a layer, laid out as what it masks.

        Args:
            network, training, examples: as for :meth:`Perturbation.draw`.

        Returns:
            Masks (1, d_in or r, m) of a feed-forward network; (1, m, tokens, d_in) or
            (1, r, m, tokens) of an encoder. The second of a pair is empty.
        """

        def of_step(step: int) -> Masks:
            pairs = []
            for layer, (d_in, _) in enumerate(network.sides):
                sides = self._sides(network, d_in, examples)
                shape = LayerShape(torch.Size(sides).numel(), 0, self.p, 0.0)
                mask, unused = draw_entries(
                    network, shape, seed=training.seed, step=step, layer=layer
                )
                pairs.append((mask.view(1, *sides), unused))
            return pairs

        return StepMasks(training.steps, of_step)

    def _sides(self, network: Network, d_in: int, examples: int) -> tuple[int, ...]:
        width = d_in if self.place == "inputs" else network.rank
        if not isinstance(network, Encoder):
            return (width, examples)
        tokens = (examples, network.tokens)
        return (*tokens, width) if self.place == "inputs" else (width, *tokens)

    def gradient(
        self, network: Network, factors: Factors, gradient: Factors, *, samples: int, examples: int
    ) -> ObjectiveGradient:
        """Choose the gradient: arguments as of :meth:`Perturbation.gradient`.

        Returns:
            The written-out gradient of a feed-forward network, of others autograd's.
        """
        if isinstance(network, FeedForward):
            kind = MaskedInputGradient if self.place == "inputs" else MaskedRankGradient
            return kind(network, factors, gradient, samples=samples, examples=examples)
        return EncoderGradient(
            network, factors, gradient, samples=samples, attribute=MASK_ATTRIBUTES[self.place]
        )


#: Where an encoder's maps hold the masks.
MASK_ATTRIBUTES = {"inputs": "input_mask", "rank": "rank_mask"}


class MaskedInputMap(LowRank):
    """A low-rank map whose update reads a masked input; one mask sample.

    Args:
        *tensors, **sizes: arguments of :class:`LowRank`.
    """

    def __init__(self, *tensors: Any, **sizes: Any) -> None:
        super().__init__(*tensors, **sizes)
        examples = self.output.shape[-1]
        leading = () if self.common else (len(self.A),)
        self.masked = self.A.new_empty(*leading, self.weight.shape[1], examples)

    def hold_masks(self, mask_in: Tensor, mask_out: Tensor) -> None:
        """Take the mask of the next pass.

        Args:
            mask_in: of the input, (1, d_in, m).
            mask_out: empty.
        """
        one = mask_in.new_ones(1, 1, 1, 1)
        super().hold_masks(one, one)
        self.input_mask = mask_in[0]

    def forward(self) -> None:
        """Write the output: of the frozen map at the input, of the update at what is left of it."""
        torch.mul(self.input, self.input_mask, out=self.masked)
        self.read, self.read_T = self.masked, self.masked.mT
        super().forward()

    def input_gradient(self, out: Tensor) -> None:
        """Write the gradient in the input; arguments as of :meth:`ReplicaMap.input_gradient`."""
        torch.bmm(self.frozen_each_T, self.output_gradient, out=out)
        # The masked input was last read by `backward`.
        torch.bmm(self.A_each_T, self.hidden_gradient, out=self.masked)
        out.addcmul_(self.masked, self.input_mask)


class MaskedRankMap(LowRank):
    """A low-rank map with a mask on A x; one mask sample.

    Args:
        *tensors, **sizes: arguments of :class:`LowRank`.
    """

    def hold_masks(self, mask_in: Tensor, mask_out: Tensor) -> None:
        """Take the mask of the next pass.

        Args:
            mask_in: of A x, (1, r, m).
            mask_out: empty.
        """
        one = mask_in.new_ones(1, 1, 1, 1)
        super().hold_masks(one, one)
        self.rank_mask = mask_in

    def mask_hidden(self, hidden: Tensor) -> None:
        """Mask A x, or its gradient, (R, r, m), in place."""
        hidden.mul_(self.rank_mask)


class MaskedInputGradient(FeedForwardGradient):
    """Of a feed-forward network with masks on the inputs of its updates.

    Args:
        *tensors, **sizes: arguments of :class:`FeedForwardGradient`.
    """

    @staticmethod
    def map_kind(*sizes: Any, **flags: Any) -> type[LowRank]:
        """Return the map of every layer; arguments as of :func:`cheaper_map`."""
        return MaskedInputMap


class MaskedRankGradient(FeedForwardGradient):
    """Of a feed-forward network with masks on A x.

    Args:
        *tensors, **sizes: arguments of :class:`FeedForwardGradient`.
    """

    @staticmethod
    def map_kind(*sizes: Any, **flags: Any) -> type[LowRank]:
        """Return the map of every layer; arguments as of :func:`cheaper_map`."""
        return MaskedRankMap


class EncoderGradient(AutogradGradient):
    """Of an encoder with masks that every token has of its own, by automatic differentiation.

    Args:
        network, factors, gradient, samples: as for :class:`AutogradGradient`.
        attribute: of the maps, that takes the masks.
    """

    network: Encoder

    def __init__(
        self,
        network: Network,
        factors: Factors,
        gradient: Factors,
        *,
        samples: int,
        attribute: str,
    ) -> None:
        super().__init__(network, factors, gradient, samples=samples)
        self.attribute = attribute

    def outputs_of(self, factors: Factors, drawn: Masks) -> Tensor:
        """Compute outputs under masks of tokens, as in :meth:`AutogradGradient.outputs_of`."""
        assert isinstance(self.inputs, Tokens)
        maps = self.network.low_rank_maps(factors, self.inputs)
        for adapted, (mask, _) in zip(maps, drawn, strict=True):
            setattr(adapted, self.attribute, mask)
        return self.network.mapped_outputs(maps, self.inputs)

"""Where masks fall: LoRA Dropout's rows and columns, and other places at the same sparsity.

Each place drops an entry of the update with the same probability s = 2p - p^2 ("inputs": an entry
of what the update reads), so that they differ in structure alone. Other kinds of masks have the
same mean there and, except for kind "mean", the same variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from lora_dropout.functional import mask_factors
from lora_dropout.masks import LayerShape, MaskKind, stack_masks
from probes.models.feedforward import FeedForward
from probes.models.network import Factors, Network
from theory import sparsity

Place = Literal["both", "columns of A", "rows of B", "rank", "entries", "inputs"]
PLACES: tuple[Place, ...] = get_args(Place)
#: Why a place is left out where :func:`is_left_out` finds that.
WHY_LEFT_OUT: dict[Place, str] = {
    "rank": "of rank 1 and with one output it is rows of B",
    "entries": "with one output they are columns of A",
    "inputs": "they need a feed-forward network",
}


@dataclass(frozen=True)
class Dropping:
    """A place and a rate.

    Source: arXiv 2404.09610, Eq. 2 ("both").

    Attributes:
        place: "both" (LoRA Dropout: A's input columns and B's output rows, each at rate p),
            "columns of A" or "rows of B" alone, "rank" (components of the rank dimension),
            "entries" (independent entries of the update), or "inputs" (entries of what the update
            reads, independently for every example, as ``nn.Dropout`` on the input does).
        p: the rate of "both"; the other places drop at 2p - p^2.
        rescale: whether masks are divided by their mean.
        kind: of the masks.
    """

    place: Place
    p: float
    rescale: bool = False
    kind: MaskKind = "bernoulli"

    @property
    def sparsity(self) -> float:
        """Probability 2p - p^2 that Bernoulli masks drop an entry of the update."""
        return float(sparsity(self.p))

    @property
    def expected_mask(self) -> float:
        """Factor of the update in the deterministic network."""
        return 1.0 if self.rescale else 1 - self.sparsity

    def draw(
        self, network: Network, examples: int, *, step: int, sample: int, seed: int
    ) -> "list[Drawn]":
        """Draw the masks of one forward pass.

        Equal arguments give equal masks.

        Args:
            network: the frozen network.
            examples: m, of the pass; it matters for the place "inputs" alone.
            step: number of the step, from 0.
            sample: number of the mask sample within the step.
            seed: of the masks.

        Returns:
            One a layer, the same for all replicas.
        """
        pairs = []
        for layer, sides in enumerate(network.sides):
            shape = self._shape(*sides, network.rank, examples)
            masks = stack_masks(
                shape, seed=seed, steps=[step], layer=layer, samples=range(sample, sample + 1),
                rescale=self.rescale,
            )  # fmt: skip
            first, second = (mask[0, 0].to(network.weights[0]) for mask in masks)
            pairs.append(Drawn(self.place, first, second))
        return pairs

    def _shape(self, d_in: int, d_out: int, rank: int, examples: int) -> LayerShape:
        if self.place == "both":
            return LayerShape(d_in, d_out, self.p, self.p, self.kind)
        s = self.sparsity
        if self.place in ("columns of A", "rows of B"):
            columns = self.place == "columns of A"
            rates = (s, 0.0) if columns else (0.0, s)
            return LayerShape(d_in, d_out, *rates, self.kind)
        size = {"rank": rank, "entries": d_out * d_in, "inputs": d_in * examples}[self.place]
        return LayerShape(size, 0, s, 0.0, self.kind)


@dataclass(frozen=True)
class Drawn:
    """One layer's masks.

    Attributes:
        place: where they fall.
        first: of A's columns, (d_in,); or of "rank", (r,), "entries", (d_out d_in,), or "inputs",
            (d_in m,).
        second: of B's rows, (d_out,); empty where ``first`` is all there is.
    """

    place: Place
    first: Tensor
    second: Tensor

    def update(self, A: Tensor, B: Tensor) -> Tensor:
        """Return the masked product B A of R replicas; of place "inputs", without a mask.

        Args:
            A: (R, r, d_in).
            B: (R, d_out, r).

        Returns:
            Updates, (R, d_out, d_in), not multiplied by alpha / r.
        """
        if self.place == "rank":
            return (B * self.first) @ A
        if self.place == "entries":
            return (B @ A) * self.first.view(B.shape[-2], A.shape[-1])
        if self.place == "inputs":
            return B @ A
        A, B = mask_factors(A, B, self.first, self.second)
        return B @ A

    def input_mask(self, d_in: int) -> Tensor:
        """Mask of what the update reads, (d_in, examples), where the place is "inputs"."""
        return self.first.view(d_in, -1)


def is_left_out(network: Network, place: Place) -> bool:
    """Whether masks at a place are those at another one, or cannot be drawn.

    Args:
        network: the frozen network.
        place: of the masks.
    """
    if place == "inputs":
        return not isinstance(network, FeedForward)
    one_output = all(d_out == 1 for _, d_out in network.sides)
    return one_output and (place == "entries" or (place == "rank" and network.rank == 1))


def masked_outputs(
    network: Network, factors: Factors, inputs: Any, drawn: Sequence[Drawn]
) -> Tensor:
    """Compute the outputs of R networks under the masks.

    Args:
        network: the frozen network.
        factors: of R replicas.
        inputs: m examples.
        drawn: masks of one place, one a layer.

    Returns:
        Outputs, (R, k, m).

    Raises:
        TypeError: masks on inputs, and a network that is not feed-forward.
    """
    updates = [
        network.scaling * mask.update(A, B) for mask, (A, B) in zip(drawn, factors, strict=True)
    ]
    if drawn[0].place != "inputs":
        merged = [weight + update for weight, update in zip(network.weights, updates, strict=True)]
        return network.outputs(merged, inputs)
    masks = [mask.input_mask(d_in) for mask, (d_in, _) in zip(drawn, network.sides, strict=True)]
    if not isinstance(network, FeedForward):
        raise TypeError("masks on inputs need a feed-forward network")
    return network.outputs_with_masked_inputs(updates, masks, inputs)

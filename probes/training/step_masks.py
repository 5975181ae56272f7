"""Masks or noise of a step, drawn when the step is taken: those of all steps may be large."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lora_dropout.masks import LayerShape, stack_masks
from probes.models.network import Masks, Network

#: Bytes of masks that a training keeps, as its next block of replicas needs the same masks.
KEPT_BYTES = 2**26


class StepMasks(Sequence[Masks]):
    """The masks of every step, one pair of tensors a layer.

    Masks of the first steps are kept, up to ``KEPT_BYTES``; the others are drawn again.

    Args:
        steps: number of steps.
        draw: from the number of a step, from 0, to its masks; equal numbers give equal masks.
    """

    def __init__(self, steps: int, draw: Callable[[int], Masks]) -> None:
        self.steps, self.draw = steps, draw
        self.kept: dict[int, Masks] = {}
        self.left = KEPT_BYTES

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: Any) -> Any:
        """Draw the masks of one step, given by its number."""
        if not 0 <= step < self.steps:
            raise IndexError(step)
        if step in self.kept:
            return self.kept[step]
        drawn = self.draw(step)
        self.left -= sum(mask.nbytes for pair in drawn for mask in pair)
        if self.left >= 0:
            self.kept[step] = drawn
        return drawn


def draw_entries(
    network: Network, shape: LayerShape, *, seed: int, step: int, layer: int, samples: int = 1
) -> tuple[Tensor, Tensor]:
    """Draw rescaled masks of any numbers of entries by the one schedule of all masks.

    Source of the schedule: :func:`lora_dropout.masks.draw_masks`.

    Args:
        network: on whose device and in whose dtype the masks are.
        shape: numbers and rates of the entries of the two masks, and their kind.
        seed: seed of the run.
        step: optimizer step, from 0.
        layer: number of the layer.
        samples: N.

    Returns:
        Masks divided by their mean, (N, d_in) and (N, d_out).
    """
    drawn = stack_masks(
        shape, seed=seed, steps=[step], layer=layer, samples=range(samples), rescale=True
    )
    first, second = (mask[0].to(network.weights[0]) for mask in drawn)
    return first, second

"""The masks of a training, for all layers of a network."""

from collections.abc import Sequence

from lora_dropout.masks import LayerShape, stack_masks
from probes.models.network import Masks, Network
from probes.training.blocks import _draws_masks
from probes.training.plan import Objective, Training


def draw_steps(
    network: Network,
    p: float,
    steps: Sequence[int],
    samples: range,
    seed: int,
    rescale: bool = False,
) -> list[Masks]:
    """Draw the masks of many steps, one pair a layer for every step, on the network's device."""
    layers = []
    for layer, (d_in, d_out) in enumerate(network.sides):
        pair = stack_masks(
            LayerShape(d_in, d_out, p, p),
            seed=seed,
            steps=steps,
            layer=layer,
            samples=samples,
            rescale=rescale,
        )
        placed = [mask.to(network.weights[0])[:, :, None, None].unbind(0) for mask in pair]
        layers.append(list(zip(*placed, strict=True)))
    return [list(pairs) for pairs in zip(*layers, strict=True)]


def _all_masks(network: Network, training: Training, objective: Objective) -> Sequence[Masks]:
    if not _draws_masks(objective):
        ones = network.weights[0].new_ones
        return [[(ones(1, 1, 1, d_in), ones(1, 1, 1, d_out)) for d_in, d_out in network.sides]] * (
            training.steps
        )
    return draw_steps(
        network,
        objective.p,
        range(training.steps),
        range(training.samples),
        training.seed,
        objective.rescale,
    )

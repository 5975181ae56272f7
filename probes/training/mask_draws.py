"""The masks of a training, for all layers of a network."""

from collections.abc import Sequence

from lora_dropout.masks import LayerShape, MaskKind, stack_masks
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
    kind: MaskKind = "bernoulli",
) -> list[Masks]:
    """Draw the masks of many steps.

    Args:
        network: the frozen network.
        p: dropout rate of A's columns and of B's rows, in [0, 1).
        steps: numbers of the steps; ``ENSEMBLE_STEP`` for the members of an ensemble.
        samples: numbers of the N mask pairs within each step.
        seed: of the masks.
        rescale: whether masks are divided by 1 - p.
        kind: of the masks.

    Returns:
        For every step one pair a layer, (N, 1, 1, d_in) and (N, 1, 1, d_out), in the dtype and on
        the device of the network.
    """
    layers = []
    for layer, (d_in, d_out) in enumerate(network.sides):
        pair = stack_masks(
            LayerShape(d_in, d_out, p, p, kind),
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
        objective.kind,
    )

"""Masks as a pure function of (seed, step, layer, sample number)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

#: The step number under which test-time ensembles draw: no training run gets there.
ENSEMBLE_STEP = 2**64 - 1


class LayerShape(NamedTuple):
    """What the masks of one adapted layer depend on: its sides and its rates."""

    d_in: int
    d_out: int
    p_in: float
    p_out: float


def draw_masks(
    shape: LayerShape, *, seed: int, step: int, layer: int, sample: int = 0, rescale: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw the mask pair of one layer for one forward pass.

    Entries are independent Bernoulli(1 - p) variables over A's input columns and B's output rows;
    the rank dimension is never dropped (arXiv 2404.09610, Eq. 2). They come from a counter-based
    generator (Philox), so that any mask can be drawn at any time, on any machine, in any order, and
    two rates at the same seed are coupled: what survives the higher rate survives the lower one.

    Args:
        shape: sides and rates of the layer.
        seed: seed of the run, in [0, 2**64).
        step: optimizer step, in [0, 2**64); ``ENSEMBLE_STEP`` at test time.
        layer: number of the layer in its model.
        sample: number of the mask pair within the step, 0 to N - 1.
        rescale: whether survivors are multiplied by 1/(1-p). The paper never does.

    Returns:
        ``mask_in`` of shape (d_in,) and ``mask_out`` of shape (d_out,), float32.

    >>> mask_in, mask_out = draw_masks(LayerShape(4, 3, 0.5, 0.5), seed=0, step=0, layer=0)
    >>> mask_in.tolist(), mask_out.tolist()
    ([0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0])
    """
    uniform = _uniform(shape.d_in + shape.d_out, seed, step, layer, sample)
    survivors_in = (uniform[: shape.d_in] >= shape.p_in).astype(np.float32)
    survivors_out = (uniform[shape.d_in :] >= shape.p_out).astype(np.float32)
    if rescale:
        survivors_in /= np.float32(1 - shape.p_in)
        survivors_out /= np.float32(1 - shape.p_out)
    return survivors_in, survivors_out


def stack_masks(
    shape: LayerShape,
    *,
    seed: int,
    steps: Sequence[int],
    layer: int,
    samples: range,
    rescale: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the masks of many steps and samples of one layer at once.

    Returns:
        ``mask_in`` of shape (steps, samples, d_in) and ``mask_out`` of shape
        (steps, samples, d_out), float32, on the CPU; the entries are those of :func:`draw_masks`.
    """
    pairs = [
        draw_masks(shape, seed=seed, step=step, layer=layer, sample=sample, rescale=rescale)
        for step in steps
        for sample in samples
    ]
    return (
        torch.from_numpy(np.stack([pair[0] for pair in pairs])).view(len(steps), len(samples), -1),
        torch.from_numpy(np.stack([pair[1] for pair in pairs])).view(len(steps), len(samples), -1),
    )


def _uniform(size: int, seed: int, step: int, layer: int, sample: int) -> NDArray[np.float32]:
    generator, state = _philox(seed)
    # Setting the counter of a standing generator costs a tenth of making a new one.
    state["state"]["counter"][:] = (0, layer, sample, step)
    generator.bit_generator.state = state
    return generator.random(size, dtype=np.float32)


@lru_cache(maxsize=16)
def _philox(seed: int) -> tuple[np.random.Generator, Any]:
    bits = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64))
    return np.random.Generator(bits), bits.state

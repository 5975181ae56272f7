"""Masks as a pure function of (seed, step, layer, sample number).

Masks are of a *kind*, and all kinds have the mean 1 - p:

- ``"bernoulli"``: 1 with probability 1 - p, otherwise 0. LoRA Dropout (arXiv 2404.09610, Eq. 2).
- ``"gaussian"``: normal with the variance of the above, p (1 - p). It drops nothing: what it shares
  with LoRA Dropout is due to noise, and not to zeros.
- ``"two-point"``: 1 - p plus or minus the standard deviation sqrt(p (1 - p)), with probability 1/2
  each: the same variance, without zeros and without tails. At p = 1/2 it is ``"bernoulli"``.
- ``"mean"``: the constant 1 - p, which shrinks the update and has no noise.
"""

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

#: The step number under which test-time ensembles draw: no training run gets there.
ENSEMBLE_STEP = 2**64 - 1


MaskKind = Literal["bernoulli", "gaussian", "two-point", "mean"]
MASK_KINDS: tuple[MaskKind, ...] = get_args(MaskKind)


class LayerShape(NamedTuple):
    """What the masks of one adapted layer depend on: its sides, its rates, and their kind."""

    d_in: int
    d_out: int
    p_in: float
    p_out: float
    kind: MaskKind = "bernoulli"


#: Number, shape and ``rescale`` of a layer: what its masks depend on, beside seed, step and sample.
Described = tuple[int, LayerShape, bool]


def expected_mask(p_in: float, p_out: float, rescale: bool = False) -> float:
    """Expected value of the product of the two masks at an entry of the update.

    It is the same for all kinds of masks; for Bernoulli masks it is the probability that the entry
    survives, times what rescaling multiplies survivors by.

    Source: arXiv 2404.09610, Eq. 2: the two masks are independent.

    Args:
        p_in: rate at which A's input columns are dropped, in [0, 1).
        p_out: rate at which B's output rows are dropped, in [0, 1).
        rescale: whether masks are divided by 1 - p.

    Returns:
        (1 - p_in) (1 - p_out), or 1 with ``rescale``.

    >>> expected_mask(0.5, 0.2), expected_mask(0.5, 0.2, rescale=True)
    (0.4, 1.0)
    """
    return 1.0 if rescale else (1 - p_in) * (1 - p_out)


def drop_probability(p_in: float, p_out: float) -> float:
    """Probability that an entry of the update is dropped: its sparsity.

    Source: arXiv 2404.09610, Section 4, "2p - p^2" for equal rates.

    Args:
        p_in: rate at which A's input columns are dropped, in [0, 1].
        p_out: rate at which B's output rows are dropped, in [0, 1].

    Returns:
        p_in + p_out (1 - p_in), in [0, 1]. For small rates this form is more precise than
        1 - (1 - p_in) (1 - p_out).

    >>> drop_probability(0.5, 0.2)
    0.6
    """
    return p_in + p_out * (1 - p_in)


def draw_masks(
    shape: LayerShape, *, seed: int, step: int, layer: int, sample: int = 0, rescale: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw the mask pair of one layer for one forward pass.

    Entries are independent over A's input columns and B's output rows, Bernoulli(1 - p) unless the
    layer's masks are of another kind; the rank dimension is never dropped (arXiv 2404.09610,
    Eq. 2). They come from a counter-based generator (Philox), so that any mask can be drawn at any
    time, on any machine, in any order. All kinds and rates at the same seed are coupled, as each
    entry increases with the same uniform number: what survives the higher rate survives the lower
    one.

    Args:
        shape: sides and rates of the layer, and the kind of its masks.
        seed: seed of the run, in [0, 2**64).
        step: optimizer step, in [0, 2**64); ``ENSEMBLE_STEP`` at test time.
        layer: number of the layer in its model.
        sample: number of the mask pair within the step, 0 to N - 1.
        rescale: whether masks are multiplied by 1/(1-p). The paper never does.

    Returns:
        ``mask_in`` of shape (d_in,) and ``mask_out`` of shape (d_out,), float32.

    >>> mask_in, mask_out = draw_masks(LayerShape(4, 3, 0.5, 0.5), seed=0, step=0, layer=0)
    >>> mask_in.tolist(), mask_out.tolist()
    ([0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0])
    """
    masks = stack_masks(
        shape, seed=seed, steps=[step], layer=layer, samples=range(sample, sample + 1),
        rescale=rescale,
    )  # fmt: skip
    return masks[0][0, 0].numpy(), masks[1][0, 0].numpy()


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

    Args:
        shape: sides and rates of the layer, and the kind of its masks.
        seed: seed of the run, in [0, 2**64).
        steps: optimizer steps, each in [0, 2**64).
        layer: number of the layer in its model.
        samples: numbers of the mask pairs within each step.
        rescale: whether masks are multiplied by 1/(1-p).

    Returns:
        ``mask_in`` of shape (steps, samples, d_in) and ``mask_out`` of shape
        (steps, samples, d_out), float32, on the CPU; the entries are those of :func:`draw_masks`.
    """
    sides = shape.d_in + shape.d_out
    uniform = stack_uniforms(sides, seed=seed, steps=steps, layer=layer, samples=samples)
    return masks_of_uniforms(uniform, shape, rescale)


def stack_uniforms(
    sides: int, *, seed: int, steps: Sequence[int], layer: int, samples: range
) -> NDArray[np.float32]:
    """Draw the uniform numbers that the masks of one layer are made of, whatever their rates.

    Args:
        sides: d_in + d_out of the layer.
        seed, steps, layer, samples: as for :func:`stack_masks`.

    Returns:
        Numbers in [0, 1), (steps, samples, sides).
    """
    uniform = np.empty((len(steps), len(samples), sides), np.float32)
    with _drawing:
        for of_step, step in zip(uniform, steps, strict=True):
            for row, sample in zip(of_step, samples, strict=True):
                _fill(row, seed, step, layer, sample)
    return uniform


def masks_of_uniforms(
    uniform: NDArray[np.float32], shape: LayerShape, rescale: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make masks of the numbers of :func:`stack_uniforms`.

    Args:
        uniform: (steps, samples, d_in + d_out).
        shape, rescale: as for :func:`stack_masks`.

    Returns:
        As :func:`stack_masks`.
    """
    drawn = torch.from_numpy(uniform).split([shape.d_in, shape.d_out], dim=-1)
    rates = (shape.p_in, shape.p_out)
    masks = [_entries(part, p, shape.kind) for part, p in zip(drawn, rates, strict=True)]
    if rescale:
        masks = [mask / (1 - p) for mask, p in zip(masks, rates, strict=True)]
    return masks[0], masks[1]


def smallest_step_masks(
    layers: Sequence[Described], *, seed: int, step: int, samples: range
) -> tuple[torch.Tensor, list[int]]:
    """Draw the masks of one step for all layers of a model, in one piece of memory.

    Args:
        layers: number, shape and ``rescale`` of each layer.
        seed, step, samples: as in :func:`stack_masks`, whose entries these are.

    Returns:
        (samples, total) on the CPU, the layers' masks side by side: bool, a quarter of the memory,
        where all masks are Bernoulli and none is rescaled, float32 otherwise. And their widths:
        d_in and d_out of the first layer, then of the next.
    """
    if all(shape.kind == "bernoulli" and not rescale for _, shape, rescale in layers):
        return _step_bits(layers, seed, step, samples), _widths(layers)
    widths = _widths(layers)
    rates = [rate for _, shape, _ in layers for rate in (shape.p_in, shape.p_out)]
    kinds = [shape.kind for _, shape, _ in layers for _ in range(2)]
    uniform = np.empty((len(samples), sum(widths)), np.float32)
    with _drawing:
        for row, sample in zip(uniform, samples, strict=True):
            start = 0
            for number, shape, _ in layers:
                end = start + shape.d_in + shape.d_out
                _fill(row[start:end], seed, step, number, sample)
                start = end
    masks = torch.from_numpy(uniform >= np.repeat(np.array(rates, np.float32), widths)).float()
    if {*kinds} - {"bernoulli"}:
        parts = zip(torch.from_numpy(uniform).split(widths, dim=1), rates, kinds, strict=True)
        masks = torch.cat([_entries(part, p, kind) for part, p, kind in parts], dim=1)
    if any(rescale for *_, rescale in layers):
        rescaled = [rescale for *_, rescale in layers for _ in range(2)]
        kept = [1 - p if divided else 1 for p, divided in zip(rates, rescaled, strict=True)]
        masks /= torch.from_numpy(np.repeat(np.array(kept, np.float32), widths))
    return masks, widths


def _widths(layers: Sequence[Described]) -> list[int]:
    return [width for _, shape, _ in layers for width in shape[:2]]


def _step_bits(layers: Sequence[Described], seed: int, step: int, samples: range) -> torch.Tensor:
    """Draw which entries are kept, (samples, total).

    The uniform numbers of one layer at a time stay in the processor's cache: those of a large model
    in fresh memory cost as much as drawing them.
    """
    shapes = [shape for _, shape, _ in layers]
    bits = np.empty((len(samples), sum(shape.d_in + shape.d_out for shape in shapes)), np.bool_)
    uniform = np.empty(max((shape.d_in + shape.d_out for shape in shapes), default=0), np.float32)
    with _drawing:
        for row, sample in zip(bits, samples, strict=True):
            start = 0
            for number, shape, _ in layers:
                middle, end = start + shape.d_in, start + shape.d_in + shape.d_out
                drawn = uniform[: end - start]
                _fill(drawn, seed, step, number, sample)
                if shape.p_in == shape.p_out:
                    np.greater_equal(drawn, np.float32(shape.p_in), out=row[start:end])
                else:
                    split = shape.d_in
                    np.greater_equal(drawn[:split], np.float32(shape.p_in), out=row[start:middle])
                    np.greater_equal(drawn[split:], np.float32(shape.p_out), out=row[middle:end])
                start = end
    return torch.from_numpy(bits)


def _entries(uniform: torch.Tensor, p: float, kind: MaskKind) -> torch.Tensor:
    """Turn uniform numbers, float32 in [0, 1), into entries of masks, by increasing functions."""
    if kind == "bernoulli":
        return (uniform >= p).float()
    if kind == "mean":
        return torch.full_like(uniform, 1 - p)
    deviation = (p * (1 - p)) ** 0.5
    if kind == "two-point":
        # Two bare numbers in ``torch.where`` would be rounded to the caller's default dtype.
        lower = torch.full_like(uniform, 1 - p - deviation)
        return lower.masked_fill_(uniform >= 0.5, 1 - p + deviation)
    # The numbers are multiples of 2^-24, and 0 is one of them: the middle of each step, which is a
    # double, is never 0 or 1, and lies symmetrically around 1/2, so that the mean is 1 - p.
    normal = torch.special.ndtri(uniform.double() + 2.0**-25)
    return (1 - p + deviation * normal).float()


def _fill(row: NDArray[np.float32], seed: int, step: int, layer: int, sample: int) -> None:
    """Fill a row with the uniform numbers of a mask pair; ``_drawing`` is held."""
    generator, bits, state = _philox(seed)
    # Setting the counter of a standing generator costs a tenth of making a new one.
    state["state"]["counter"][:] = (0, layer, sample, step)
    bits.state = state
    generator.random(dtype=np.float32, out=row)


#: Held while a standing generator draws, so that threads do not mix up its counter.
_drawing = Lock()


@lru_cache(maxsize=16)
def _philox(seed: int) -> tuple[np.random.Generator, np.random.Philox, Any]:
    bits = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64))
    return np.random.Generator(bits), bits, bits.state

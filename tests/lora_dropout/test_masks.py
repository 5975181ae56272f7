"""The law of the masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from transformers.modeling_utils import local_torch_dtype

from lora_dropout.masks import (
    ENSEMBLE_STEP,
    MASK_KINDS,
    LayerShape,
    _entries,
    draw_masks,
    drop_probability,
    expected_mask,
    smallest_step_masks,
    stack_masks,
)
from theory import sparsity

#: Chance that a Monte-Carlo test fails although the law holds.
ERROR_RATE = 1e-6
STANDARD_ERRORS = stats.norm.isf(ERROR_RATE / 2)
DRAWS = 4000


def draws(p, d_in=7, d_out=5, rescale=False):
    mask_in, mask_out = stack_masks(
        LayerShape(d_in, d_out, p, p), seed=11, steps=range(DRAWS), layer=0, samples=range(1),
        rescale=rescale,
    )  # fmt: skip
    return mask_in[:, 0].double(), mask_out[:, 0].double()


rates = st.floats(0, 1, exclude_max=True)


@given(rates, rates)
def test_an_entry_survives_or_is_dropped(p_in, p_out):
    assert expected_mask(p_in, p_out) == (1 - p_in) * (1 - p_out)
    assert drop_probability(p_in, p_out) == sparsity(p_in, p_out)
    assert expected_mask(p_in, p_out) + drop_probability(p_in, p_out) == pytest.approx(1, rel=1e-15)
    assert expected_mask(p_in, p_out, rescale=True) == 1
    assert drop_probability(1e-20, 0) == 1e-20


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_entries_survive_with_the_squared_probability(p):
    mask_in, mask_out = draws(p)
    survive = torch.einsum("ti,tj->tij", mask_out, mask_in).mean(0)
    expected = expected_mask(p, p)
    tolerance = stats.norm.isf(ERROR_RATE / 2 / survive.numel()) * np.sqrt(
        expected * (1 - expected) / DRAWS
    )
    assert (survive - expected).abs().max() < tolerance


@given(st.integers(0, 10**6), st.floats(0, 0.99))
def test_rows_and_columns_drop_whole(step, p):
    mask_in, mask_out = draw_masks(LayerShape(6, 4, p, p), seed=0, step=step, layer=0)
    delta = np.outer(mask_out, mask_in)
    dropped_rows = (delta == 0).all(1)
    dropped_columns = (delta == 0).all(0)
    assert np.array_equal(delta == 0, dropped_rows[:, None] | dropped_columns)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.7])
def test_expected_dropped_norm_is_the_sparsity_times_the_norm(p):
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    mask_in, mask_out = draws(p)
    dropped = 1 - torch.einsum("ti,tj->tij", mask_out, mask_in)
    norms = (dropped * delta).square().sum((1, 2))
    error = norms.std() / np.sqrt(DRAWS)
    expected = drop_probability(p, p) * delta.square().sum()
    assert (norms.mean() - expected).abs() < STANDARD_ERRORS * error


def test_rescaled_masks_have_mean_one():
    mask_in, _ = draws(0.4, rescale=True)
    tolerance = stats.norm.isf(ERROR_RATE / 14) * np.sqrt(0.4 / 0.6 / DRAWS)
    assert (mask_in.mean(0) - 1).abs().max() < tolerance
    assert set(mask_in.unique().tolist()) == {0.0, float(np.float32(1) / np.float32(0.6))}


def test_every_argument_matters_and_nothing_else():
    shape = LayerShape(64, 64, 0.5, 0.5)
    base = {"seed": 1, "step": 2, "layer": 3, "sample": 4}
    first, again = draw_masks(shape, **base), draw_masks(shape, **base)
    assert np.array_equal(first[0], again[0])
    for name in base:
        draw_masks(shape, **base)
        other = draw_masks(shape, **base | {name: base[name] + 1})
        assert not np.array_equal(first[0], other[0])
        assert not np.array_equal(first[1], other[1])
    assert not np.array_equal(first[0], first[1])
    last = draw_masks(shape, seed=2**64 - 1, step=ENSEMBLE_STEP, layer=0)
    assert 0 < last[0].mean() < 1


@given(st.floats(0, 0.99), st.floats(0, 0.99), st.integers(0, 1000))
def test_what_survives_a_higher_rate_survives_a_lower(first, second, step):
    low, high = sorted((first, second))
    lower, _ = draw_masks(LayerShape(50, 1, low, low), seed=0, step=step, layer=0)
    higher, _ = draw_masks(LayerShape(50, 1, high, high), seed=0, step=step, layer=0)
    assert (higher <= lower).all()


def test_rate_zero_drops_nothing():
    mask_in, mask_out = draw_masks(LayerShape(1000, 1000, 0, 0), seed=0, step=0, layer=0)
    assert mask_in.all()
    assert mask_out.all()
    # 0 is one of the uniform numbers.
    for p, kept in ((0.0, [1, 1, 1, 1]), (0.5, [0, 0, 1, 1])):
        assert _entries(torch.arange(4) / 4, p, "bernoulli").tolist() == kept


@pytest.mark.parametrize("rescaled", [(False, True, True), (False, False, False)])
@pytest.mark.parametrize("second", MASK_KINDS)
def test_the_masks_of_a_step_are_those_of_its_layers(second, rescaled):
    """Also with rates, sides, kinds and rescaling of each layer's own, and numbers with gaps."""
    shapes = [
        LayerShape(5, 3, 0.2, 0.5), LayerShape(2, 7, 0.6, 0.0, second), LayerShape(4, 4, 0.3, 0.3),
    ]  # fmt: skip
    layers = list(zip((0, 4, 2), shapes, rescaled, strict=True))
    # Of its own in each case: memory that is not written to may hold the masks of another.
    seed = 3 + sum(rescaled)
    flat, widths = smallest_step_masks(layers, seed=seed, step=11, samples=range(2, 5))
    assert widths == [5, 3, 2, 7, 4, 4]
    assert (flat.dtype == torch.bool) == (second == "bernoulli" and not any(rescaled))
    parts = flat.split(widths, dim=1)
    for (number, shape, rescale), found in zip(
        layers, zip(parts[::2], parts[1::2], strict=True), strict=True
    ):
        expected = stack_masks(shape, seed=seed, steps=[11], layer=number, samples=range(2, 5),
                               rescale=rescale)  # fmt: skip
        for mask, one in zip(found, expected, strict=True):
            torch.testing.assert_close(mask.float(), one[0], rtol=0, atol=0)


OTHER_KINDS = ["gaussian", "two-point", "mean"]


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize(("p", "kind"), [(0.1, "gaussian"), (0.7, "gaussian"), (0.7, "mean")])
def test_every_kind_has_the_moments_of_bernoulli_masks(p, kind, rescale):
    """The constant has the mean alone."""
    shape = LayerShape(7, 5, p, p, kind)
    masks = stack_masks(
        shape, seed=11, steps=range(DRAWS), layer=0, samples=range(1), rescale=rescale
    )
    mean = expected_mask(p, 0, rescale)
    if kind == "mean":
        assert all(torch.equal(mask, torch.full_like(mask, mean)) for mask in masks)
        return
    entries = torch.cat(masks, dim=-1).double().flatten()
    variance = p * (1 - p) * (mean / (1 - p)) ** 2
    errors = np.sqrt(np.array([variance, 2 * variance**2]) / entries.numel())
    found = np.array([entries.mean(), (entries - mean).square().mean()])
    assert (abs(found - [mean, variance]) < stats.norm.isf(ERROR_RATE / 4) * errors).all()
    assert stats.kstest((entries - mean) / np.sqrt(variance), "norm").pvalue > ERROR_RATE


def test_gaussian_entries_are_finite_and_centred_over_all_uniform_numbers():
    """The generator's numbers are the multiples of 2^-24, of which 0 is one."""
    mean = square = 0.0
    for start in range(0, 2**24, 2**22):
        uniform = torch.arange(start, start + 2**22, dtype=torch.float32) / 2**24
        entries = _entries(uniform, 0.5, "gaussian").double()
        assert entries.isfinite().all()
        mean += float(entries.sum()) / 2**24
        square += float((entries - 0.5).square().sum()) / 2**24
    # Entries lie below 4, where float32 rounds by at most 2^-23. On average they are less than 1/2
    # away from the mean, which bounds what rounding does to the square; what the middle of a step
    # has too little of the variance is less than that of the two outermost steps, 2^-24 each.
    assert abs(mean - 0.5) < 2**-23
    assert abs(square - 0.25) < 2**-23 + 2 * 2**-24


@pytest.mark.parametrize("p", [0.1, 0.3, 0.7])
def test_two_point_masks_are_one_deviation_away_from_the_mean_and_nowhere_zero(p):
    """Half of the uniform numbers are at least 1/2."""
    uniform = torch.arange(2**10, dtype=torch.float32) / 2**10
    entries = _entries(uniform, p, "two-point").double()
    values, counts = entries.unique(return_counts=True)
    deviation = (p * (1 - p)) ** 0.5
    torch.testing.assert_close(
        values, torch.tensor([1 - p - deviation, 1 - p + deviation]).double()
    )
    assert counts.tolist() == [2**9, 2**9]
    assert (entries != 0).all()


@pytest.mark.parametrize("kind", ["bernoulli", *OTHER_KINDS])
def test_entries_do_not_depend_on_the_default_dtype(kind):
    """Those of two points were rounded to 8 bits where bfloat16 is the default."""
    uniform = torch.arange(2**10, dtype=torch.float32) / 2**10
    entries = _entries(uniform, 0.3, kind)
    with local_torch_dtype(torch.bfloat16):
        assert torch.equal(_entries(uniform, 0.3, kind), entries)


def test_two_point_masks_at_one_half_are_bernoulli_masks():
    masks = [draw_masks(LayerShape(50, 40, 0.5, 0.5, kind), seed=0, step=3, layer=0)
             for kind in ("bernoulli", "two-point")]  # fmt: skip
    for first, second in zip(*masks, strict=True):
        assert (first == second).all()


@given(st.floats(0, 0.99), st.floats(0, 0.99), st.integers(0, 1000))
def test_kinds_and_rates_are_coupled(first, second, step):
    def mask(p, kind):
        return draw_masks(LayerShape(50, 0, p, 0.0, kind), seed=0, step=step, layer=0)[0]

    order = np.argsort(mask(0.5, "gaussian"))
    for p in (first, second):
        for kind in ("gaussian", "bernoulli", "two-point", "mean"):
            assert (np.diff(mask(p, kind)[order]) >= 0).all()


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_every_kind_is_1_at_rate_zero(kind):
    for mask in draw_masks(LayerShape(100, 100, 0, 0, kind), seed=0, step=0, layer=0):
        assert (mask == 1).all()


def test_bernoulli_masks_are_the_default_and_have_not_changed():
    """A value from before there were other kinds."""
    for shape in (LayerShape(8, 3, 0.5, 0.25), LayerShape(8, 3, 0.5, 0.25, "bernoulli")):
        mask_in, mask_out = draw_masks(shape, seed=5, step=7, layer=1, sample=2)
        assert (mask_in.tolist(), mask_out.tolist()) == ([0, 0, 1, 0, 0, 0, 1, 0], [1, 1, 1])

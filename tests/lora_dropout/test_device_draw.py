"""What a GPU draws is what the host draws.

The kernel runs on a GPU, or on the CPU by Triton's interpreter, with Triton installed:

    TRITON_INTERPRET=1 python -m pytest tests/lora_dropout/test_device_draw.py

Elsewhere a twin of it in numpy shows that it is asked for the right things.
"""

import copy
import os
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from lora_dropout import device_draw, mask_memory, mask_schedule
from lora_dropout.device_draw import DrawingTable, DrawnLayer, differing_entries, draws
from lora_dropout.masks import ENSEMBLE_STEP, LayerShape, stack_masks, stack_uniforms
from tests.lora_dropout.test_mask_memory import (
    assert_drawn,
    held,
    raise_factors,
    raise_first_factors,
    small_model,
)

#: What is interpreted and what is compiled is decided when Triton is imported.
PLACE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
THERE = find_spec("triton") is not None and (PLACE == "cpu" or torch.cuda.is_available())
CPU = torch.device("cpu")


class Twin:
    """The kernel, one entry after the other, on the CPU."""

    def __getitem__(self, grid):
        return partial(self.launch, grid)

    def launch(self, grid, memory, width, layers, rates, step, sample, samples, BLOCKS):
        longest = max(sides for _, _, _, sides, *_ in layers.tolist())
        assert grid == (len(memory), len(layers), -(-longest // (8 * BLOCKS)))
        assert width == memory.stride(0)
        for row, masks in enumerate(memory):
            place = {"steps": [(step + row // samples) % 2**64]}
            place["samples"] = range(sample + row % samples, sample + row % samples + 1)
            for layer, of_layer in zip(layers.tolist(), rates, strict=True):
                self.draw(masks, *layer, *of_layer, **place)

    def draw(
        self, masks, seed, layer, d_in, sides, column_in, column_out, p_in, p_out, kept_in,
        kept_out, **place,
    ):  # fmt: skip
        uniform = stack_uniforms(sides, seed=seed % 2**64, layer=layer, **place)[0, 0]
        drawn = torch.from_numpy(uniform)
        masks[column_in : column_in + d_in] = torch.where(drawn[:d_in] >= p_in, kept_in, 0)
        width_out = sides - d_in
        masks[column_out : column_out + width_out] = torch.where(drawn[d_in:] >= p_out, kept_out, 0)


def lend_kernel(name, monkeypatch):
    """Let the kernel, or its twin, draw on the device that is returned."""
    if name == "kernel":
        if not THERE:
            pytest.skip("Triton has neither a GPU nor its interpreter")
        return torch.device(PLACE)
    twin = SimpleNamespace(draw_rows=Twin())
    monkeypatch.setattr(device_draw, "import_module", lambda name: twin)
    return CPU


@pytest.fixture(params=["twin", pytest.param("kernel", marks=pytest.mark.cuda)])
def place(request, monkeypatch):
    """Where something draws that stands for a GPU."""
    monkeypatch.setattr(mask_memory, "draws", lambda device: True)
    monkeypatch.setattr(mask_memory, "smallest_step_masks", refuse)
    return lend_kernel(request.param, monkeypatch)


def refuse(*layers, **step):
    raise AssertionError("the host draws")


def test_all_entries_are_those_of_the_host(place):
    assert differing_entries(place) == 0


def test_entries_that_differ_are_seen(place, monkeypatch):
    def other(*shape, seed, **where):
        return stack_masks(*shape, seed=seed - 1, **where)

    monkeypatch.setattr(device_draw, "stack_masks", other)
    # 2 (1500 * 0.42 + 77 * 0.18 + 600 * 0.5) in each of 4 steps.
    assert 6000 < differing_entries(place) < 9000


def test_layers_of_a_model_hold_the_masks_that_are_drawn_one_by_one(place):
    model = small_model(p=0.5).to(place)
    masks = mask_schedule(model)
    for step in (1, 2, 2**40, ENSEMBLE_STEP - 1):
        masks.seek(step)
        assert_drawn(model, step)
    masks.reseed(3)
    masks.seek(5, range(2, 4))
    assert model[0].mask_in.shape == (2, 5)
    rows = [mask_of.mask_out.cpu() for mask_of in masks.layers]
    for layer, found in zip(masks.layers, rows, strict=True):
        drawn = stack_masks(
            layer.shape, seed=3, steps=[5], layer=layer.number, samples=range(2, 4)
        )[1][0]
        assert torch.equal(found, drawn)


def test_another_seed_draws_others(place):
    model = small_model(p=0.5).to(place)
    before = torch.cat(held(model)).tolist()
    mask_schedule(model).reseed(2**64 - 1)
    mask_schedule(model).seek(0)
    assert torch.cat(held(model)).tolist() != before


def test_precisions_have_masks_of_their_own(place):
    model = small_model(p=0.5).to(place)
    raise_first_factors(model)
    assert [mask.dtype for mask in held(model)] == [torch.float64] * 2 + [torch.float32] * 2
    assert_drawn(model, step=1)


def test_entries_are_those_that_the_model_can_hold(place):
    model = small_model(p=0.3, rescale=True).bfloat16().to(place)
    raise_factors(model)
    entries = torch.cat(held(model))
    assert entries.dtype == torch.float32
    assert set(entries.tolist()) == {0.0, torch.tensor(1 / 0.7).bfloat16().item()}


def test_a_copy_draws_its_own(place):
    model = small_model(p=0.5).to(place)
    twin = copy.deepcopy(model)
    mask_schedule(twin).seek(9)
    assert_drawn(model, step=0)
    assert_drawn(twin, step=9)


def test_a_backward_pass_through_masks_that_were_overwritten_is_refused(place):
    model = small_model(p=0.5).to(place)
    # A part, which tells the schedule of no pass.
    loss = model[0](torch.ones(2, 5, device=place)).sum()
    mask_schedule(model).advance()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_masks_are_drawn_within_a_transform(place):
    model = small_model(p=0.5).to(place)
    factors = dict(model.named_parameters())
    x = torch.ones(2, 5, device=place)

    def loss(factors):
        mask_schedule(model).advance()
        return torch.func.functional_call(model, factors, x).square().sum()

    torch.func.grad(loss)(factors)
    assert_drawn(model, step=1)


def test_the_masks_of_many_steps_come_at_once(place):
    """Steps after steps, the samples within; two seeds in one table."""
    shape, memory = LayerShape(5, 3, 0.5, 0.2), torch.full((6, 20), 7.0, device=place)
    layers = [DrawnLayer(4, 0, shape, False, 0, 9), DrawnLayer(2**63, 1, shape, False, 13, 5)]
    DrawingTable(layers, place, torch.float32).draw(memory, range(10, 13), range(1, 3))
    drawn = memory.cpu().view(3, 2, 20)
    for seed, layer, column_in, column_out in ((4, 0, 0, 9), (2**63, 1, 13, 5)):
        mask_in, mask_out = stack_masks(
            shape, seed=seed, steps=range(10, 13), layer=layer, samples=range(1, 3)
        )
        assert torch.equal(drawn[..., column_in : column_in + 5], mask_in)
        assert torch.equal(drawn[..., column_out : column_out + 3], mask_out)
    assert bool((drawn[..., [8, 12, 18, 19]] == 7).all())


def test_other_kinds_are_drawn_on_the_host(monkeypatch):
    monkeypatch.setattr(mask_memory, "draws", lambda device: True)
    monkeypatch.setattr(device_draw, "import_module", refuse)
    model = small_model(p=0.5, mask_kind="gaussian")
    mask_schedule(model).advance()
    assert_drawn(model, step=1)


def test_a_host_draws_for_itself():
    assert not draws(CPU)


@pytest.mark.parametrize(
    ("device", "cuda", "triton", "capability", "right"),
    [
        ("cuda", "13.0", "there", (9, 0), True),
        ("cuda", "12.6", "there", (8, 6), True),
        ("cuda", "12.6", "there", (7, 5), False),
        ("cuda", "13.0", None, (9, 0), False),
        ("cuda", None, "there", (9, 4), False),
        ("cpu", "13.0", "there", (9, 0), False),
    ],
)
def test_triton_compiles_for_nvidias_cards_from_ampere_on(
    monkeypatch, device, cuda, triton, capability, right
):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(device_draw, "find_spec", lambda name: triton)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert device_draw.compiles_for.__wrapped__(torch.device(device)) == right


@pytest.mark.parametrize("lacking", ["differ", "compiler"])
def test_a_device_that_draws_other_masks_draws_none(monkeypatch, lacking):
    """One warning, however often one asks."""

    def found(device):
        if lacking == "differ":
            return 17
        raise RuntimeError("Failed to find C compiler.\nPlease install one")

    device_draw._draws_alike.cache_clear()
    monkeypatch.setattr(device_draw, "compiles_for", lambda device: True)
    monkeypatch.setattr(device_draw, "differing_entries", found)
    said = "17 entries differ" if lacking == "differ" else "RuntimeError: Failed to find C compiler"
    with pytest.warns(UserWarning, match=f"on the host, as cuda:3 draws none or others: {said}"):
        assert not draws(torch.device("cuda", 3))
    assert not draws(torch.device("cuda", 3))
    device_draw._draws_alike.cache_clear()

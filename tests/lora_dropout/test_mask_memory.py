import copy
import os
import pickle
from multiprocessing import context
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch import nn

from lora_dropout import backward_over_samples, inject, mask_memory, mask_schedule
from lora_dropout.masks import draw_masks


def small_model(p=0.5, **settings):
    plain = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    return inject(plain, rank=2, p=p, seed=3, **settings)


def assert_drawn(model, step, sample=0):
    """The layers hold the masks that are drawn one by one."""
    for layer in mask_schedule(model).layers:
        pair = draw_masks(layer.shape, seed=3, step=step, layer=layer.number, sample=sample)
        for mask, one in zip((layer.mask_in, layer.mask_out), pair, strict=True):
            assert torch.equal(mask, torch.from_numpy(one).to(mask.dtype))


def raise_factors(model):
    """Factors in float32 over a model of lower precision, as PEFT's adapters are."""
    for layer in mask_schedule(model).layers:
        layer.lora_A.data, layer.lora_B.data = layer.lora_A.float(), layer.lora_B.float()
    mask_schedule(model).advance()


def raise_first_factors(model):
    """Factors of a layer in float64, beside others in float32."""
    first = mask_schedule(model).layers[0]
    first.lora_A.data, first.lora_B.data = first.lora_A.double(), first.lora_B.double()
    mask_schedule(model).advance()


def held(model):
    return [
        mask for layer in mask_schedule(model).layers for mask in (layer.mask_in, layer.mask_out)
    ]


def test_masks_lie_side_by_side_and_stay_the_same_tensors():
    model = small_model()
    before = held(model)
    mask_schedule(model).advance()
    assert all(one is other for one, other in zip(before, held(model), strict=True))
    assert len({mask.untyped_storage().data_ptr() for mask in before}) == 1
    assert_drawn(model, step=1)


def test_masks_have_the_precision_of_their_factors():
    model = small_model()
    raise_first_factors(model)
    assert [mask.dtype for mask in held(model)] == [torch.float64] * 2 + [torch.float32] * 2
    assert_drawn(model, step=1)


@pytest.mark.parametrize("move", [nn.Module.double, copy.deepcopy])
def test_masks_that_were_moved_are_drawn_anew(move):
    model = move(small_model())
    mask_schedule(model).advance()
    assert_drawn(model, step=1)


@pytest.mark.parametrize("move", [nn.Module.double, copy.deepcopy])
def test_buffers_that_are_passed_in_follow_updates_after_a_move(move):
    """functional_call puts the model's own tensors back after every pass."""
    model = move(small_model())
    entries = dict(model.named_parameters()) | dict(model.named_buffers())
    x = torch.ones(2, 5, dtype=entries["0.lora_A"].dtype)
    for step in range(3):
        torch.func.functional_call(model, entries, (x,))
        assert mask_schedule(model).step == step
        assert_drawn(model, step)
        entries["2.lora_A"].data += 0.1


def test_masks_that_are_given_empty_memory_are_drawn_in_the_next_pass():
    """As by to_empty(), where a model was adapted on device "meta"."""
    model = small_model()._apply(lambda tensor: torch.full_like(tensor, 7.0))
    model(torch.ones(2, 5))
    assert_drawn(model, step=0)


def test_a_pickle_holds_every_mask_once():
    plain = nn.Sequential(*(nn.Linear(64, 64) for _ in range(40)))
    before = len(pickle.dumps(plain))
    model = inject(plain, rank=1, p=0.5, seed=3)
    # Masks and factors are 2 * 128 numbers a layer; the rest is names.
    assert len(pickle.dumps(model)) < before + 40 * (2 * 128 * 4 + 4000)
    for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_drawn(copied, step=0)
        mask_schedule(copied).advance()
        assert_drawn(copied, step=1)
    assert_drawn(model, step=0)


class Starting:
    """A process that is started: what of this one's files it is to have."""

    DupFd = int

    def __init__(self):
        self.files = []

    def duplicate_for_child(self, file):
        self.files.append(file)
        return file


def test_the_masks_that_a_process_is_started_with_live_until_it_has_them():
    """They travel in shared memory, a file each, which is closed when nobody holds them."""
    starting, model = Starting(), small_model()
    context.set_spawning_popen(starting)
    try:
        ForkingPickler.dumps(model)
    finally:
        context.set_spawning_popen(None)
    assert starting.files
    for file in starting.files:
        os.fstat(file)


def test_processes_that_share_the_factors_have_masks_of_their_own():
    """Each takes steps of its own, and one must not move the masks that another computes with."""
    model = small_model().share_memory()
    for layer in mask_schedule(model).layers:
        assert layer.lora_A.is_shared()
        assert not layer.mask_in.is_shared()
    mask_schedule(model).advance()
    assert not any(layer.mask_out.is_shared() for layer in mask_schedule(model).layers)
    assert_drawn(model, step=1)


def test_a_shallow_copy_of_a_layer_has_the_masks_of_the_layer():
    model = small_model()
    copied = copy.copy(model[0])
    mask_schedule(model).seek(5, range(2))
    assert copied.mask_in is model[0].mask_in


def test_masks_whose_drawing_was_interrupted_are_drawn_in_the_next_pass(monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    model = small_model()
    with monkeypatch.context() as patch:
        patch.setattr(mask_memory, "smallest_step_masks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mask_schedule(model).advance()
    model(torch.ones(2, 5))
    assert_drawn(model, step=1)


def test_masks_that_were_put_there_are_replaced():
    model = small_model()
    model[0].mask_in = torch.full((5,), 7.0)
    mask_schedule(model).advance()
    assert_drawn(model, step=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_whose_data_was_put_elsewhere_are_drawn_anew(dtype):
    """As FSDP moves buffers to its device and casts them to its precision."""
    model = small_model()
    for mask in held(model):
        mask.data = mask.to(dtype, copy=True)
    mask_schedule(model).advance()
    assert_drawn(model, step=1)


@pytest.mark.parametrize("settings", [{}, {"rescale": True}, {"mask_kind": "gaussian"}])
def test_the_default_device_says_nothing_of_masks(settings):
    """Device "meta" stands for a GPU: what is made there by default holds nothing."""
    found = []
    for default in ("cpu", "meta"):
        model = small_model(**settings)
        model[2].double()
        with torch.device(default):
            mask_schedule(model).advance()
        found.append(held(model))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_groups_come_and_go():
    model = small_model()
    masks = mask_schedule(model)
    masks.seek(4, range(2, 5))
    assert model[0].mask_in.shape == (3, 5)
    for row, sample in enumerate(range(2, 5)):
        pair = draw_masks(model[2].shape, seed=3, step=4, layer=1, sample=sample)
        assert torch.equal(model[2].mask_out[row], torch.from_numpy(pair[1]))
    masks.seek(4, range(1))
    assert_drawn(model, step=4)


def test_a_step_of_n_passes_draws_n_times(monkeypatch):
    """Coming back to the first sample draws nothing."""
    draws, draw = [], mask_memory.smallest_step_masks
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.ones(2, 5)

    def counted(layers, **settings):
        draws.append(settings)
        return draw(layers, **settings)

    monkeypatch.setattr(mask_memory, "smallest_step_masks", counted)
    backward_over_samples(model, lambda: model(x).square().mean(), 4)
    assert_drawn(model, step=0)
    optimizer.step()
    assert_drawn(model, step=1)
    assert len(draws) == 4


def test_masks_of_higher_precision_have_the_entries_that_the_model_can_hold():
    model = small_model(p=0.3, rescale=True).bfloat16()
    raise_factors(model)
    entries = torch.cat(held(model))
    assert entries.dtype == torch.float32
    assert set(entries.tolist()) == {0.0, torch.tensor(1 / 0.7).bfloat16().item()}
    model[2].float()
    mask_schedule(model).advance()
    assert set(torch.cat(held(model)[2:]).tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    model.float()
    mask_schedule(model).advance()
    assert set(torch.cat(held(model)).tolist()) == {0.0, torch.tensor(1 / 0.7).item()}

"""When masks change, and when they must not."""

import copy
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.utils._python_dispatch import TorchDispatchMode

from lora_dropout import (
    Ensemble,
    backward_over_samples,
    grouped_samples,
    hold_masks,
    inference_mode,
    inject,
    mask_schedule,
    members,
)
from lora_dropout.masks import LayerShape, draw_masks
from lora_dropout.objective import each_sample
from lora_dropout.schedule import MaskSchedule
from tests.lora_dropout.replicas import DataParallel, replica_of
from tests.memory import without_collection

X = torch.randn(5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def make_model(p=0.5, seed=0, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    model = inject(model, rank=2, p=p, seed=seed, **options)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.lora_B.normal_()
    return model


def trainable(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def masks_of(model):
    return torch.cat([m for i in (0, 2) for m in (model[i].mask_in, model[i].mask_out)])


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"foreach": False}])
def test_masks_advance_once_an_optimizer_step(options):
    """Of all factors that are trained, which here is without the first."""
    model = make_model()
    model[0].lora_A.requires_grad_(False)
    optimizer = torch.optim.AdamW(trainable(model), **options)
    seen = [masks_of(model).clone()]
    for step in range(1, 4):
        for _ in range(2):  # gradient accumulation
            model(X).square().sum().backward()
            assert torch.equal(masks_of(model), seen[-1])
        optimizer.step()
        assert mask_schedule(model).step == step
        assert not torch.equal(masks_of(model), seen[-1])
        seen.append(masks_of(model).clone())


def test_a_hand_written_update_advances_too():
    model = make_model()
    for step in range(3):
        loss = model(X).square().sum()
        assert mask_schedule(model).step == step
        grads = torch.autograd.grad(loss, trainable(model))
        with torch.no_grad():
            for parameter, grad in zip(trainable(model), grads, strict=True):
                parameter -= 0.1 * grad


def test_one_optimizer_a_parameter_is_one_step():
    model = make_model()
    optimizers = [torch.optim.SGD([parameter], lr=0.1) for parameter in trainable(model)]
    for step in range(3):
        model(X).square().sum().backward()
        assert mask_schedule(model).step == step
        for optimizer in optimizers:
            optimizer.step()


def in_place(parameter):
    with torch.no_grad():
        parameter.sub_(0.1 * parameter.grad)


def through_data(parameter):
    parameter.data.add_(parameter.grad, alpha=-0.1)


def by_new_data(parameter):
    parameter.data = parameter.data - 0.1 * parameter.grad


UPDATES = [in_place, through_data, by_new_data]


def train_by_hand(model, update, steps, call=None, samples=1):
    """Steps whose masks the passes saw; gradients are reset before each pass."""
    seen = []
    for _ in range(steps):
        model.zero_grad()
        backward_over_samples(model, lambda: (call or model)(X).square().sum(), samples)
        seen.append(mask_schedule(model).step)
        for parameter in trainable(model):
            update(parameter)
    return seen


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("update", UPDATES)
def test_any_update_is_noticed_by_the_next_pass(update, samples):
    assert train_by_hand(make_model(), update, 4, samples=samples) == [0, 1, 2, 3]


@pytest.mark.parametrize("update", UPDATES)
def test_any_update_is_noticed_by_the_next_pass_of_groups(update):
    """Their masks are other tensors than those that the last pass saw."""
    model, seen = make_model(), []
    for _ in range(3):
        model.zero_grad()
        with grouped_samples(model, 2):
            sample_loss(model, X.repeat(2, 1)).backward()
            seen.append(mask_schedule(model).step)
        for parameter in trainable(model):
            update(parameter)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("update", UPDATES)
def test_gradients_that_are_reset_after_the_pass_cost_one_step_at_most(update):
    """Until then the gradients of before are there: what comes next shows that they were reset."""
    model, seen = make_model(), []
    for _ in range(5):
        loss = model(X).square().sum()
        model.zero_grad()
        loss.backward()
        seen.append(mask_schedule(model).step)
        for parameter in trainable(model):
            update(parameter)
    assert seen in ([0, 1, 2, 3, 4], [0, 0, 1, 2, 3])


def without_grad(model, loss):
    """By gradients that no parameter holds, through ``.data``."""
    factors = trainable(model)
    for factor, grad in zip(factors, torch.autograd.grad(loss, factors), strict=True):
        factor.data.sub_(0.1 * grad)


def as_a_vector(model, loss):
    factors = trainable(model)
    grads = nn.utils.parameters_to_vector(torch.autograd.grad(loss, factors))
    new = nn.utils.parameters_to_vector(factors) - 0.1 * grads
    nn.utils.vector_to_parameters(new.detach(), factors)


def of_the_last_layer(update):
    def of_a_block(model, loss):
        model.zero_grad()
        loss.backward()
        for factor in trainable(model)[2:]:
            update(factor)

    return of_a_block


@pytest.mark.parametrize(
    "update", [without_grad, as_a_vector, *(of_the_last_layer(update) for update in UPDATES)]
)
def test_an_update_of_any_factor_is_noticed_however_it_is_made(update):
    # At a rate at which some row of every layer is kept, so that each step changes something.
    model, seen = make_model(p=0.1), []
    for _ in range(4):
        loss = model(X).square().sum()
        seen.append(mask_schedule(model).step)
        update(model, loss)
    assert seen == [0, 1, 2, 3]


def passed_in(model):
    return {n: one.detach() for n, one in model.named_parameters() if one.requires_grad}


def loss_of(model, factors, x=X):
    return torch.func.functional_call(model, factors, (x,)).square().mean()


def by_transform(model, factors):
    return torch.func.grad(lambda given: loss_of(model, given))(factors)


def by_example(model, factors):
    """Gradients of each example, averaged."""

    def of_one(given, x):
        return loss_of(model, given, x[None])

    each = torch.func.vmap(torch.func.grad(of_one), in_dims=(None, 0))(factors, X)
    return {name: one.mean(0) for name, one in each.items()}


@pytest.mark.parametrize("gradients", [by_transform, by_example])
def test_factors_that_are_passed_in_move_the_masks_once_an_update(gradients):
    """As training by ``torch.func`` does, which holds the factors outside the model."""
    model, seen = make_model(), []
    factors = passed_in(model)
    for _ in range(3):
        for _ in range(2):
            grads = gradients(model, factors)
            seen.append(mask_schedule(model).step)
        factors = {name: one - 0.1 * grads[name] for name, one in factors.items()}
    assert seen == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("scale", [1.0, 0.9])
def test_factors_that_are_passed_in_within_an_optimizer_step_move_nothing(scale):
    """They may be those of the model or others, as in an inner step of meta-learning."""
    model, seen = make_model(), []
    optimizer = torch.optim.SGD(trainable(model), lr=0.1)
    for _ in range(3):
        model(X).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        for gradients in (by_transform, by_example):
            gradients(model, {name: scale * one for name, one in passed_in(model).items()})
            loss_of(model, passed_in(model))
        seen.append(mask_schedule(model).step)
    assert seen == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_step_that_is_compiled_as_a_whole_moves_the_masks_once():
    losses = []
    for compiled in (False, True):
        model = make_model()
        optimizer = torch.optim.SGD(trainable(model), lr=0.1)

        def step(model=model, optimizer=optimizer):
            loss = model(X).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        run = torch.compile(step, backend="eager") if compiled else step
        losses += [float(run().detach()) for _ in range(3)]
        assert mask_schedule(model).step == 3
    assert losses[3:] == pytest.approx(losses[:3], rel=1e-12)


def test_an_optimizer_a_block_of_layers_is_a_step_of_its_own():
    """Block coordinate descent: one of all factors, and then one of some that takes its place."""
    model, seen = make_model(), []
    optimizers = [
        torch.optim.SGD(trainable(model), 0.1),
        torch.optim.SGD(trainable(model)[2:], 0.1),
    ]
    for optimizer in (optimizers[0], *optimizers[1:] * 4):
        optimizer.zero_grad()
        for _ in range(2):  # gradient accumulation
            model(X).square().sum().backward()
        seen.append(mask_schedule(model).step)
        optimizer.step()
    assert seen == [0, 1, 2, 3, 4]


def test_an_optimizer_that_hides_from_pytorch_is_noticed():
    class Own(torch.optim.Optimizer):
        def __init__(self, parameters):
            self.parameters = list(parameters)

        def zero_grad(self):
            for parameter in self.parameters:
                parameter.grad = None

        def step(self):
            for parameter in self.parameters:
                through_data(parameter)

    model, seen = make_model(), []
    optimizer = Own(trainable(model))
    for _ in range(4):
        optimizer.zero_grad()
        model(X).square().sum().backward()
        seen.append(mask_schedule(model).step)
        optimizer.step()
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("update", UPDATES)
def test_an_optimizer_that_is_left_for_updates_by_hand_is_noticed(update):
    """It reported its steps until then, so that the values were not watched."""
    model = make_model(p=0.1)
    optimizer = torch.optim.SGD(trainable(model), 0.1)
    model(X).square().sum().backward()
    optimizer.step()
    seen = train_by_hand(model, update, 5)
    # What goes through ``.data`` shows by the next gradient, after a pass with the old masks.
    assert seen in ([1, 2, 3, 4, 5], [1, 1, 2, 3, 4])
    assert seen[1] == 2 or update is not in_place


def test_gradients_that_a_trusted_optimizer_is_not_given_move_nothing():
    """A gradient scaler throws away those that overflow, between steps of an optimizer."""
    model = make_model()
    optimizer = torch.optim.SGD(trainable(model), 0.1)
    seen = []
    for overflow in (False, True, True, False, True, False):
        optimizer.zero_grad()
        model(X).square().sum().backward()
        seen.append(mask_schedule(model).step)
        if not overflow:
            optimizer.step()
    assert seen == [0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("update", UPDATES)
def test_parts_that_are_called_without_the_model_warn_once(update):
    model = make_model()

    def parts(x):
        return model[2](model[1](model[0](x)))

    with pytest.warns(UserWarning, match=r"mask_schedule\(model\)\.advance\(\)") as warned:
        assert train_by_hand(model, update, 6, parts) == [0] * 6
    assert len(warned) == 1


@pytest.mark.parametrize("update", UPDATES)
def test_parts_that_are_called_after_an_optimizer_was_left_warn_too(update):
    model = make_model()
    optimizer = torch.optim.SGD(trainable(model), 0.1)
    model(X).square().sum().backward()
    optimizer.step()

    def parts(x):
        return model[2](model[1](model[0](x)))

    with pytest.warns(UserWarning, match=r"mask_schedule\(model\)\.advance\(\)"):
        assert train_by_hand(model, update, 6, parts) == [1] * 6


def test_factors_are_listened_to_at_both_ends_once_an_optimizer_reports_its_steps():
    model = make_model()
    optimizer = torch.optim.SGD(trainable(model), 0.1)
    listened = []
    for _ in range(3):
        model(X).square().sum().backward()
        hooks = [factor._post_accumulate_grad_hooks for factor in trainable(model)]
        listened.append([bool(of_factor) for of_factor in hooks])
        optimizer.step()
    assert listened[0] == [True] * 4
    assert listened[1] == listened[2]
    assert sum(listened[1]) == 2


@pytest.mark.parametrize("reset", [False, True])
def test_gradients_without_an_update_move_nothing(reset):
    """Accumulated, or thrown away as a gradient scaler does with those that overflow."""
    model = make_model()
    for _ in range(4):
        model(X).square().sum().backward()
        if reset:
            model.zero_grad()
    assert mask_schedule(model).step == 0


def test_all_closures_of_an_optimizer_step_see_the_same_masks():
    model, seen = make_model(), []
    optimizer = torch.optim.LBFGS(trainable(model), max_iter=5, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = model(X).square().sum()
        loss.backward()
        seen.append(mask_schedule(model).step)
        return loss

    optimizer.step(closure)
    assert set(seen) == {0}
    assert len(seen) > 2
    assert mask_schedule(model).step == 1


class TwoPasses(torch.optim.Optimizer):
    """Sharpness-aware minimization as it is usually written: an optimizer that holds another."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})
        self.inner = torch.optim.SGD(self.param_groups, lr=0.1)

    def step(self, closure):
        for _ in range(2):
            closure()
            self.inner.step()


@pytest.mark.parametrize("samples", [1, 2])
def test_an_optimizer_within_another_ones_step_is_no_step_of_its_own(samples):
    model, seen = make_model(), []
    optimizer = TwoPasses(trainable(model))

    def closure():
        optimizer.zero_grad()
        backward_over_samples(model, lambda: model(X).square().sum(), samples)
        seen.append(mask_schedule(model).step)

    for _ in range(3):
        optimizer.step(closure)
    assert seen == [0, 0, 1, 1, 2, 2]
    assert mask_schedule(model).step == 3


def test_a_step_that_fails_does_not_hold_the_masks_for_ever():
    model = make_model()
    optimizer = torch.optim.SGD(trainable(model), lr=0.1)

    def broken():
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        optimizer.step(broken)
    for step in range(3):
        assert mask_schedule(model).step == step
        model(X).square().sum().backward()
        optimizer.step()


class FullAt(TorchDispatchMode):
    """Memory that is full at one of the operations within the block."""

    def __init__(self, operation):
        super().__init__()
        self.left = operation

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.left -= 1
        if self.left == 0:
            raise torch.OutOfMemoryError
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("operation", [20, 40])
def test_a_step_that_runs_out_of_memory_is_taken_again_with_its_masks(operation, before):
    """Adam has counted it by then, and has written to the first factors."""
    model = make_model()
    optimizer = torch.optim.AdamW(trainable(model), lr=0.1, foreach=False)

    def steps(count):
        for _ in range(count):
            optimizer.zero_grad()
            model(X).square().sum().backward()
            yield mask_schedule(model).step
            optimizer.step()

    assert list(steps(before)) == list(range(before))
    model(X).square().sum().backward()
    with pytest.raises(torch.OutOfMemoryError), FullAt(operation):
        optimizer.step()
    assert list(steps(2)) == [before, before + 1]


def test_masks_are_held_over_the_two_passes_of_sharpness_aware_minimization():
    model = make_model()
    optimizer = torch.optim.SGD(trainable(model), lr=0.1)
    for step in range(3):
        with hold_masks(model):
            model(X).square().sum().backward()
            ascent = [0.01 * parameter.grad for parameter in trainable(model)]
            shift(model, ascent, 1)
            optimizer.zero_grad()
            model(X).square().sum().backward()
            assert mask_schedule(model).step == step
            shift(model, ascent, -1)
            optimizer.step()
            assert mask_schedule(model).step == step
        assert mask_schedule(model).step == step + 1


def shift(model, by, sign):
    with torch.no_grad():
        for parameter, part in zip(trainable(model), by, strict=True):
            parameter.add_(part, alpha=sign)


def test_a_restored_optimizer_takes_the_masks_along():
    model, resumed = make_model(), make_model()
    optimizers = [torch.optim.AdamW(trainable(one)) for one in (model, resumed)]
    for _ in range(3):
        model(X).square().sum().backward()
        optimizers[0].step()
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for one, optimizer in zip((model, resumed), optimizers, strict=True):
        one(X).square().sum().backward()
        optimizer.step()
        assert mask_schedule(one).step == 4
    assert torch.equal(masks_of(model), masks_of(resumed))
    # Where its steps are known to be followed, masks go on from the step that somebody seeks.
    mask_schedule(resumed).seek(0)
    resumed(X).square().sum().backward()
    optimizers[1].step()
    assert mask_schedule(resumed).step == 1


@pytest.mark.parametrize("change", [0.0, 1.0], ids=["the same", "others"])
def test_what_is_written_to_the_factors_within_a_pass_is_no_update(change):
    """As by a wrapper that first sends the parameters of one process to the others."""
    model, sent = make_model(), []

    def send(*arguments):
        if not sent:
            with torch.no_grad():
                sent.extend(factor.add_(change) for factor in trainable(model))

    model.register_forward_pre_hook(send)
    for _ in range(2):
        model(X).square().sum().backward()
        assert mask_schedule(model).step == 0
    torch.optim.SGD(trainable(model), lr=0.1).step()
    assert mask_schedule(model).step == 1


def test_the_step_that_makes_an_optimizers_state_is_none():
    """torch.distributed.checkpoint takes it before it loads or saves."""
    model = make_model()
    optimizer = torch.optim.AdamW(trainable(model))
    for expected in range(3):
        if not optimizer.state:
            get_optimizer_state_dict(model, optimizer)
        assert mask_schedule(model).step == expected
        model(X).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(
    "used",
    [
        lambda model: model(X).square().sum().backward(),
        lambda model: model(X),  # by methods that need no gradient
        lambda model: (0 * model[2](model[0](X))).sum().backward(),  # called without the model
    ],
)
def test_a_step_of_rate_0_after_a_pass_is_a_step(used):
    model = make_model()
    optimizer = torch.optim.SGD(trainable(model), lr=0.0)
    used(model)
    optimizer.step()
    assert mask_schedule(model).step == 1


@pytest.mark.parametrize("kind", [dict, lambda pairs: tuple(dict(pairs).values())])
def test_a_kept_output_that_is_left_unused_waits_for_nothing(kind):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 4).double()

        def forward(self, x):
            return kind([("hidden", self.inner(x)), ("pooled", self.inner(x).tanh())])

    model = inject(Two(), rank=2, p=0.5)
    kept = []

    def loss():
        kept.append(model(X))
        return kept[-1]["hidden" if kind is dict else 0].square().mean()

    backward_over_samples(model, loss, samples=3)
    assert len(kept) == 3
    kept.append(model(X))
    with pytest.raises(RuntimeError, match="waiting for its backward pass"):
        mask_schedule(model).advance()


def test_another_models_optimizer_does_not_matter():
    model, other = make_model(), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    other(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert mask_schedule(model).step == 0


def test_evaluation_and_loading_do_not_advance():
    model = make_model()
    model.load_state_dict(make_model().state_dict())
    model(X)
    model.eval()(X)
    assert mask_schedule(model).step == 0


def test_a_copy_goes_its_own_way():
    model = make_model()
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(trainable(twin), lr=0.1)
    twin(X).sum().backward()
    optimizer.step()
    assert (mask_schedule(twin).step, mask_schedule(model).step) == (1, 0)
    twin(X).sum().backward()
    with torch.no_grad():
        for parameter in trainable(twin):
            parameter.add_(1)
    twin(X)
    assert mask_schedule(twin).step == 2


def test_resuming_continues_the_sequence():
    model, resumed, restored = make_model(seed=7), make_model(seed=7), make_model(seed=0)
    for _ in range(3):
        mask_schedule(model).advance()
    mask_schedule(resumed).seek(3)
    mask_schedule(restored).load_state_dict(mask_schedule(model).state_dict())
    assert torch.equal(masks_of(model), masks_of(resumed))
    assert torch.equal(masks_of(model), masks_of(restored))


def test_whatever_has_masks_of_its_own_can_be_scheduled():
    """A schedule knows nothing of our layers, or of modules."""

    class Layer(SimpleNamespace):
        """Something that can be referred to weakly."""

    schedule = MaskSchedule(seed=9)
    layers = [
        Layer(
            masks=None, number=-1, shape=LayerShape(4, 3, 0.5, 0.25), rescale=rescale, factors=(),
            mask_in=torch.ones(4), mask_out=torch.ones(3),
        )
        for rescale in (False, True)
    ]  # fmt: skip
    for layer in layers:
        schedule.join(layer)
    schedule.seek(2)
    for number, layer in enumerate(layers):
        assert (layer.masks, layer.number) == (schedule, number)
        drawn = draw_masks(layer.shape, seed=9, step=2, layer=number, rescale=layer.rescale)
        for held, one in zip((layer.mask_in, layer.mask_out), drawn, strict=True):
            assert np.array_equal(held, one)


def test_a_model_that_nobody_needs_is_freed_at_once():
    """And not when Python next looks for cycles, which may be many models later."""

    def trained():
        model = make_model()
        optimizer = torch.optim.AdamW(trainable(model))
        model(X).sum().backward()
        optimizer.step()
        copied = copy.deepcopy(model)
        return [weakref.ref(one) for one in (*model.modules(), *copied.modules())]

    trained()  # PyTorch's first optimizer imports much, and keeps the frames that it was made in.
    with without_collection():
        assert [one() for one in trained() if one() is not None] == []


def test_a_layer_that_joins_takes_no_number_that_another_has():
    model = make_model()
    masks = mask_schedule(model)
    masks.leave(model[0])
    masks.join(model[0])
    assert [layer.number for layer in masks.layers] == [1, 2]


def test_masks_cannot_change_between_a_forward_and_its_backward():
    model = make_model()
    loss = model(X).sum()
    with pytest.raises(RuntimeError, match="waiting for its backward pass"):
        mask_schedule(model).advance()
    mask_schedule(model).seek(0)  # where they are already
    for _ in range(2):  # being refused takes nothing from what waits
        with pytest.raises(RuntimeError, match="waiting for its backward pass"):
            next(each_sample(model, range(1, 3)))
    loss.backward()
    mask_schedule(model).advance()
    model(X)  # its graph is dropped: nothing waits
    gc.collect()
    mask_schedule(model).advance()


def test_masks_follow_the_model_to_another_dtype():
    model = make_model().float()
    mask_schedule(model).advance()
    assert masks_of(model).dtype == torch.float32
    model(X.float())


def sample_loss(model, x=X):
    return model(x).square().mean()


def test_passes_and_groups_give_the_same_loss_and_gradient():
    model = make_model()
    loss = backward_over_samples(model, lambda: sample_loss(model), samples=4)
    by_passes = [parameter.grad.clone() for parameter in trainable(model)]
    model.zero_grad()
    with grouped_samples(model, 4):
        grouped = sample_loss(model, X.repeat(4, 1))
        grouped.backward()
    torch.testing.assert_close(loss, grouped.detach().to(loss.dtype))
    for parameter, grad in zip(trainable(model), by_passes, strict=True):
        torch.testing.assert_close(parameter.grad, grad)
    assert model[0].mask_in.dim() == 1
    assert mask_schedule(model).step == 0


def test_the_first_sample_is_the_plain_pass():
    model = make_model()
    plain = sample_loss(model).detach()
    loss = backward_over_samples(model, lambda: sample_loss(model), samples=1)
    torch.testing.assert_close(loss.to(plain.dtype), plain)


def test_ensemble_is_the_average_of_its_members_and_leaves_the_model_alone():
    model = make_model()
    before = masks_of(model).clone()
    outputs = [model(X).detach() for _ in members(model, 4)]
    assert not torch.equal(outputs[0], outputs[1])
    torch.testing.assert_close(Ensemble(model, 4)(X), torch.stack(outputs).mean(0))
    torch.testing.assert_close(Ensemble(model, 2)(X), torch.stack(outputs[:2]).mean(0))
    assert model.training
    assert torch.equal(masks_of(model), before)
    assert mask_schedule(model).step == 0


def test_large_ensemble_of_one_linear_layer_is_the_expected_weight_network():
    """Its members are independent with a known mean: within 6 standard errors of it."""
    torch.manual_seed(0)
    model = inject(nn.Linear(6, 4).double(), rank=2, p=0.3)
    torch.nn.init.normal_(model.lora_B)
    x = X[:1]
    size = 2000
    outputs = torch.stack([model(x).detach() for _ in members(model, size)])
    error = outputs.std(0) / size**0.5
    assert ((outputs.mean(0) - model.eval()(x)).abs() <= 6 * error + 1e-12).all()


def test_masks_that_are_drawn_in_inference_mode_serve_a_training_after_it():
    """Those for several groups are other tensors, and so are those that take their place."""
    model = make_model()
    expected = model(X).detach()
    with torch.inference_mode(), grouped_samples(model, 2):
        model(X.repeat(2, 1))
    found = model(X)
    found.sum().backward()
    assert torch.equal(found, expected)


def test_a_model_that_is_made_in_inference_mode_has_members():
    with torch.inference_mode():
        model = make_model()
    with torch.no_grad():
        first, second = [model(X) for _ in members(model, 2)]
    assert not torch.equal(first, second)
    with torch.inference_mode():
        assert torch.equal(model(X), make_model()(X))


def test_a_replica_of_data_parallel_is_no_model_whose_layers_are_idle():
    """Of its layers the schedule knows nothing, and the first pass does not tell otherwise."""
    model = make_model()
    assert torch.equal(replica_of(model)(X), model(X))


def test_replicas_of_data_parallel_are_members_and_wait_for_nobody():
    model = make_model()
    found = Ensemble(DataParallel(model), 3)(X)
    torch.testing.assert_close(found, Ensemble(model, 3)(X))
    part = nn.Sequential(DataParallel(model[0]), *model[1:])
    torch.testing.assert_close(Ensemble(part, 3)(X), found)


def test_replicas_of_data_parallel_train_with_the_masks_of_the_step():
    model, alone = make_model(), make_model()
    optimizers = [torch.optim.SGD(trainable(one), lr=0.1) for one in (model, alone)]
    for step in range(3):
        for called, optimizer in zip((DataParallel(model), alone), optimizers, strict=True):
            optimizer.zero_grad()
            backward_over_samples(called, lambda called=called: called(X).square().sum(), 2)
            optimizer.step()
        assert mask_schedule(model).step == mask_schedule(alone).step == step + 1
        for one, other in zip(trainable(model), trainable(alone), strict=True):
            torch.testing.assert_close(one, other)


def test_ensemble_picks_an_output():
    model = make_model()

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return {"logits": self.model(x)}

    ensemble = Ensemble(Named(), 2, output=lambda result: result["logits"])
    torch.testing.assert_close(ensemble(X), Ensemble(model, 2)(X))


def test_threads_that_share_a_model_do_not_see_each_others_members():
    model = make_model().eval()
    calls = [Ensemble(model, 3), Ensemble(model, 2), model]
    with torch.no_grad():
        expected = [call(X) for call in calls]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda number: calls[number % 3](X), range(90)))
    for number, output in enumerate(found):
        torch.testing.assert_close(output, expected[number % 3])
    assert {layer.inference for layer in mask_schedule(model).layers} == {"expected weight"}


def test_a_part_that_another_thread_calls_waits_for_the_mode_to_come_back():
    """Parts have no hooks of the model: each layer asks."""
    model = make_model().eval()
    right = model[2](model[1](model[0](X)))
    with ThreadPoolExecutor(1) as pool:
        with inference_mode(model, "no masks"):
            found = pool.submit(lambda: model[2](model[1](model[0](X))))
            assert not wait([found], timeout=0.2).done
            assert not torch.equal(model(X), right)
        assert torch.equal(found.result(), right)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_pass_that_fails_keeps_nobody_waiting(error):
    """Nor one that Ctrl-C ends: PyTorch then calls no hook, not even one that it always calls."""

    def fail(module, arguments):
        raise error

    model = make_model().eval()
    hook = model[1].register_forward_pre_hook(fail)
    with pytest.raises(error):
        model(X)
    hook.remove()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(Ensemble(model, 2), X).result(timeout=30)


@pytest.mark.parametrize("way", ["by an optimizer", "by hand"])
def test_a_step_that_fails_keeps_no_masks(way):
    """Its optimizer lives on, in a traceback for example, and another one takes its place."""
    model = make_model()
    failed = torch.optim.SGD(trainable(model), 0.1)

    def closure():
        model(X)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failed.step(closure)
    optimizer, seen = torch.optim.SGD(trainable(model), 0.1), []
    for _ in range(3):
        model(X).square().sum().backward()
        seen.append(mask_schedule(model).step)
        if way == "by an optimizer":
            optimizer.step()
        else:
            for factor in trainable(model):
                factor.data -= 0.1 * factor.grad
        model.zero_grad()
    assert seen == [0, 1, 2]


def passes_of_which_one_fails(model):
    passes = []

    def loss():
        passes.append(model(X).square().sum())
        if len(passes) == 2:
            raise torch.OutOfMemoryError
        return passes[-1]

    backward_over_samples(model, loss, 3)


def a_group_that_fails(model):
    with grouped_samples(model, 2):
        model(torch.cat([X, X])).square().sum()
        raise torch.OutOfMemoryError


def a_group_whose_backward_pass_comes_too_late(model):
    with grouped_samples(model, 2):
        loss = model(torch.cat([X, X])).square().sum()
    loss.backward()


@pytest.mark.parametrize(
    "call",
    [passes_of_which_one_fails, a_group_that_fails, a_group_whose_backward_pass_comes_too_late],
)
def test_after_passes_that_fail_masks_are_those_of_the_first_sample(call):
    """The error is what is raised, and holds the pass that waits; who catches it trains on."""
    model, right = make_model(), make_model()
    late = call is a_group_whose_backward_pass_comes_too_late
    with pytest.raises(RuntimeError if late else torch.OutOfMemoryError) as error:
        call(model)
    torch.testing.assert_close(model(X), right(X), rtol=0, atol=0)
    assert mask_schedule(model).samples == range(1)
    mask_schedule(model).advance()  # nothing is waited for
    del error


@pytest.mark.parametrize(
    "call",
    [
        lambda model: Ensemble(model, 0), lambda model: Ensemble(nn.Linear(2, 2), 3),
        lambda model: backward_over_samples(model, lambda: sample_loss(model), 0),
        lambda model: grouped_samples(model, 0).__enter__(),
        lambda model: inference_mode(model, "average").__enter__(),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call):
    with pytest.raises(ValueError, match=r"at least 1|no layer with LoRA Dropout|must be one of"):
        call(make_model())

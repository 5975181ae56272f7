"""Putting the layer into models and out again; never silently off."""

import copy
import re
from dataclasses import FrozenInstanceError
from io import BytesIO

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from transformers.modeling_utils import local_torch_dtype

from lora_dropout import (
    LoRADropoutLinear,
    describe,
    inference_mode,
    inject,
    mask_schedule,
    merge,
    sparsity_penalty,
)
from lora_dropout.functional import merge_weight
from lora_dropout.masks import draw_masks


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(x + torch.tanh(self.query(x)) * self.value(x))


def make_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(Block(), Block(), nn.Linear(8, 3)).double()


def perturb(model, seed=1):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


X = torch.randn(5, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_target_chooses_layers_by_the_end_of_their_names():
    model = inject(make_model(), rank=2, p=0.1, target=["query", "1.value"])
    assert [one.layer for one in describe(model)] == ["0.query", "1.query", "1.value"]
    everything = inject(make_model(), rank=2, p=0.1)
    assert len(describe(everything)) == 5


def test_only_the_factors_are_trained():
    model = inject(make_model(), rank=2, p=0.1, target="query")
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{i}.query.lora_{f}" for i in (0, 1) for f in "AB"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "key"}, r"target 'key' matches no nn\.Linear.*'0\.query'"),
        ({"target": ["query", "norm"]}, r"target 'norm' matches no nn\.Linear"),
        ({"target": "uery"}, "matches no"), ({"target": []}, "target is empty"),
        ({"rank": 4}, "rank must lie in"), ({"p": 1.0}, "p must lie in"),
        ({"seed": -1}, "seed must lie in"),
    ],
)  # fmt: skip
def test_a_bad_injection_is_refused_and_changes_nothing(options, message):
    model = make_model()
    before = repr(model)
    with pytest.raises(ValueError, match=message):
        inject(model, **{"rank": 2, "p": 0.1} | options)
    assert repr(model) == before
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_nothing_left_to_adapt_is_an_error():
    model = inject(make_model(), rank=2, p=0.1)
    with pytest.raises(ValueError, match=r"no nn\.Linear that is not adapted already"):
        inject(model, rank=2, p=0.1)


def test_a_second_injection_joins_the_schedule():
    model = inject(make_model(), rank=2, p=0.1, target="query", seed=5)
    inject(model, rank=1, p=0.5, target="value")
    found = describe(model)
    assert [one.number for one in found] == [0, 2, 1, 3]
    assert [one.sparsity for one in found] == [pytest.approx(s) for s in (0.19, 0.75, 0.19, 0.75)]
    layers = [model.get_submodule(one.layer) for one in found]
    assert len({id(layer.masks) for layer in layers}) == 1
    assert all(layer.lora_A.requires_grad for layer in layers)
    for layer in layers:
        drawn = draw_masks(layer.shape, seed=5, step=0, layer=layer.number)
        for held, one in zip((layer.mask_in, layer.mask_out), drawn, strict=True):
            assert held.tolist() == one.tolist()


@pytest.mark.parametrize("kind", ["gaussian", "two-point", "mean"])
def test_masks_of_another_kind_are_told_and_drop_nothing(kind):
    model = inject(make_model(), rank=2, p=0.3, mask_kind=kind)
    assert {(one.kind, one.sparsity, one.masks) for one in describe(model)} == {(kind, 0.0, True)}
    # The theorem's penalty knows of the rate alone.
    perturb(model)
    plain = inject(make_model(), rank=2, p=0.3)
    plain.load_state_dict(model.state_dict())
    assert sparsity_penalty(plain, 1.0) > 0
    assert torch.equal(sparsity_penalty(plain, 1.0), sparsity_penalty(model, 1.0))


def test_describe_tells_whether_masks_are_drawn():
    model = inject(make_model(), rank=2, p=0.1, target="query", p_out=0.5)

    def told():
        return {(one.mode, one.masks) for one in describe(model)}

    assert told() == {("training", True)}
    assert {one.sparsity for one in describe(model)} == {1 - 0.9 * 0.5}
    model.eval()
    assert told() == {("expected weight", False)}
    with inference_mode(model, "ensemble"):
        assert told() == {("ensemble", True)}
    assert {one.masks for one in describe(inject(make_model(), rank=2, p=0.0))} == {False}
    with pytest.raises(ValueError, match="no layer with LoRA Dropout"):
        describe(make_model())


def test_a_description_is_a_table_for_pandas_and_cannot_be_changed():
    model = inject(make_model(), rank=2, p=0.5, p_out=0.25, alpha=3, target="query")
    mask_schedule(model).seek(4)
    expected = {
        "layer": "0.query", "adapter": "", "number": 0, "d_in": 8, "d_out": 8, "rank": 2,
        "alpha": 3.0, "p_in": 0.5, "p_out": 0.25, "kind": "bernoulli",
        "sparsity": 0.625, "rescale": False, "mode": "training", "masks": True, "step": 4,
    }  # fmt: skip
    table = pd.DataFrame(describe(model))
    assert list(table) == list(expected)
    assert table.to_dict("records") == [expected, expected | {"layer": "1.query", "number": 1}]
    assert table["masks"].dtype == table["rescale"].dtype == bool
    with pytest.raises(FrozenInstanceError):
        describe(model)[0].step = 0


@pytest.mark.parametrize("copied", [lambda model: model, copy.deepcopy])
def test_merged_equals_unmerged_and_has_the_old_structure(copied):
    original = make_model()
    model = copied(perturb(inject(copy.deepcopy(original), rank=2, p=0.3, alpha=5.0))).eval()
    expected = model(X)
    theirs = [model.register_forward_pre_hook(print), model.register_forward_hook(print)]
    merged = merge(model)
    for hooks, one in zip((merged._forward_pre_hooks, merged._forward_hooks), theirs, strict=True):
        assert list(hooks.values()) == [print]
        one.remove()
    torch.testing.assert_close(merged(X), expected)
    assert repr(merged) == repr(original.eval())
    assert merged.state_dict().keys() == original.state_dict().keys()
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_merge_leaves_frozen_what_was_frozen_and_ties_alone():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    tied = nn.Linear(4, 4, bias=False)
    tied.weight = model[0].weight
    model.append(tied)
    model[1].weight.requires_grad_(False)
    frozen = tied.weight.clone()
    merged = merge(perturb(inject(model, rank=2, p=0.1, target=["0", "1"])))
    assert torch.equal(tied.weight, frozen)
    assert not torch.equal(merged[0].weight, frozen)
    assert [p.requires_grad for p in (merged[0].weight, merged[1].weight)] == [True, False]


def test_a_linear_layer_itself_is_adapted_and_merged():
    linear = nn.Linear(4, 3)
    layer = inject(linear, rank=2, p=0.5)
    assert isinstance(layer, LoRADropoutLinear)
    assert merge(layer) is linear
    copied = copy.deepcopy(inject(nn.Linear(4, 3), rank=2, p=0.5))
    assert type(merge(copied)) is nn.Linear


@pytest.mark.parametrize(
    ("put_there", "message"),
    [
        (lambda layer: weight_norm(layer.base), "2 computes its frozen weight"),
        (lambda layer: prune.l1_unstructured(layer.base, "weight", 0.5), "2 computes its frozen"),
        (lambda layer: layer.register_forward_hook(lambda *given: 2 * given[2]), "2 has hooks"),
        (lambda layer: layer.register_forward_pre_hook(lambda *given: None), "2 has hooks"),
    ],
    ids=["weight_norm", "pruning", "hook", "hook before"],
)
def test_what_a_merged_layer_would_lose_is_refused_and_nothing_is_merged(put_there, message):
    model = perturb(inject(make_model(), rank=2, p=0.3)).eval()
    put_there(model[2])
    expected = model(X)
    with pytest.raises(ValueError, match=message):
        merge(model)
    assert len(describe(model)) == 5
    assert torch.equal(model(X), expected)


def test_state_dict_holds_factors_and_no_masks():
    model = inject(make_model(), rank=2, p=0.5, target="query")
    extra = set(model.state_dict()) - set(make_model().state_dict())
    assert {name.rpartition(".")[2] for name in extra} == {"lora_A", "lora_B", "weight", "bias"}
    twin = inject(make_model(seed=9), rank=2, p=0.5, target="query")
    twin.load_state_dict(perturb(model).state_dict())
    torch.testing.assert_close(twin(X), model(X))


def written_and_read(state):
    file = BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file)


@pytest.mark.parametrize("way", [lambda state: state, written_and_read])
@pytest.mark.parametrize(
    ("other", "trained"),
    [
        ({"p": 0.3}, "p_in=0.5, p_out=0.5 are"), ({"alpha": 4}, "alpha=2.0 are"),
        ({"rescale": True}, "rescale=False are"),
    ],
)  # fmt: skip
def test_factors_of_other_settings_are_loaded_with_a_warning(way, other, trained):
    """As eval() would multiply their update by another factor."""
    settings = {"rank": 2, "p": 0.5, "target": "query"}
    model = inject(make_model(), **settings)
    twin = inject(make_model(seed=9), **settings | other)
    with pytest.warns(UserWarning, match=f"trained with {trained} loaded into a layer with"):
        twin.load_state_dict(way(model.state_dict()))
    twin.load_state_dict(dict(model.state_dict()))  # as they are, without a word


def test_merge_weight_has_replica_dimensions():
    A, B = torch.randn(3, 2, 5), torch.randn(3, 4, 2)
    weight = torch.randn(4, 5)
    merged = merge_weight(weight, A, B, 0.5)
    for number in range(3):
        torch.testing.assert_close(merged[number], weight + 0.5 * B[number] @ A[number])


def test_schedule_needs_an_adapted_model():
    with pytest.raises(ValueError, match="call inject"):
        mask_schedule(make_model())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 8)
        self.b = self.a

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


@pytest.mark.parametrize("target", [None, "a", "b"])
def test_a_layer_with_two_names_is_adapted_and_merged_under_both(target):
    torch.manual_seed(0)
    model = inject(Twice().double(), rank=2, p=0.3, target=target)
    assert model.a is model.b
    assert len(describe(model)) == 1
    before = perturb(model).eval()(X)
    merged = merge(model)
    assert merged.a is merged.b
    torch.testing.assert_close(merged.eval()(X), before)


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Called(nn.Linear):
    def __call__(self, x):
        return 2 * super().__call__(x)


class Renamed(nn.Linear):
    """Nothing but another name."""


class WrittenOut(nn.Linear):
    def forward(self, x):
        return x @ self.weight.T + self.bias


class WithScale(nn.Linear):
    """The product for now, and another one once it was trained."""

    def __init__(self, *sides):
        super().__init__(*sides)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * super().forward(x)


class Noisy(nn.Linear):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.1, self.training)


class Clipped(nn.Linear):
    def forward(self, x):
        return super().forward(x.clamp(-9, 9))


def hooked():
    layer = nn.Linear(8, 8)
    layer.register_forward_hook(lambda module, args, output: 2 * output)
    return layer


def hooked_backward():
    layer = nn.Linear(8, 8)
    layer.register_full_backward_hook(lambda module, grads_in, grads_out: None)
    return layer


def patched():
    layer = nn.Linear(8, 8)
    layer.forward = lambda x: x
    return layer


class Experts(nn.Module):
    """Positions are added, and are no layer that was left out."""

    def __init__(self):
        super().__init__()
        self.position_embeddings = nn.Parameter(torch.ones(3, 8))
        self.up = nn.Parameter(torch.ones(2, 8, 8))


def pruned():
    return prune.l1_unstructured(nn.Linear(8, 8), "weight", amount=3)


NOT_PLAIN = {
    "a Scaled with a forward pass of its own": lambda: Scaled(8, 8),
    "a WithScale with": lambda: WithScale(8, 8),
    "a Noisy with a forward pass of its own": lambda: Noisy(8, 8),
    "a Clipped with a forward pass of its own": lambda: Clipped(8, 8),
    "computes its weight": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)),
    "computes its weight (": lambda: nn.utils.spectral_norm(nn.Linear(8, 8)),
    "computes its": pruned,
    "has hooks": hooked,
    "has hooks,": hooked_backward,
    "a Called with a forward pass of its own": lambda: Called(8, 8),
    "a Linear with a forward pass of its own": patched,
    "a Conv1d": lambda: nn.Conv1d(8, 8, 1),
    "a GRU": lambda: nn.GRU(8, 8),
    "an Experts": Experts,
    "a Bilinear": lambda: nn.Bilinear(8, 8, 8),
}


@pytest.mark.parametrize("reason", NOT_PLAIN)
def test_what_does_more_than_multiply_is_refused_by_name_and_left_out_otherwise(reason):
    model = nn.Sequential(nn.Linear(8, 8), NOT_PLAIN[reason]())
    before = repr(model)
    with pytest.raises(ValueError, match="1 cannot be adapted: it .*" + re.escape(reason)):
        inject(model, rank=2, p=0.3, target=["0", "1"])
    assert repr(model) == before
    with pytest.warns(UserWarning, match="not adapted: 1 .*" + re.escape(reason)):
        inject(model, rank=2, p=0.3)
    assert [one.layer for one in describe(model)] == ["0"]


def test_a_model_without_a_plain_layer_says_what_it_has():
    with pytest.raises(ValueError, match=r"left out: 0, 1, 2 and 1 more is a Scaled with"):
        inject(nn.Sequential(*(Scaled(8, 8) for _ in range(4))), rank=2, p=0.3)


@pytest.mark.parametrize("kind", [Renamed, WrittenOut])
def test_a_subclass_that_changes_nothing_is_adapted(kind):
    model = perturb(inject(nn.Sequential(kind(8, 8)).double(), rank=2, p=0.3)).eval()
    before = model(X)
    merged = merge(model)
    assert type(merged[0]) is kind
    torch.testing.assert_close(merged(X), before)


def test_layers_without_a_shape_yet_are_refused_and_nothing_is_changed():
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"0\.weight, 0\.bias of the model have no shape yet"):
        inject(model, rank=1, p=0.3)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_that_is_one_layer_of_another_kind_is_named():
    with pytest.raises(ValueError, match="the model is an LSTM and not an nn"):
        inject(nn.LSTM(4, 4), rank=1, p=0.3)


@pytest.mark.parametrize("mode", ["training", "expected weight", "no masks", "ensemble"])
def test_a_weight_that_is_read_and_never_called_is_the_adapted_one(mode):
    """As PyTorch's attention reads its output's weight: masks, gradients and all."""
    model = perturb(inject(nn.Linear(8, 8).double(), rank=2, p=0.5))
    if mode != "training":
        model.eval().inference = mode
    called, read = (
        torch.autograd.grad(output.square().sum(), model.factors)
        for output in (model(X), nn.functional.linear(X, model.weight, model.bias))
    )
    torch.testing.assert_close(model(X), nn.functional.linear(X, model.weight, model.bias))
    for one, other in zip(called, read, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("grad", [True, False])
def test_pytorchs_own_transformer_trains_and_takes_its_fast_path(grad):
    """Whose fast path, without gradients, reads the weights."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    with pytest.warns(UserWarning, match="self_attn is a MultiheadAttention"):
        model = inject(nn.TransformerEncoder(layer, 2), rank=2, p=0.5)
    perturb(model)
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
    model(x).square().sum().backward()
    assert all(factor.grad is not None for factor in mask_schedule(model).factors())
    with torch.set_grad_enabled(grad):
        output = model.eval()(x)
        merged = merge(copy.deepcopy(model)).eval()(x)
    torch.testing.assert_close(output, merged)


def test_a_layer_that_takes_no_part_is_named_once():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.ModuleDict({"used": nn.Linear(8, 8), "idle": nn.Linear(8, 8)})

        def forward(self, x):
            return self.inner["used"](x)

    model = inject(Idle().double(), rank=2, p=0.3)
    with pytest.warns(UserWarning, match=r"1 of 2 layers .* took no part .*: inner\.idle\."):
        model(X)
    model(X)
    apart = inject(Idle().double(), rank=2, p=0.3)
    apart.inner["idle"] = nn.Linear(8, 8)
    apart(X)  # a layer that was taken out of the model takes no part in anything


@pytest.fixture
def double_on_meta():
    with local_torch_dtype(torch.float64), torch.device("meta"):
        yield


def plain_of_two_kinds():
    torch.manual_seed(0)
    # A class that was not tried before.
    return nn.Sequential(nn.Linear(5, 4), type("WrittenOut", (WrittenOut,), {})(4, 3))


@pytest.fixture
def expected():
    return inject(plain_of_two_kinds(), rank=2, p=0.5), plain_of_two_kinds()


def test_default_device_and_precision_change_no_initial_value(expected, double_on_meta):
    model, other = expected
    inject(other, rank=2, p=0.5)
    for one, entry in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(one, entry, rtol=0, atol=0)

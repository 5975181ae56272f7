"""The layer against the formula, and under what PyTorch does to modules."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from lora_dropout import LoRADropoutLinear, inject, mask_schedule
from lora_dropout.masks import MASK_KINDS, LayerShape, draw_masks
from tests.devices import DEVICES


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def make_layer(d_in=6, d_out=5, rank=3, p=0.4, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    base = nn.Linear(d_in, d_out, dtype=torch.float64)
    layer = LoRADropoutLinear(base, rank=rank, p=p, generator=generator, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer


def make_inputs(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_the_formula(layer, x, step=0, sample=0):
    """h = W0 x + b + (alpha/r) diag(m_B) B A diag(m_A) x, entry by entry of the mask."""
    mask_in, mask_out = draw_masks(
        layer.shape, seed=layer.masks.seed, step=step, layer=layer.number, sample=sample,
        rescale=layer.rescale,
    )  # fmt: skip
    update = layer.lora_B.detach() @ layer.lora_A.detach()
    for row in range(layer.shape.d_out):
        for column in range(layer.shape.d_in):
            update[row, column] *= float(mask_out[row]) * float(mask_in[column])
    weight = layer.base.weight + layer.alpha / layer.rank * update
    return nn.functional.linear(x, weight, layer.base.bias)


shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))


@given(
    shapes, st.integers(1, 7), st.floats(0, 0.99), st.floats(0, 0.99), st.booleans(),
    st.sampled_from(MASK_KINDS), st.lists(st.integers(1, 3), min_size=0, max_size=3),
)  # fmt: skip
def test_training_pass_is_the_formula(sides, rank, p, p_out, rescale, mask_kind, batch):
    layer = make_layer(
        *sides, rank=min(rank, *sides), p=p, p_out=p_out, alpha=2.0, rescale=rescale,
        mask_kind=mask_kind,
    )  # fmt: skip
    x = make_inputs(*batch, sides[0])
    torch.testing.assert_close(layer(x), by_the_formula(layer, x), rtol=1e-10, atol=1e-10)


def test_rate_zero_is_plain_lora():
    layer, x = make_layer(p=0.0, alpha=4.0), make_inputs(2, 6)
    plain = layer.base(x) + 4 / 3 * nn.functional.linear(
        nn.functional.linear(x, layer.lora_A), layer.lora_B
    )
    torch.testing.assert_close(layer(x), plain)
    for mode in ("no masks", "expected weight", "ensemble"):
        layer.eval().inference = mode
        torch.testing.assert_close(layer(x), plain)
    assert not layer.draws_masks


def test_new_layer_changes_nothing():
    base, x = nn.Linear(4, 3), torch.ones(2, 4)
    expected = base(x)
    assert torch.equal(LoRADropoutLinear(base, rank=2, p=0.5)(x), expected)


def test_three_inference_modes_differ_as_named():
    layer, x = make_layer(p=0.4, p_out=0.25).eval(), make_inputs(2, 6)
    update = nn.functional.linear(x, layer.lora_B @ layer.lora_A)
    torch.testing.assert_close(layer(x), layer.base(x) + 0.6 * 0.75 * update)
    layer.inference = "no masks"
    torch.testing.assert_close(layer(x), layer.base(x) + update)
    layer.inference = "ensemble"
    torch.testing.assert_close(layer(x), by_the_formula(layer, x))
    layer.rescale, layer.inference = True, "expected weight"
    torch.testing.assert_close(layer(x), layer.base(x) + update)


def test_masks_of_the_mean_train_the_expected_weight_network():
    """So no kind but the mean makes a training pass deterministic."""
    for kind in MASK_KINDS:
        layer, x = make_layer(p=0.4, p_out=0.25, mask_kind=kind), make_inputs(2, 6)
        trained = layer(x)
        assert torch.allclose(trained, layer.eval()(x)) == (kind == "mean")
        assert layer.expected_mask == 0.6 * 0.75


def test_groups_of_the_batch_equal_a_loop_over_samples():
    layer, x = make_layer(), make_inputs(3, 2, 6)
    layer.masks.seek(5, range(4))
    grouped = layer(x.repeat(4, 1, 1)).unflatten(0, (4, 3))
    for sample in range(4):
        expected = by_the_formula(layer, x, step=5, sample=sample)
        torch.testing.assert_close(grouped[sample], expected)


def test_gradients():
    layer = make_layer()
    x = make_inputs(3, 6).requires_grad_(True)

    def output(x, A, B):
        parameters = {"lora_A": A, "lora_B": B}
        return torch.func.functional_call(layer, parameters, (x,))

    layer.eval().inference = "ensemble"  # masks, and no advance between gradcheck's many passes
    assert torch.autograd.gradcheck(output, (x, layer.lora_A, layer.lora_B))
    assert torch.autograd.gradgradcheck(output, (x, layer.lora_A, layer.lora_B))


@pytest.mark.parametrize("name", ["lora_A", "lora_B"])
def test_dropped_entries_get_no_gradient(name):
    layer = make_layer(d_in=20, d_out=20, p=0.5)
    layer(make_inputs(3, 20)).square().sum().backward()
    mask = layer.mask_in if name == "lora_A" else layer.mask_out.unsqueeze(1)
    gradient = getattr(layer, name).grad
    assert torch.equal(gradient == 0, (mask == 0).expand_as(gradient))


def test_no_masked_copy_of_the_activations_is_kept():
    layer = make_layer(p=0.5)
    x = make_inputs(1000, 6).requires_grad_(True)
    saved = []

    def note(tensor):
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(x)
    big = [tensor for tensor in saved if tensor.shape[:1] == (1000,) and tensor.shape[-1] == 6]
    assert {tensor.data_ptr() for tensor in big} == {x.data_ptr()}


def within_rounding(output, layer, x, dtype):
    """Whether an output is what float64 gives, up to the rounding of its numbers.

    Weights and inputs are rounded once, so are their products and sums: at most 8 relative errors
    of half an eps each in every term. Their absolute values are summed by the layer itself.
    """
    magnitude = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in magnitude.parameters():
            parameter.abs_()
        bound = 4 * torch.finfo(dtype).eps * magnitude(x.abs())
    return bool(((output.cpu().double() - layer(x)).abs() <= bound).all())


@pytest.mark.parametrize("training", [True, False])
def test_sequences_of_several_lengths_and_sparse_inputs_are_those_of_their_rows(training):
    layer, x = make_layer().train(training), make_inputs(5, 6)
    expected = layer(x)
    expected.square().sum().backward()
    gradients = [factor.grad for factor in (layer.lora_A, layer.lora_B)]
    ragged = torch.nested.nested_tensor([x[:2], x[2:]], layout=torch.jagged)
    for inputs in (ragged, x.to_sparse()):
        layer.zero_grad()
        found = torch.cat([*layer(inputs).unbind()]).view(5, 5)
        torch.testing.assert_close(found, expected)
        found.square().sum().backward()
        torch.testing.assert_close([layer.lora_A.grad, layer.lora_B.grad], gradients)


def test_inputs_without_rows_have_no_groups():
    layer = make_layer()
    layer.masks.seek(0, range(2))
    with pytest.raises(ValueError, match="nested or sparse has no groups of rows"):
        layer(make_inputs(4, 6).to_sparse())


@pytest.mark.parametrize("training", [True, False])
def test_shapes_alone_are_computed_on_the_device_meta(training):
    model = inject(nn.Linear(6, 5, device="meta"), rank=2, p=0.4).train(training)
    found = model(torch.empty(3, 6, device="meta"))
    assert (found.shape, found.device.type) == ((3, 5), "meta")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes_agree_with_float64(device, dtype):
    reference, x = make_layer(), make_inputs(4, 6)
    layer = copy.deepcopy(reference).to(device, dtype)
    output = layer(x.to(device, dtype))
    assert output.dtype == dtype
    assert within_rounding(output, reference, x, dtype)


@pytest.mark.parametrize("device", DEVICES)
def test_autocast(device):
    reference, x = make_layer(), make_inputs(4, 6)
    layer = copy.deepcopy(reference).float().to(device)
    with torch.autocast(device, torch.bfloat16):
        output = layer(x.float().to(device))
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert layer.lora_A.grad.dtype == torch.float32
    assert within_rounding(output, reference, x, torch.bfloat16)


def make_model(p=0.4, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    model = inject(model, rank=2, p=p, seed=seed)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.lora_B.normal_()
    return model


def gradients(model, *losses):
    model.zero_grad()
    sum(losses).backward()
    return [p.grad.clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("forwards", [1, 2])
def test_checkpointing_recomputes_with_the_same_masks(reentrant, forwards):
    model = make_model()
    xs = [make_inputs(3, 6, seed=seed).requires_grad_(True) for seed in range(forwards)]
    expected = gradients(model, *(model(x).square().sum() for x in xs))

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            x = checkpoint(self.model[0], x, use_reentrant=reentrant)
            return checkpoint(self.model[2], torch.tanh(x), use_reentrant=reentrant)

    wrapped = Checkpointed()
    found = gradients(model, *(wrapped(x).square().sum() for x in xs))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("device", DEVICES)
def test_compile_without_graph_breaks_equals_eager_over_steps(device):
    model = make_model().to(device)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    x = make_inputs(3, 6).to(device)
    optimizers = [
        torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=0.1)
        for m in (model, twin)
    ]
    for step in range(3):
        for run, optimizer in zip((model, compiled), optimizers, strict=True):
            optimizer.zero_grad()
            run(x).square().sum().backward()
            optimizer.step()
        assert mask_schedule(model).step == mask_schedule(twin).step == step + 1
        torch.testing.assert_close(twin[0].lora_A, model[0].lora_A)
        torch.testing.assert_close(twin[2].mask_in, model[2].mask_in)


@pytest.mark.parametrize("device", DEVICES)
def test_vmap_over_replicas_and_masks(device):
    layer = make_layer().to(device)
    x = make_inputs(4, 6).to(device)
    A = make_inputs(5, 3, 6).to(device)
    masks = (make_inputs(5, 6).to(device) > 0).double()

    def output(A, mask_in):
        entries = {"lora_A": A, "mask_in": mask_in}
        return torch.func.functional_call(layer, entries, (x,))

    together = torch.func.vmap(output)(A, masks)
    for number in range(5):
        torch.testing.assert_close(together[number], output(A[number], masks[number]))


def test_masks_that_are_passed_in_and_thrown_away_are_never_written():
    """Tensors that are gone leave their ids to new ones, which must not be taken for them."""
    layer, x = make_layer(), make_inputs(4, 6)
    for seed in range(100):
        mask = (make_inputs(6, seed=seed) > 0).double()
        before = mask.clone()
        entries = {"lora_A": make_inputs(3, 6, seed=seed), "mask_in": mask}
        torch.func.functional_call(layer, entries, (x,))
        assert torch.equal(mask, before)
        assert layer.masks.step == 0
        del mask, entries


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, r"rank must lie in \[1, 5\]"), ({"rank": 6}, "got 6"),
        ({"p": 1.0}, r"p must lie in \[0, 1\), got 1"), ({"p": -0.1}, "got -0.1"),
        ({"p": math.nan}, "got nan"), ({"p_out": 2.0}, "p_out"),
        ({"inference": "mean"}, "inference must be one of"),
        ({"mask_kind": "uniform"}, "mask_kind must be one of .*gaussian.*, got 'uniform'"),
    ],
)  # fmt: skip
def test_bad_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_layer(**options)


def test_shape_of_a_layer_is_part_of_its_masks():
    assert make_layer(p=0.1, p_out=0.2).shape == LayerShape(6, 5, 0.1, 0.2)


@pytest.mark.parametrize("base", [nn.Conv1d(2, 2, 1), Doubled(2, 2)])
def test_a_base_that_does_more_than_multiply_is_refused(base):
    """Merged, its update would be in another place."""
    with pytest.raises(ValueError, match="base cannot be adapted: it is a"):
        LoRADropoutLinear(base, rank=1)

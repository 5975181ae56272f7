"""AdaLoRA's parts by hand and against PEFT."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.modeling_utils import local_torch_dtype

from probes.training.adalora import (
    BudgetSchedule,
    RankAllocator,
    Triplets,
    as_factors,
    initial_triplets,
    orthogonality,
)


def random_triplets(rank, d_in=5, d_out=4, replicas=(), seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*replicas, *shape, generator=generator, dtype=torch.float64)

    return Triplets(normal(d_out, rank), normal(rank), normal(rank, d_in))


def test_factors_multiply_to_the_update():
    triplets = random_triplets(3, replicas=(2,))
    A, B = as_factors(triplets)
    expected = triplets.P @ torch.diag_embed(triplets.values) @ triplets.Q
    torch.testing.assert_close(B @ A, expected)


def test_the_initial_update_is_zero():
    A, B = as_factors(initial_triplets(3, 5, 4, torch.Generator().manual_seed(0)))
    assert torch.equal(B @ A, torch.zeros(4, 5))


def test_the_initial_triplets_do_not_depend_on_the_default_dtype():
    drawn = [initial_triplets(3, 5, 4, torch.Generator().manual_seed(0))]
    with local_torch_dtype(torch.float64):
        drawn.append(initial_triplets(3, 5, 4, torch.Generator().manual_seed(0)))
    for one, other in zip(*drawn, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype == torch.float32


def test_orthogonality_is_zero_for_an_svd_alone():
    P, values, Q = torch.linalg.svd(random_triplets(3).P, full_matrices=False)
    assert float(orthogonality(Triplets(P, values, Q))) == pytest.approx(0, abs=1e-20)
    assert float(orthogonality(random_triplets(3))) > 1


def test_orthogonality_counts_every_replica_alone():
    triplets = random_triplets(3, replicas=(2,))
    each = [orthogonality(Triplets(*(part[number] for part in triplets))) for number in range(2)]
    torch.testing.assert_close(orthogonality(triplets), torch.stack(each))


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 200),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
def test_the_budget_falls_from_the_first_to_the_last(one, other, steps, warmup, final):
    initial, target = max(one, other), min(one, other)
    schedule = BudgetSchedule(initial, target, steps, int(warmup * steps), int(final * steps))
    budgets = [schedule(step) for step in range(1, steps + 1)]
    assert budgets == sorted(budgets, reverse=True)
    assert budgets[-1] == target
    assert max(budgets) <= initial


@pytest.mark.parametrize("changes", [{"target": 25}, {"target": 0}, {"warmup": 90}, {"final": 101}])
def test_a_budget_that_cannot_be_is_refused(changes):
    with pytest.raises(ValueError, match=r"target must lie|must fit into 100 steps"):
        BudgetSchedule(
            **({"initial": 24, "target": 8, "steps": 100, "warmup": 10, "final": 20} | changes)
        )


def test_as_many_triplets_stay_as_the_budget_says_for_every_replica():
    layers = [random_triplets(4, replicas=(3,), seed=seed) for seed in (0, 1)]
    slopes = [random_triplets(4, replicas=(3,), seed=seed) for seed in (2, 3)]
    allocator = RankAllocator(BudgetSchedule(8, 5, steps=4, warmup=0, final=1))
    for step in range(1, 5):
        allocator.step(step, layers, slopes)
    assert allocator.ranks(layers).sum(0).tolist() == [5, 5, 5]


def test_the_triplets_without_gradient_go_first():
    layers, slopes = [random_triplets(4)], [random_triplets(4, seed=1)]
    for part in slopes[0]:
        part.zero_()
    slopes[0].values[2] = 1.0
    allocator = RankAllocator(BudgetSchedule(4, 1, steps=1, warmup=0, final=0))
    allocator.step(1, layers, slopes)
    assert layers[0].values.ne(0).tolist() == [False, False, True, False]


def test_the_allocation_is_peft_s():
    """The same gradients, step by step, through PEFT's own allocator."""
    peft = pytest.importorskip("peft")
    rank, target, steps, warmup, final = 4, 2, 12, 2, 3
    config = peft.AdaLoraConfig(
        init_r=rank, target_r=target, tinit=warmup, tfinal=final, deltaT=1, total_step=steps,
        target_modules=["0", "1"], lora_alpha=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model = peft.get_peft_model(nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 6)).double(), config)
    adapted = [model.base_model.model[number] for number in (0, 1)]
    layers = [random_triplets(rank, 5, 4, seed=7), random_triplets(rank, 4, 6, seed=8)]
    allocator = RankAllocator(
        BudgetSchedule(2 * rank, 2 * target, steps, warmup, final),
        config.beta1, config.beta2,
    )  # fmt: skip
    peft_allocator = model.base_model.rankallocator

    def parameters(layer):
        return layer.lora_B["default"], layer.lora_E["default"], layer.lora_A["default"]

    for layer, triplets in zip(adapted, layers, strict=True):
        for parameter, part in zip(parameters(layer), triplets, strict=True):
            parameter.data = part.clone().reshape(parameter.shape)
    for step in range(1, steps - final):
        slopes = [random_triplets(rank, 5, 4, seed=step), random_triplets(rank, 4, 6, seed=-step)]
        for layer, triplets in zip(adapted, slopes, strict=True):
            for parameter, part in zip(parameters(layer), triplets, strict=True):
                parameter.grad = part.clone().reshape(parameter.shape)
        allocator.step(step, layers, slopes)
        peft_allocator.update_and_allocate(model, step)
        for layer, triplets in zip(adapted, layers, strict=True):
            torch.testing.assert_close(parameters(layer)[1].detach()[:, 0], triplets.values)
    assert allocator.ranks(layers).sum() < 2 * rank

import pytest
import torch

from lora_dropout.functional import add_update_apart, add_update_rows, may_add_apart


@pytest.mark.parametrize("scaling", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_an_update_of_higher_precision_is_added_as_to_a_copy_to_the_bit(half, scaling):
    generator = torch.Generator().manual_seed(0)
    sizes = ((2, 3, 7), (2, 3, 5), (4, 5), (7, 4))
    base, x, A, B = (torch.randn(size, generator=generator) for size in sizes)
    base = base.to(half)
    assert may_add_apart(base, A, scaling)
    found = []
    for add, output in ((add_update_apart, base), (add_update_rows, base.float())):
        given = [one.detach().requires_grad_() for one in (output, x, A, B)]
        added = add(*given, scaling)
        assert added.dtype == torch.float32
        gradients = torch.autograd.grad(added.square().sum(), given)
        found.append([added.detach(), gradients[0].to(half), *gradients[1:]])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("base", "factor", "scaling"),
    [
        (torch.float32, torch.float32, 1.0),
        (torch.bfloat16, torch.bfloat16, 1.0),
        (torch.float16, torch.bfloat16, 1.0),
        (torch.bfloat16, torch.float32, 0.3),
    ],
)
def test_what_would_be_rounded_otherwise_is_not_added_apart(base, factor, scaling):
    assert not may_add_apart(torch.ones(2, dtype=base), torch.ones(1, 2, dtype=factor), scaling)


def test_groups_are_not_added_apart():
    assert not may_add_apart(torch.ones(2).half(), torch.ones(3, 1, 2), 1.0)

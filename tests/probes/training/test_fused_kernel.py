"""Products of TF32 are as exact as those of float32.

The kernel runs on a GPU, or on the CPU by Triton's interpreter, with Triton installed:

    TRITON_INTERPRET=1 python -m pytest tests/probes/training/test_fused_kernel.py
"""

import os

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

import triton
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from probes.training.fused_kernel import _parts, _product, _product_of_rank, _read, _sum_over_rank

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not (INTERPRETED or torch.cuda.is_available()),
        reason="Triton has neither a GPU nor its interpreter",
    ),
]


@triton.jit
def write(start, x):
    i, j = tl.arange(0, x.shape[0])[:, None], tl.arange(0, x.shape[1])[None, :]
    tl.store(start + i * x.shape[1] + j, x)


@triton.jit
def split(numbers, high, low, SIDE: tl.constexpr):
    high_parts, low_parts = _parts(_read(numbers, SIDE, SIDE, SIDE, SIDE, SIDE))
    write(high, high_parts)
    write(low, low_parts)


@triton.jit
def multiply(
    a, b, product, KIND: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    left = _read(a, INNER, ROWS, INNER, ROWS, INNER)
    right = _read(b, COLUMNS, INNER, COLUMNS, INNER, COLUMNS)
    if KIND == "one product":
        write(product, tl.dot(left, right, input_precision="tf32"))
    elif KIND == "product":
        write(product, _product(left, right, "tf32x3"))
    elif KIND == "product of rank":
        write(product, _product_of_rank(left, right, "tf32x3"))
    else:
        write(product, _sum_over_rank(tl.trans(left), right, "tf32x3"))


def toward_zero(x):
    """Round float64 to float32."""
    nearest = x.astype("float32")
    return np.where(abs(nearest) > abs(x), np.nextafter(nearest, np.float32(0)), nearest)


@pytest.fixture
def _tensor_cores(monkeypatch):
    """Interpreted products drop the 13 bits that TF32 does not have, and add 8 terms at once."""
    exact = InterpreterBuilder.create_dot

    def create_dot(self, a, b, d, precision, most):
        if precision.name != "TF32":
            return exact(self, a, b, d, precision, most)
        left, right = (
            (x.data.view("int32") & -0x2000).view("float32").astype(float) for x in (a, b)
        )
        product = d.data
        for at in range(0, len(right), 8):
            product = toward_zero(product + left[:, at : at + 8] @ right[at : at + 8])
        return TensorHandle(product, d.dtype.scalar)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)


def numbers(*shape):
    """Of many sizes."""
    return (torch.randn(shape) * torch.randn(shape).mul(3).exp()).to(DEVICE)


def errors(kind, a, b):
    """The errors of a product, in units of the sum of its terms' sizes."""
    product = a.new_empty(len(a), b.shape[1])
    multiply[(1,)](a, b, product, kind, *a.shape, b.shape[1])
    a, b = a.double(), b.double()
    return (product - a @ b).abs() / (a.abs() @ b.abs())


def test_a_number_is_the_sum_of_its_parts():
    given = numbers(16, 16)
    given[0, :3] = torch.tensor([0.0, 1 + 2**-11, -1 - 2**-11])
    high, low = torch.empty_like(given), torch.empty_like(given)
    split[(1,)](given, high, low, 16)
    assert torch.equal(high + low, given)
    assert not (high.view(torch.int32) & 0x1FFF).any()
    assert (low.abs() <= 2**-11 * given.abs()).all()


@pytest.mark.usefixtures("_tensor_cores")
@pytest.mark.parametrize(
    ("kind", "rows", "inner"),
    [
        ("product", 16, 64),
        ("product of rank", 8, 64),
        ("product of rank", 16, 64),
        ("sum over rank", 64, 8),
        ("sum over rank", 64, 16),
    ],
)
def test_a_product_of_parts_is_exact_to_rounding_where_one_of_tf32_is_not(kind, rows, inner):
    a, b = numbers(rows, inner), numbers(inner, 32)
    # Of each low part, 2^-11 of its number, 2^-10 is dropped, and low times low; and sums round.
    assert errors(kind, a, b).max() <= 2 * 2**-21 + 2**-22 + inner * 2**-23
    assert errors("one product", numbers(64, 16), numbers(16, 32)).max() > 2**-13


@pytest.mark.usefixtures("_tensor_cores")
def test_two_products_are_not_less_exact_than_three():
    a, b = numbers(16, 64), numbers(64, 64)
    three = errors("product", a, b)
    two = torch.cat([errors("product of rank", half, b) for half in (a[:8], a[8:])])
    assert two.mean() <= 1.05 * three.mean()
    a, b = numbers(64, 16), numbers(16, 64)
    a[:, 8:] = 0
    three = errors("product", a, b)
    two = errors("sum over rank", a[:, :8].contiguous(), b[:8])
    assert two.mean() <= 1.05 * three.mean()

"""The masked low-rank linear map, the merged weight, and the penalty.

Everything here broadcasts over leading dimensions of the factors, which stand for replicas and mask
samples.
"""

from math import frexp

import torch
from torch import Tensor
from torch.nn.functional import linear

#: Precisions in which models are often frozen.
HALVES = (torch.bfloat16, torch.float16)


def computed_in(kept: torch.dtype, otherwise: torch.dtype) -> torch.dtype:
    """The precision in which a frozen layer is computed with.

    Args:
        kept: in which its weight is kept; nothing is computed in whole numbers or in 8 bits.
        otherwise: that is used in these cases.

    Returns:
        One of the two.

    >>> computed_in(torch.bfloat16, torch.float32), computed_in(torch.float8_e5m2, torch.float32)
    (torch.bfloat16, torch.float32)
    """
    return kept if kept.is_floating_point and kept.itemsize > 1 else otherwise


def mask_factors(A: Tensor, B: Tensor, mask_in: Tensor, mask_out: Tensor) -> tuple[Tensor, Tensor]:
    """Drop input columns of A and output rows of B (arXiv 2404.09610, Eq. 2).

    The masks multiply the weights, r (d_in + d_out) numbers, and never the activations: no masked
    copy of the input is made or kept for the backward pass.

    Args:
        A: (..., r, d_in).
        B: (..., d_out, r).
        mask_in: (..., d_in), broadcasting against A's leading dimensions.
        mask_out: (..., d_out), likewise.

    Returns:
        The masked factors, of the broadcast shapes.
    """
    rows = mask_in if mask_in.dim() == 1 else mask_in.unsqueeze(-2)
    return A * rows, B * mask_out.unsqueeze(-1)


def merge_weight(weight: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    """Add the update to the frozen weight.

    Args:
        weight: W0, (d_out, d_in).
        A: (..., r, d_in).
        B: (..., d_out, r).
        scaling: alpha / r, times the expected weight of the masks where that is meant.

    Returns:
        W0 + scaling * B A, (..., d_out, d_in).
    """
    return torch.add(weight, B @ A, alpha=scaling)


class GroupsNotSupportedError(ValueError):
    """A layer cannot give each group of the batch a mask pair of its own."""


def add_update_rows(base: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    """Add the low-rank update to the output of the frozen layer; features last.

    Args:
        base: W0 x + b, (..., tokens, d_out).
        x: (..., tokens, d_in).
        A: (r, d_in), or (G, r, d_in) for G groups of consecutive rows of the batch, each with its
            own mask pair: G must divide the size of x's first dimension.
        B: (d_out, r), or (G, d_out, r).
        scaling: alpha / r.

    Returns:
        base + scaling * x A^T B^T, of the shape of ``base``.

    Raises:
        GroupsNotSupportedError: the rows of x do not divide into G groups, such as where a model
            computes something without a batch.
    """
    if x.is_nested or x.layout is not torch.strided:
        if A.dim() > 2:
            raise GroupsNotSupportedError("an input that is nested or sparse has no groups of rows")
        # Sequences of several lengths, or zeros that are left out, have no view as rows.
        return base + scaling * linear(linear(x, A), B)
    if A.dim() == 2:
        hidden = torch.mm(x.reshape(-1, x.shape[-1]), A.mT)
        return torch.addmm(base.reshape(-1, base.shape[-1]), hidden, B.mT, alpha=scaling).reshape(
            base.shape
        )
    groups = A.shape[0]
    if x.shape[0] % groups:
        raise GroupsNotSupportedError(
            f"an input of shape {tuple(x.shape)} does not divide into {groups} groups of rows"
        )
    hidden = torch.bmm(x.reshape(groups, -1, x.shape[-1]), A.mT)
    return torch.baddbmm(
        base.reshape(groups, -1, base.shape[-1]), hidden, B.mT, alpha=scaling
    ).reshape(base.shape)


def may_add_apart(base: Tensor, A: Tensor, scaling: float) -> bool:
    """Whether :func:`add_update_apart` takes these tensors and rounds as ``add_update_rows`` does.

    Args:
        base: W0 x + b, (..., d_out).
        A: (r, d_in), or (G, r, d_in).
        scaling: alpha / r.

    Returns:
        False for groups, and for a factor other than a power of 2, with which a product is rounded.
    """
    lower = base.dtype in HALVES and A.dtype == torch.float32
    return lower and A.dim() == 2 and abs(frexp(scaling)[0]) == 0.5


def add_update_apart(base: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    """Add the update to an output of lower precision, of which no copy is made.

    Args:
        base: W0 x + b, (..., d_out), of lower precision than the rest.
        x: (..., d_in).
        A: (r, d_in).
        B: (d_out, r).
        scaling: alpha / r, a power of 2.

    Returns:
        base + scaling * x A^T B^T, of the shape of ``base`` and the precision of the factors.
    """
    return torch.add(base, linear(linear(x, A), B), alpha=scaling)


def penalty(A: Tensor, B: Tensor, scaling: float) -> Tensor:
    """Squared Frobenius norm of scaling * B A, without forming it.

    Uses ||B A||^2 = tr((B^T B)(A A^T)), an r by r product.

    Args:
        A: (..., r, d_in).
        B: (..., d_out, r).
        scaling: alpha / r.

    Returns:
        The squared norm, of the leading shape.
    """
    return scaling**2 * ((B.mT @ B) * (A @ A.mT)).sum(dim=(-2, -1))


def penalty_gradient(A: Tensor, B: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """Gradient of :func:`penalty` in A and B.

    Args:
        A: (..., r, d_in).
        B: (..., d_out, r).
        scaling: alpha / r.

    Returns:
        2 scaling^2 (B^T B) A, of A's shape, and 2 scaling^2 B (A A^T), of B's shape.
    """
    factor = 2 * scaling**2
    return factor * ((B.mT @ B) @ A), factor * (B @ (A @ A.mT))

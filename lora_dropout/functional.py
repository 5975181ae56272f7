"""The masked low-rank linear map, its gradient, and the merged weight.

Everything here broadcasts over leading dimensions of the factors, which stand for replicas and mask
samples. There are two layouts of the activations: *rows*, features last, as PyTorch modules hold
them, and *columns*, features first, in which the products of all replicas of a probe are a few
large matrix products. Both compute h = W0 x + (alpha/r) B diag(m_out) ... A diag(m_in) x from the
same masked factors.
"""

import torch
from torch import Tensor


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
    return A * mask_in.unsqueeze(-2), B * mask_out.unsqueeze(-1)


def merge_weight(
    weight: Tensor, A: Tensor, B: Tensor, scaling: float, out: Tensor | None = None
) -> Tensor:
    """Return W0 + scaling * B A, of shape (..., d_out, d_in).

    Args:
        weight: W0, (d_out, d_in).
        A: (..., r, d_in).
        B: (..., d_out, r).
        scaling: alpha / r, times the expected weight of the masks where that is meant.
        out: memory for the result.
    """
    if A.dim() == 2:
        return torch.addmm(weight, B, A, alpha=scaling, out=out)
    expanded = weight.expand(*A.shape[:-2], *weight.shape)
    return torch.baddbmm(expanded, B, A, alpha=scaling, out=out)


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
    """
    if A.dim() == 2:
        hidden = torch.mm(x.reshape(-1, x.shape[-1]), A.mT)
        return torch.addmm(base.reshape(-1, base.shape[-1]), hidden, B.mT, alpha=scaling).reshape(
            base.shape
        )
    groups = A.shape[0]
    hidden = torch.bmm(x.reshape(groups, -1, x.shape[-1]), A.mT)
    return torch.baddbmm(
        base.reshape(groups, -1, base.shape[-1]), hidden, B.mT, alpha=scaling
    ).reshape(base.shape)


def matmul_columns(left: Tensor, X: Tensor, out: Tensor | None = None) -> Tensor:
    """Return left X for every replica, (R, k, m); features first.

    Args:
        left: (R, k, l).
        X: (l, m), common to the replicas, or (R, l, m). A common X makes it one large product.
        out: memory for the result.
    """
    if X.dim() == 2:
        rows = left.reshape(-1, left.shape[-1])
        memory = None if out is None else out.view(len(rows), -1)
        return torch.mm(rows, X, out=memory).view(*left.shape[:-1], -1)
    return torch.bmm(left, X, out=out)


def add_update_columns(
    base: Tensor, hidden: Tensor, B: Tensor, scaling: float, out: Tensor | None = None
) -> Tensor:
    """Return base + scaling * B hidden for every replica; features first.

    Args:
        base: (d_out, m), common to the replicas, or (R, d_out, m).
        hidden: A X (R, r, m).
        B: (R, d_out, r).
        scaling: alpha / r.
        out: memory for the result; it may be ``base`` itself.

    Returns:
        (R, d_out, m).
    """
    expanded = base.expand(B.shape[0], *base.shape[-2:])
    return torch.baddbmm(expanded, B, hidden, alpha=scaling, out=out)


def update_gradient_columns(
    grad: Tensor,
    X: Tensor,
    hidden: Tensor,
    A: Tensor,
    B: Tensor,
    scaling: float,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the low-rank update that :func:`add_update_columns` adds.

    With H = A X and Y = scaling B H: dB = scaling dY H^T, dH = scaling B^T dY, dA = dH X^T, and
    A^T dH is the update's share of dX.

    Args:
        grad: dY, (R, d_out, m).
        X: (d_in, m) or (R, d_in, m), as in the forward pass.
        hidden: H, (R, r, m).
        A, B: the (masked) factors of the forward pass.
        scaling: alpha / r.
        out: memory for dH.

    Returns:
        dA (R, r, d_in), dB (R, d_out, r) and dH (R, r, m).
    """
    grad_hidden = _scale(torch.bmm(B.mT, grad, out=out), scaling)
    # The transpose is the same numbers in a third of the time: few rows, many columns.
    grad_B = _scale(torch.bmm(hidden, grad.mT), scaling).mT
    return matmul_columns(grad_hidden, X.mT), grad_B, grad_hidden


def merged_gradient(
    grad_weight: Tensor, A: Tensor, B: Tensor, scaling: float
) -> tuple[Tensor, Tensor]:
    """Gradient of the factors from that of the merged weight W0 + scaling B A.

    Args:
        grad_weight: (R, d_out, d_in).
        A, B: the (masked) factors, (R, r, d_in) and (R, d_out, r).
        scaling: alpha / r.

    Returns:
        dA (R, r, d_in) and dB (R, d_out, r).
    """
    return (
        _scale(torch.bmm(B.mT, grad_weight), scaling),
        _scale(torch.bmm(A, grad_weight.mT), scaling).mT,
    )


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
    """Gradient of :func:`penalty`: dA = 2 scaling^2 (B^T B) A and dB = 2 scaling^2 B (A A^T)."""
    factor = 2 * scaling**2
    return factor * ((B.mT @ B) @ A), factor * (B @ (A @ A.mT))


def _scale(tensor: Tensor, scaling: float) -> Tensor:
    return tensor if scaling == 1 else tensor.mul_(scaling)

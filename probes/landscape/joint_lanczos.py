"""The smallest eigenvalues of many matrices at once, from their products with vectors.

A GPU takes as long to multiply one small matrix as a hundred: all take their steps together.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

#: Steps after which all are looked at.
LOOK_EVERY = 8
#: An off-diagonal entry of this share of the largest on the diagonal is 0: the start's space ends.
NOTHING_LEFT = 1e-12


@torch.no_grad()
def smallest_eigenvalues(
    multiply: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, most: int
) -> np.ndarray:
    r"""Smallest eigenvalues of C symmetric matrices by the Lanczos method, without restarts.

    After k steps the smallest eigenvalue of the tridiagonal matrix is the least Rayleigh quotient
    over the Krylov space, so that it approaches the matrix's from above. The residual of its vector
    is the last off-diagonal entry times the last entry of the tridiagonal matrix's eigenvector.

    Source: Parlett 1998, "The Symmetric Eigenvalue Problem", chapter 13, with full
    reorthogonalization.

    Args:
        multiply: maps vectors (C, size) to the products of every matrix with its own, (C, size).
        start: (C, size), on the device where all is computed, no row 0.
        tolerance: largest residual, in units of the eigenvalue.
        most: largest number of products, at least 1.

    Returns:
        (C,), float64; NaN where the residual stayed larger, and where numbers are not finite.

    >>> matrix, start = torch.tensor([[3.0, 1], [1, 3]]).double(), torch.tensor([[1.0, 0]]).double()
    >>> smallest_eigenvalues(lambda vectors: vectors @ matrix, start, 1e-4, 2).round(12)
    array([2.])
    """
    count, size = start.shape
    most = min(most, size)
    basis = start.new_empty(count, most, size)
    diagonal, beside = start.new_zeros(2, count, most)
    found = np.full(count, np.nan)
    vector = start / start.norm(dim=1, keepdim=True)
    for step in range(most):
        basis[:, step] = vector
        product, known = multiply(vector), basis[:, : step + 1]
        diagonal[:, step] = (product * vector).sum(1)
        # Twice: what the first pass leaves is rounding, and would grow.
        for _ in range(2):
            along = torch.bmm(known, product.unsqueeze(-1))
            product = product - torch.bmm(known.mT, along).squeeze(-1)
        length = product.norm(dim=1)
        beside[:, step] = length
        vector = product / length.unsqueeze(1)
        done = step + 1
        if done % LOOK_EVERY == 0 or done == most:
            _look(
                found, diagonal[:, :done].cpu().numpy(), beside[:, :done].cpu().numpy(), tolerance
            )
            if np.isfinite(found).all():
                break
    return found


def _look(found: np.ndarray, diagonal: np.ndarray, beside: np.ndarray, tolerance: float) -> None:
    """Write the eigenvalues that are accurate enough where none is found yet."""
    for number in np.nonzero(np.isnan(found))[0]:
        value, residual = _smallest(diagonal[number], beside[number])
        if residual <= tolerance * abs(value):
            found[number] = value


def _smallest(diagonal: np.ndarray, beside: np.ndarray) -> tuple[float, float]:
    """Smallest eigenvalue of a tridiagonal matrix, and the residual in the whole space."""
    largest = np.abs(diagonal).max(initial=0, where=np.isfinite(diagonal))
    ends = np.nonzero(beside <= NOTHING_LEFT * largest)[0]
    size = ends[0] + 1 if len(ends) else len(diagonal)
    if not np.isfinite([diagonal[:size], beside[:size]]).all():
        return float("nan"), float("nan")
    values, vectors = eigh_tridiagonal(
        diagonal[:size], beside[: size - 1], select="i", select_range=(0, 0)
    )
    return float(values[0]), float(abs(beside[size - 1] * vectors[-1, 0]))

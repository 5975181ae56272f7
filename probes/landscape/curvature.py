"""The smallest curvature of the training loss at a trained network.

It is taken in the adapted *weights* W0 + update, the coordinates in which an entry is dropped with
probability 2p - p^2; in the factors A and B that probability would be p.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from probes.landscape.joint_lanczos import smallest_eigenvalues
from probes.models.network import (
    Factors,
    Inputs,
    Network,
    flat_weights,
    training_loss,
    training_losses,
)

#: Up to this many weights the Hessian is formed: its eigenvalues are then exact to rounding.
DENSE_WEIGHTS = 512

#: Vectors that Lanczos keeps between restarts. SciPy's default of 20 needs twice as many products
#: on the tasks here, for the same accuracy.
LANCZOS_VECTORS = 40

#: Relative accuracy that is asked of Lanczos.
LANCZOS_TOLERANCE = 1e-4
#: How an eigenvalue that Lanczos found was obtained.
HOW = f"Lanczos on the Hessian in W, relative accuracy {LANCZOS_TOLERANCE:g}"

#: Products after which Lanczos on many networks at once, which keeps all its vectors, gives up.
JOINT_PRODUCTS = 96

#: An eigenvalue between minus this and 0 is that of a flat direction, and rounding.
FLAT = 1e-9


@dataclass(frozen=True)
class Curvature:
    """Smallest Hessian eigenvalue of the training loss, and how it was obtained."""

    value: float
    how: str


def smallest_curvature(
    network: Network, factors: Factors, inputs: Inputs, update_scale: float, seed: int
) -> Curvature:
    """Smallest eigenvalue of the Hessian of the mean loss of one replica, in float64 on the CPU.

    Up to ``DENSE_WEIGHTS`` weights the Hessian is formed. Above, the implicitly restarted Lanczos
    method finds the eigenvalue from products with the Hessian.

    Source: Lehoucq, Sorensen & Yang 1998, "ARPACK Users' Guide" (Lanczos, by SciPy's ``eigsh``);
    Pearlmutter 1994, "Fast exact multiplication by the Hessian" (products).

    Args:
        network: the frozen network.
        factors: of one replica, A (1, r, d_in) and B (1, d_out, r).
        inputs: the examples of S.
        update_scale: factor of the update in the deployed network.
        seed: of Lanczos' starting vector.

    Returns:
        The eigenvalue in units of loss per squared unit of weight, 0 where it is negative by no
        more than rounding; NaN where the network is not finite or Lanczos does not converge.
        Lanczos approaches the eigenvalue from above.
    """
    merged = network.merged_weights(factors, update_scale=update_scale)
    (point,) = flat_weights(merged).double().cpu()
    if not point.isfinite().all():
        return Curvature(float("nan"), "the network diverged")
    loss = training_loss(network, inputs)
    if len(point) <= DENSE_WEIGHTS:
        values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, point))
        rounding = len(values) * torch.finfo(values.dtype).eps * float(values.abs().max())
        smallest = _without_rounding(float(values[0]), max(FLAT, rounding))
        return Curvature(smallest, "dense Hessian in W")
    return _lanczos(loss, point, seed)


def smallest_curvatures(
    network: Network, points: Tensor, inputs: Inputs, seed: int
) -> list[Curvature]:
    """Smallest Hessian eigenvalues of several networks, each on its own examples, at once.

    Args:
        network: the frozen network, of all.
        points: adapted weights of C networks, (C, size), more than ``DENSE_WEIGHTS``, float64, on
            the device where all is computed.
        inputs: examples of the C networks beside each other, on that device.
        seed: of Lanczos' starting vector, the same for all.

    Returns:
        As :func:`smallest_curvature` for each, at the same accuracy.
    """
    position = points.detach().requires_grad_(True)
    with torch.enable_grad():
        total = training_losses(network, inputs, points)(position).sum()
        (gradient,) = torch.autograd.grad(total, position, create_graph=True)

    def multiply(vectors: Tensor) -> Tensor:
        with torch.enable_grad():
            slope = (gradient * vectors).sum()
        return torch.autograd.grad(slope, position, retain_graph=True)[0]

    start = torch.from_numpy(_start(seed, points.shape[1])).to(points).expand_as(points)
    found = smallest_eigenvalues(multiply, start, LANCZOS_TOLERANCE, JOINT_PRODUCTS)
    return [Curvature(_without_rounding(float(value), FLAT), HOW) for value in found]


def _start(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size)


def _without_rounding(eigenvalue: float, rounding: float) -> float:
    """The eigenvalue, 0 where that is as likely: a flat direction is no negative curvature."""
    return 0.0 if -rounding <= eigenvalue < 0 else eigenvalue


def _lanczos(loss: Callable[[Tensor], Tensor], point: Tensor, seed: int) -> Curvature:
    """Smallest eigenvalue by ARPACK, from Hessian-vector products by double backpropagation."""
    position = point.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(position), position, create_graph=True)

    def multiply(vector: np.ndarray) -> np.ndarray:
        direction = torch.from_numpy(np.ascontiguousarray(vector).reshape(-1))
        # Of a number and not of a vector, for which PyTorch would import half a second of packages.
        (product,) = torch.autograd.grad(gradient @ direction, position, retain_graph=True)
        return product.numpy()

    size = len(point)
    start = _start(seed, size)
    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    try:
        values = eigsh(
            operator,
            k=1,
            which="SA",
            v0=start,
            ncv=min(LANCZOS_VECTORS, size),
            tol=LANCZOS_TOLERANCE,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence:
        return Curvature(float("nan"), "Lanczos did not converge")
    except ArpackError:
        # ARPACK takes no matrix that is 0, as it is where every loss is 0 to the last digit.
        if multiply(start).any():
            raise
        return Curvature(0.0, HOW)
    return Curvature(_without_rounding(float(values[0]), FLAT), HOW)

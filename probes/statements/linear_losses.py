"""Losses of a linear model's outputs, with the derivatives and ranges that exact proofs need."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LinearLoss:
    """A loss of a linear model's k outputs z, convex in z.

    Attributes:
        name: the field's name.
        value: z (..., n, k) and targets (n, k) to losses (..., n).
        gradient: to the gradient in z, (..., n, k).
        hessian: to the Hessian in z, (..., n, k, k).
        lower_hessian: z and z' (..., n, k) to a matrix below the Hessian all along the segment.
        value_within: reach (n,) and targets to a bound on the loss wherever ||z|| <= reach, (n,).
        slope_within: the same for the norm of the gradient in z; an infinite reach is allowed.
        hessian_bound: on the largest eigenvalue of the Hessian in z.
        slope_peaks_at_ends: whether that norm is largest at an end of any segment.
    """

    name: str
    value: Callable[[Array, Array], Array]
    gradient: Callable[[Array, Array], Array]
    hessian: Callable[[Array, Array], Array]
    lower_hessian: Callable[[Array, Array], Array]
    value_within: Callable[[Array, Array], Array]
    slope_within: Callable[[Array, Array], Array]
    hessian_bound: float
    slope_peaks_at_ends: bool

    @property
    def quadratic(self) -> bool:
        """Whether the Hessian is constant."""
        return self.name == "squared"


def _sigmoid(z: Array) -> Array:
    return 0.5 * (1 + np.tanh(z / 2))


def _softmax(z: Array) -> Array:
    exponentials = np.exp(z - z.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _sigmoid_slope(z: Array) -> Array:
    return _sigmoid(z) * _sigmoid(-z)


def _twice_identity(z: Array) -> Array:
    return np.broadcast_to(2 * np.eye(z.shape[-1]), (*z.shape, z.shape[-1]))


def _softmax_hessian(z: Array) -> Array:
    probability = _softmax(z)
    diagonal = probability[..., None] * np.eye(z.shape[-1])
    return diagonal - probability[..., None] * probability[..., None, :]


SQUARED = LinearLoss(
    "squared",
    value=lambda z, y: np.square(z - y).sum(-1),
    gradient=lambda z, y: 2 * (z - y),
    hessian=lambda z, y: _twice_identity(z),
    lower_hessian=lambda z, z_end: _twice_identity(z_end),
    value_within=lambda reach, y: np.square(np.linalg.norm(y, axis=-1) + reach),
    slope_within=lambda reach, y: 2 * (np.linalg.norm(y, axis=-1) + reach),
    hessian_bound=2.0,
    slope_peaks_at_ends=True,
)
LOGISTIC = LinearLoss(
    "logistic",
    value=lambda z, y: (np.logaddexp(0, z) - y * z).sum(-1),
    gradient=lambda z, y: _sigmoid(z) - y,
    hessian=lambda z, y: _sigmoid_slope(z)[..., None],
    # The slope of the sigmoid rises to 0 and falls after it: along a segment it is least at an end.
    lower_hessian=lambda z, z_end: np.minimum(_sigmoid_slope(z), _sigmoid_slope(z_end))[..., None],
    value_within=lambda reach, y: np.logaddexp(0, reach),
    slope_within=lambda reach, y: _sigmoid(reach),
    hessian_bound=0.25,
    slope_peaks_at_ends=True,
)
SOFTMAX = LinearLoss(
    "cross-entropy",
    value=lambda z, y: np.logaddexp.reduce(z, -1) - (z * y).sum(-1),
    gradient=lambda z, y: _softmax(z) - y,
    hessian=lambda z, y: _softmax_hessian(z),
    # The third cumulant E[(v - Ev)(u - Eu)^2] is at most (max v - min v) Var u: so the Hessian
    # falls no faster than exponentially along v (in the manner of Bach 2010, arXiv 0910.4627).
    lower_hessian=lambda z, z_end: (
        np.exp(-np.ptp(z_end - z, axis=-1))[..., None, None] * _softmax_hessian(z)
    ),
    value_within=lambda reach, y: np.log(y.shape[-1]) + 2**0.5 * reach,
    slope_within=lambda reach, y: np.full(len(y), 2**0.5),
    hessian_bound=0.5,
    slope_peaks_at_ends=False,
)

r"""When theta(S^i) is close to theta(S): how far a second-order expansion at theta(S) is accurate.

Proposition 4.2 grants that :math:`\theta(S^i)` "is close to" :math:`\theta(S)`, and its proof puts
a second-order expansion of :math:`L_\lambda` in the place of :math:`L_\lambda`. So *close* means
here that this expansion is accurate to 10 % at every step that is looked at, up to
:math:`\theta(S^i)`. The same definition serves the audit of trained networks, the verifier, and
the searches for counterexamples.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.domain import Real, unwrap

#: Relative error of the second-order expansion up to which it counts as accurate.
EXPANSION_ERROR = 0.1
#: Steps at which the expansion is looked at, in multiples of theta(S^i) - theta(S).
EXPANSION_STEPS = tuple(2.0**power for power in range(-8, 3))
#: Absolute error of a change of the objective that counts as rounding, in units of the loss.
EXPANSION_ROUNDING = 1e-12


def expansion_reach(
    change: Callable[[float], ArrayLike], *, slope: ArrayLike, curvature: ArrayLike
) -> float | Real:
    r"""Largest step up to which a second-order expansion is accurate to 10 %.

    With :math:`\Delta=\theta(S^i)-\theta(S)` and all steps :math:`a` of ``EXPANSION_STEPS`` up to
    the one returned,

    .. math:: \bigl|f(\theta+a\Delta)-f(\theta)-a\,g-\tfrac12a^2c\bigr|
       \le 0.1\,\bigl(|a\,g|+|\tfrac12a^2c|\bigr)+10^{-12},
       \quad g=\langle\nabla f(\theta),\Delta\rangle,\ c=\Delta^\top\nabla^2f(\theta)\,\Delta.

    The error is relative to the sizes of both terms, as the change itself vanishes where they
    cancel. :math:`\theta(S^i)` counts as close if the result is at least 1: see :func:`is_close`.

    Args:
        change: maps a step :math:`a` to :math:`f(\theta+a\Delta)-f(\theta)`, in units of the loss;
            for many directions at once, to an array of the shape of ``slope`` and ``curvature``.
        slope: :math:`g`, in units of the loss.
        curvature: :math:`c`, in units of the loss (without the factor 1/2).

    Returns:
        The step, in multiples of :math:`\Delta`, of the broadcast shape: at most 4, where the
        search ends, and 0 where the first step is not accurate or the change is not a number.

    >>> expansion_reach(lambda a: a**2, slope=0.0, curvature=2.0)
    4.0
    >>> expansion_reach(lambda a: a**2 + a**3, slope=0.0, curvature=2.0)
    0.0625
    """
    first, second = np.broadcast_arrays(
        np.asarray(slope, np.float64), np.asarray(curvature, np.float64) / 2
    )
    reach = np.zeros(first.shape)
    accurate = np.ones(first.shape, dtype=bool)
    for step in EXPANSION_STEPS:
        linear, square = step * first, step**2 * second
        error = np.abs(np.asarray(change(step), np.float64) - linear - square)
        allowed = EXPANSION_ERROR * (np.abs(linear) + np.abs(square)) + EXPANSION_ROUNDING
        # Not "error > allowed": a change that is not a number is not accurate.
        accurate = accurate & (error <= allowed)
        if not accurate.any():
            break
        reach = np.where(accurate, step, reach)
    return unwrap(reach)


def is_close(reach: ArrayLike) -> bool | NDArray[np.bool_]:
    """Whether the expansion is accurate all the way to theta(S^i).

    Args:
        reach: of :func:`expansion_reach`.

    Returns:
        True where it is at least 1, of its shape.

    >>> is_close(0.5)
    False
    """
    close = np.asarray(reach) >= 1
    return bool(close) if close.ndim == 0 else close

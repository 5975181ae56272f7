r"""When theta(S^i) is close to theta(S): how far a second-order expansion at theta(S) is accurate.

Proposition 4.2 grants that :math:`\theta(S^i)` "is close to" :math:`\theta(S)`, and its proof puts
a second-order expansion of :math:`L_\lambda` in the place of :math:`L_\lambda`. So *close* means
here that this expansion is accurate to 10 % at every step that is looked at, up to
:math:`\theta(S^i)`. The same definition serves the audit of trained networks, the verifier, and
the searches for counterexamples. It is enough to prove the bound as it is printed.

In the notation of ``theory.readings``:

**Theorem (Proposition 4.2 with closeness in numbers).** Let :math:`\Delta=\theta'-\theta`, let
:math:`\nabla f_S(\theta)=0`, let :math:`\mu>0` be the smallest eigenvalue of
:math:`H=\nabla^2f_S(\theta)`, let :math:`\theta'` minimise its leave-one-out form over the
segment, and let the second-order expansion at :math:`\theta` be accurate to a share
:math:`\varepsilon` at two steps, :math:`t<1` and 1:

.. math:: f_S(\theta')-f_S(\theta)\ge(1-\varepsilon)\,q,\quad
   f_S(\theta+t\Delta)-f_S(\theta)\le(1+\varepsilon)\,t^2q,\quad q=\tfrac12\Delta^\top H\Delta.

Then every bound of the table in ``theory.readings`` holds with this :math:`\mu`, times

.. math:: c(\varepsilon,t)=\frac{2(1-t)}{(1-\varepsilon)-(1+\varepsilon)t^2},

if the denominator is positive. Neither convexity nor curvature elsewhere is needed.

*Proof* (mean). :math:`n f_S=(n-1)f_{S^i}+\ell_{\lambda,i}`, and :math:`\theta'` is no worse for
:math:`f_{S^i}` than :math:`\theta+t\Delta`. With :math:`G` the largest gradient of
:math:`\ell_{\lambda,i}` between the two,

.. math:: \bigl[(1-\varepsilon)-(1+\varepsilon)t^2\bigr]\,q
   \le f_S(\theta')-f_S(\theta+t\Delta)
   \le\tfrac1n\bigl[\ell_{\lambda,i}(\theta')-\ell_{\lambda,i}(\theta+t\Delta)\bigr]
   \le\tfrac1n\,G\,(1-t)\,\|\Delta\|,

and :math:`q\ge\mu\|\Delta\|^2/2`, so that :math:`\|\Delta\|\le c\,G/(\mu n)`. A loss whose gradient
is at most :math:`\eta` on the segment changes by at most :math:`\eta\|\Delta\|`, which ends the
proof: :math:`G\le\eta_\lambda`, and :math:`G\le2\eta` where both ends are stationary. For the sum
divided by n, :math:`\ell_i` takes the place of :math:`\ell_{\lambda,i}`.

The paper prints c = 2 for the regularized loss, :math:`2\eta_\lambda^2/(\mu n)`.

- Accuracy *at* :math:`\theta'` *alone* (t = 0) gives it up to the factor :math:`1/(1-\varepsilon)`.
- Accuracy at 1/2 and 1 gives :math:`c=2/(1.5-2.5\,\varepsilon)`, which is 1.6 at 10 % and at most 2
  up to 20 %: **the printed bound is true wherever** :func:`is_close` **says so.**
- Accuracy everywhere gives it up to :math:`\varepsilon=(\sqrt2-1)/2`, or 20.7 %.

The first and the last constant are sharp, also among convex losses: a left-out loss of slope
:math:`\eta`, and an :math:`f_S` that follows :math:`(1+\varepsilon)\mu x^2/2` up to :math:`t\Delta`
and then the line to :math:`(1-\varepsilon)\mu\Delta^2/2`, come arbitrarily close.

With gradients of at most :math:`\eta_\lambda` for every z, not just for those of S, the loss of a
fresh z changes by no more. So where the premise holds for every S, with one
:math:`\eta_\lambda` and one :math:`\mu`, hypothesis stability has the same bound as pointwise
hypothesis stability, and the constants of Theorem 4.4 stand for the regularized loss.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.domain import Real, rate, unwrap

#: Relative error of the second-order expansion up to which it counts as accurate.
EXPANSION_ERROR = 0.1
#: Steps at which the expansion is looked at, in multiples of theta(S^i) - theta(S).
EXPANSION_STEPS = tuple(2.0**power for power in range(-8, 3))
#: The step, beside the whole way, at which the theorem uses the expansion: one of those above.
CHECKED_STEP = 0.5
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
        search ends, and 0 where the first step is not accurate, or where the change, the slope or
        the curvature is ``nan`` or infinite.

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
        moved = np.asarray(change(step), np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            linear, square = step * first, step**2 * second
            error = np.abs(moved - linear - square)
            allowed = EXPANSION_ERROR * (np.abs(linear) + np.abs(square)) + EXPANSION_ROUNDING
        # Not "error > allowed": a change that is not a number is not accurate.
        accurate = accurate & (error <= allowed) & np.isfinite(allowed)
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


def expansion_constant(*, error: ArrayLike, step: ArrayLike) -> float | Real:
    r"""Constant of Proposition 4.2 where a second-order expansion is accurate at two steps.

    .. math:: c(\varepsilon,t)=\frac{2(1-t)}{(1-\varepsilon)-(1+\varepsilon)t^2}

    Source: the theorem at the top of this module, where it is proved; the bound is
    :math:`c\,\eta_\lambda^2/(\mu n)`. The paper prints c = 2.

    Assumes: theta(S) is stationary, theta(S^i) minimises its objective over the segment, the
    Hessian at theta(S) is positive definite, and the expansion there is accurate to
    :math:`\varepsilon` at :math:`t` and at 1.

    Args:
        error: :math:`\varepsilon`, relative error of the expansion, in [0, 1].
        step: :math:`t`, in [0, 1], in multiples of theta(S^i) - theta(S); 0 for accuracy at
            theta(S^i) alone.

    Returns:
        c, of the broadcast shape; infinite where such accuracy implies nothing.

    Raises:
        ValueError: an argument is out of range.

    >>> round(expansion_constant(error=0.1, step=0.5), 12)
    1.6
    >>> round(expansion_constant(error=0.1, step=0.0) / 2, 4)
    1.1111
    """
    accuracy, t = rate("error", error), rate("step", step)
    # (1 - error) - (1 + error) t^2, of which nothing cancels near 1 without an error.
    left = (1 - t) * (1 + t) - accuracy * (1 + t**2)
    constant = np.full(left.shape, np.inf)
    np.divide(2 * (1 - t), left, out=constant, where=left > 0)
    return unwrap(constant)


def close_constant(error: ArrayLike) -> float | Real:
    r"""Constant of Proposition 4.2 where a second-order expansion is accurate at every step.

    .. math:: c(\varepsilon)=\min_t c(\varepsilon,t)
       =\frac1{1+\varepsilon-\sqrt{2\varepsilon(1+\varepsilon)}},
       \quad\text{at } t=1-\sqrt{2\varepsilon/(1+\varepsilon)}.

    It is 1 where the expansion is exact, and the printed 2 at :math:`\varepsilon=(\sqrt2-1)/2`.

    Source and assumptions: as for :func:`expansion_constant`.

    Args:
        error: :math:`\varepsilon`, largest relative error of the expansion on the way to
            theta(S^i), in [0, 1].

    Returns:
        c, of the shape of ``error``; infinite at 1.

    Raises:
        ValueError: ``error`` is out of range.

    >>> round(close_constant(0.1), 4)
    1.5849
    >>> round(close_constant((2**0.5 - 1) / 2), 12)
    2.0
    """
    accuracy = rate("error", error)
    # The formula times (1 + error + root) above and below: nothing cancels near 1.
    top = 1 + accuracy + np.sqrt(2 * accuracy * (1 + accuracy))
    constant = np.full(top.shape, np.inf)
    np.divide(top, (1 + accuracy) * (1 - accuracy), out=constant, where=accuracy < 1)
    return unwrap(constant)


#: Constant of the theorem where :func:`is_close` says so: 1.6, of which the paper prints 2.
CLOSE_CONSTANT = float(expansion_constant(error=EXPANSION_ERROR, step=CHECKED_STEP))

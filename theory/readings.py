r"""Readings of Proposition 4.2 for exact minimisers: what it may mean, and which of it is provable.

Let :math:`f_S(\theta)=\frac1n\sum_j\ell_j(\theta)+s\|\theta-\theta_0\|^2` with
:math:`s=\lambda(2p-p^2)`, let :math:`\ell_{\lambda,j}=\ell_j+s\|\cdot-\theta_0\|^2`, let
:math:`\theta` minimise :math:`f_S`, :math:`\theta'` its leave-one-out form, and let :math:`\mu` be
a lower bound of the Hessian of :math:`f_S` along the segment between them.

*Displacement.* As :math:`\nabla f_S(\theta)=0`, strong convexity on the segment gives
:math:`\mu\|\theta'-\theta\|^2\le\langle\nabla f_S(\theta'),\theta'-\theta\rangle`, hence
:math:`\|\theta'-\theta\|\le\|\nabla f_S(\theta')\|/\mu`.

- *Mean over n-1:* :math:`n f_S=(n-1)f_{S^i}+\ell_{\lambda,i}` and
  :math:`\nabla f_{S^i}(\theta')=0`, so
  :math:`\|\theta'-\theta\|\le\|\nabla\ell_{\lambda,i}(\theta')\|/(\mu n)`. By the same stationarity
  :math:`2s(\theta'-\theta_0)` is minus a mean of raw gradients, so that
  :math:`\|\nabla\ell_{\lambda,i}(\theta')\|\le 2\eta`.
- *Sum over n-1, divided by n:* :math:`f_S=f_{S^i}+\ell_i/n`, so
  :math:`\|\theta'-\theta\|\le\|\nabla\ell_i(\theta')\|/(\mu n)\le\eta/(\mu n)`.

*Loss.* A loss whose gradient is at most :math:`\eta` on the segment changes by at most
:math:`\eta\|\theta'-\theta\|`. Together:

=========  ===========  ======================================
form       loss         provable bound
=========  ===========  ======================================
mean       raw          :math:`2\eta^2/(\mu n)`
mean       regularized  :math:`\eta_\lambda^2/(\mu n)`
sum        raw          :math:`\eta^2/(\mu n)`
sum        regularized  :math:`\eta\,\eta_\lambda/(\mu n)`
=========  ===========  ======================================

with :math:`\eta` and :math:`\eta_\lambda` the largest gradients of the raw and of the regularized
loss, of all examples of S, over any set that holds the segment.

The curvature *at* :math:`\theta(S)` alone serves for :math:`\mu` where the Hessian is constant, as
for the squared loss of a linear model, or where :math:`\theta(S^i)` is *close* to
:math:`\theta(S)`, as the paper grants. Then the table holds with constants 1.6 times as large, and
the printed bound, :math:`2\eta_\lambda^2/(\mu n)` for the regularized loss, holds as it is printed:
``theory.closeness`` says what close means, and has the proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product as combinations
from typing import Literal, get_args

from numpy.typing import ArrayLike

from theory.closeness import CLOSE_CONSTANT
from theory.domain import Real, count, nonnegative, unwrap
from theory.wide import Wide

Form = Literal["mean", "sum"]
Stable = Literal["raw", "regularized"]
Curvature = Literal["point", "expansion", "segment", "penalty"]
Region = Literal["segment", "ball", "global"]

#: The premise that the paper grants, where it is not met.
NOT_CLOSE = "θ(S^i) not close to θ(S)"


@dataclass(frozen=True)
class Reading:
    """One reading of Proposition 4.2.

    Attributes:
        form: S^i is the "mean" over n - 1 examples, or their "sum" divided by n.
        loss: whose stability is meant, the "raw" loss or the "regularized" one.
        curvature: smallest eigenvalue of the Hessian at the "point" theta(S); at the same point,
            where the "expansion" is accurate to 10 % up to theta(S^i); along the "segment" to
            theta(S^i); or the "penalty"'s 2s alone.
        region: where the gradients were taken: the "segment", the "ball" around theta_0 that
            holds all minimisers, or everywhere ("global").
    """

    form: Form = "mean"
    loss: Stable = "raw"
    curvature: Curvature = "point"
    region: Region = "segment"

    def __str__(self) -> str:
        return f"{self.form}, {self.loss}, μ: {self.curvature}, η: {self.region}"

    @property
    def constant(self) -> float:
        """The constant c of the provable bound c * (product of two gradients) / (mu n)."""
        constant = 2.0 if (self.form, self.loss) == ("mean", "raw") else 1.0
        if self.curvature == "expansion":
            return constant * CLOSE_CONSTANT
        return constant

    def missing_premise(self, quadratic: bool, close: bool) -> str:
        """What is missing for the inequality to follow.

        Args:
            quadratic: whether the Hessian is constant.
            close: whether theta(S^i) is close to theta(S), in the sense of ``theory.closeness``.

        Returns:
            In words; empty if the inequality is proved.
        """
        if self.curvature == "point" and not quadratic:
            return "Hessian not constant"
        if self.curvature == "expansion" and not close:
            return NOT_CLOSE
        return ""

    def bound(
        self, *, lipschitz: ArrayLike, lipschitz_regularized: ArrayLike, mu: ArrayLike, n: ArrayLike
    ) -> float | Real:
        r"""Bound on the change of one example's loss when that example is left out.

        Source: derived at the top of this module, after arXiv 2404.09610, Proposition 4.2.

        Args:
            lipschitz: :math:`\eta`, largest gradient norm of the raw loss over the region.
            lipschitz_regularized: :math:`\eta_\lambda`, of the regularized loss.
            mu: smallest curvature of the regularized objective, at least 0.
            n: number of training examples.

        Returns:
            The bound, of the broadcast shape, in units of the loss.

        Raises:
            ValueError: an argument is out of range.

        >>> Reading().bound(lipschitz=1.0, lipschitz_regularized=1.5, mu=0.1, n=100)
        0.2
        """
        raw = nonnegative("lipschitz", lipschitz)
        regularized = nonnegative("lipschitz_regularized", lipschitz_regularized)
        moved = raw if (self.form, self.loss) != ("mean", "regularized") else regularized
        changed = raw if self.loss == "raw" else regularized
        denominator = Wide(nonnegative("mu", mu)) * Wide.count(count("n", n))
        return unwrap((self.constant * (Wide(moved) * changed) / denominator).array())


#: The printed formula at the raw loss's gradients, with mu at theta(S). The printed statement
#: itself, ``theory.stability_bound``, is about the regularized loss and its gradients.
AT_POINT = Reading()
#: What is true of the raw loss, however far theta(S^i) is.
CORRECTED = Reading(curvature="segment")
#: What is true of the regularized loss where theta(S^i) is close.
WHERE_CLOSE = Reading(loss="regularized", curvature="expansion")
#: Every combination.
READINGS = tuple(
    Reading(*choice)
    for choice in combinations(
        get_args(Form), get_args(Stable), get_args(Curvature), get_args(Region)
    )
)


def displacement_bound(*, gradient: ArrayLike, mu: ArrayLike, n: ArrayLike) -> float | Real:
    r"""Bound on the distance of theta(S^i) to theta(S): the step inside Proposition 4.2.

    .. math:: \|\theta(S^i)-\theta(S)\| \le \frac{\|\nabla\ell_{\lambda,i}(\theta(S^i))\|}{\mu n}

    Source: derived at the top of this module (mean over n-1; for the sum divided by n, the gradient
    is that of the raw loss). Equality holds in one dimension for quadratics.

    Args:
        gradient: norm of the left-out example's gradient at theta(S^i).
        mu: smallest curvature of the regularized objective along the segment, at least 0.
        n: number of training examples.

    Returns:
        The bound, of the broadcast shape, in units of the parameters.

    Raises:
        ValueError: an argument is out of range.

    >>> displacement_bound(gradient=1.0, mu=0.5, n=10)
    0.2
    """
    denominator = Wide(nonnegative("mu", mu)) * Wide.count(count("n", n))
    return unwrap((Wide(nonnegative("gradient", gradient)) / denominator).array())

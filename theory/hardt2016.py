r"""Stochastic gradient descent is uniformly stable: Hardt, Recht & Singer 2016.

Two runs with the same start, the same steps and the same order, one on S, the other with one
example replaced, drift apart only where that example takes part in a step:

.. math:: \|w_{t+1}-w'_{t+1}\|\le\rho_t\|w_t-w'_t\|+\frac{2\alpha_tL}n

A step on the mean of n losses has the right side with :math:`\rho_t` the factor by which the
gradient step on S can stretch distances, as the gradients at :math:`w'_t` differ by at most
:math:`2L/n`. A step on one of n examples drawn at random has it in expectation, and so have whole
epochs over the examples in a random order. Epochs in any one order have it summed over each where
:math:`\rho_t=1` and the step is constant. Leaving the example out of the mean, in place of
replacing it, changes that mean's gradient by no more.

Steps on *one example drawn at random* let Theorems 3.10 and 3.12 start later: with probability
:math:`1-t_0/n` at least, the replaced example takes part in none of the first :math:`t_0` steps,
after which both runs are still at one point. The loss is at most M (and at least 0), so that

.. math:: \beta\le\frac{t_0}nM+L\,\mathbb E\bigl[\|w_T-w'_T\|\bigm|w_{t_0}=w'_{t_0}\bigr]

for every whole :math:`t_0` (their Lemma 3.11). Projecting both runs on a convex set after every
step stretches no distance, and changes none of these statements.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, positive, unwrap, whole
from theory.wide import Wide

#: Share of all steps from which on the logarithms of a step and of all steps nearly cancel.
NEARLY = 1 - 1e-6


def convex_descent_stability_bound(
    *, lipschitz: ArrayLike, step_sum: ArrayLike, n: ArrayLike
) -> float | Real:
    r"""Bound on the uniform stability of gradient descent on convex losses.

    .. math:: \beta\le\frac{2L^2}n\sum_{t=1}^T\alpha_t

    Source: Hardt, Recht & Singer 2016 (arXiv 1509.01240), Theorem 3.8. A step of at most
    2/smoothness does not stretch distances (:math:`\rho_t=1` at the top of this module), as the
    eigenvalues of :math:`I-\alpha_tH` lie in [-1, 1]; the loss changes by L times the distance.

    Assumes: every example's loss is convex, L-Lipschitz and smooth, and every step size is at most
    2/smoothness. A step is on the mean of all losses; or on one drawn at random, of which the bound
    is in expectation; or one of a whole number of epochs with a constant step. A longer step
    stretches distances in every step, and the bound fails. L need only hold at the points that both
    runs visit and on the segment between their ends, on whose examples the change of the loss is
    then bounded.

    Args:
        lipschitz: L, at least 0, in units of the loss per unit of parameter; ``inf`` allowed.
        step_sum: sum of the step sizes, at least 0, in squared units of parameter per unit of the
            loss; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.

    Returns:
        The bound in units of the loss, of the broadcast shape, never ``nan``: 0 where ``lipschitz``
        or ``step_sum`` is, otherwise ``inf`` where one of them is ``inf``.

    Raises:
        ValueError: an argument is out of range.

    >>> round(convex_descent_stability_bound(lipschitz=1.0, step_sum=10.0, n=1000), 6)
    0.02
    """
    steps = Wide(nonnegative("step_sum", step_sum))
    return unwrap((_twice_squared(lipschitz) * steps / Wide.count(count("n", n))).array())


def strongly_convex_descent_stability_bound(
    *, lipschitz: ArrayLike, curvature: ArrayLike, n: ArrayLike
) -> float | Real:
    r"""Bound on the uniform stability of gradient descent on strongly convex losses.

    .. math:: \beta\le\frac{2L^2}{\gamma n}

    However many steps are taken. Source: Hardt, Recht & Singer 2016 (arXiv 1509.01240),
    Theorem 3.9. The eigenvalues of :math:`I-\alpha H` lie in :math:`[0,1-\alpha\gamma]`, so that
    :math:`\rho=1-\alpha\gamma`, and :math:`2\alpha L/n` summed over all steps with these factors is
    at most :math:`2L/(\gamma n)`. Proposition 4.2 has the same right side, with
    :math:`\gamma=\Lambda_{\min}+2\lambda(2p-p^2)`, for what the steps converge to.

    Assumes: every example's loss (a penalty included) is L-Lipschitz where both runs go,
    :math:`\gamma`-strongly convex and smooth, and the step size is constant and at most
    1/smoothness. A step is on the mean of all losses, or on one at random, drawn anew or by
    shuffling, of which the bound is in expectation. In one fixed order it may fail: after the
    example that always comes last no step brings the runs together.

    Args:
        lipschitz: L, at least 0, in units of the loss per unit of parameter; ``inf`` allowed.
        curvature: :math:`\gamma\ge0`, in units of the loss per squared unit of parameter.
        n: number of training examples, at least 1; ``inf`` stands for the limit.

    Returns:
        The bound in units of the loss, of the broadcast shape, never ``nan``: 0 where ``lipschitz``
        is 0, otherwise ``inf`` where it is ``inf`` or ``curvature`` is 0.

    Raises:
        ValueError: an argument is out of range.

    >>> round(strongly_convex_descent_stability_bound(lipschitz=1.0, curvature=0.1, n=1000), 6)
    0.02
    """
    denominator = Wide(nonnegative("curvature", curvature)) * Wide.count(count("n", n))
    return unwrap((_twice_squared(lipschitz) / denominator).array())


def decreasing_step_stability_bound(
    *,
    lipschitz: ArrayLike,
    smoothness: ArrayLike,
    curvature: ArrayLike,
    loss_bound: ArrayLike,
    n: ArrayLike,
) -> float | Real:
    r"""Bound on the uniform stability of SGD on strongly convex losses, with steps that decrease.

    .. math:: \beta\le\frac{2L^2+GM}{\gamma n}\qquad\text{for }\alpha_t=\frac1{\gamma t}

    However many steps are taken. Source: Hardt, Recht & Singer 2016 (arXiv 1509.01240),
    Theorem 3.10; the theorem itself could not be read, the constant is derived here. The statement
    at the top of this module with :math:`t_0=\lfloor G/\gamma\rfloor`: later steps are shorter
    than 1/G and shrink distances by :math:`1-\alpha_t\gamma=1-1/t`. So the expected distance obeys
    :math:`d_t\le(1-\frac1t)d_{t-1}+\frac{2L}{\gamma tn}`, that is,
    :math:`t\,d_t\le(t-1)\,d_{t-1}+\frac{2L}{\gamma n}`, and stays below
    :math:`\frac{2L}{\gamma n}`.

    Assumes: every example's loss (a penalty included) is between 0 and M, L-Lipschitz,
    :math:`\gamma`-strongly convex and G-smooth where the runs go, and *one* example, drawn at
    random from all n, takes part in each step. Where all take part in every step, the replaced
    example is there from the first, longest step on, and the bound fails.

    Args:
        lipschitz: L, at least 0, in units of the loss per unit of parameter; ``inf`` allowed.
        smoothness: G, at least 0, in units of the loss per squared unit of parameter; ``inf``
            allowed.
        curvature: :math:`\gamma\ge0`, in the same units.
        loss_bound: M, at least 0, in units of the loss; ``inf`` allowed.
        n: number of training examples, at least 1; ``inf`` stands for the limit.

    Returns:
        The bound in units of the loss, of the broadcast shape, never ``nan``: 0 where ``lipschitz``
        and ``smoothness`` or ``loss_bound`` are 0, otherwise ``inf`` where one of them is ``inf``
        or ``curvature`` is 0.

    Raises:
        ValueError: an argument is out of range.

    >>> round(decreasing_step_stability_bound(
    ...     lipschitz=1.0, smoothness=2.0, curvature=0.1, loss_bound=0.5, n=1000), 6)
    0.03
    """
    early = Wide(nonnegative("smoothness", smoothness)) * nonnegative("loss_bound", loss_bound)
    denominator = Wide(nonnegative("curvature", curvature)) * Wide.count(count("n", n))
    return unwrap(((_twice_squared(lipschitz) + early) / denominator).array())


def nonconvex_descent_stability_bound(
    *,
    lipschitz: ArrayLike,
    smoothness: ArrayLike,
    step_scale: ArrayLike,
    steps: ArrayLike,
    loss_bound: ArrayLike,
    n: ArrayLike,
) -> float | Real:
    r"""Bound on the uniform stability of SGD on losses that need not be convex.

    .. math:: \beta\le\min_{1\le t_0\le T}\;\frac{t_0M}n
       +\frac{2L^2}{G(n-1)}\Bigl[\Bigl(\frac T{t_0}\Bigr)^{Gc}-1\Bigr]
       \qquad\text{for }\alpha_t\le\frac ct

    Source: Hardt, Recht & Singer 2016 (arXiv 1509.01240), Theorem 3.12, which has M = 1, n - 1 in
    place of n, no -1, and the value at the best :math:`t_0`, whole or not,
    :math:`\frac{1+1/(Gc)}{n-1}(2cL^2)^{1/(Gc+1)}T^{Gc/(Gc+1)}`. With a :math:`t_0` that is rounded
    up, what is computed here is above that by M/n at most. The theorem itself could not be read;
    its proof, as others tell it, is this. With the statement at the top of this
    module, a step of c/t on the same example stretches distances by :math:`1+Gc/t` at most, and on
    the replaced one, with probability 1/n, moves the runs apart by 2Lc/t:
    :math:`d_t\le(1+(1-\frac1n)\frac{Gc}t)\,d_{t-1}+\frac{2cL}{tn}`. With
    :math:`\kappa=(1-\frac1n)Gc` and :math:`1+x\le e^x` this sums to
    :math:`\frac{2cL}n\sum_{t>t_0}\frac1t(\frac Tt)^\kappa
    \le\frac{2cL}{n\kappa}[(\frac T{t_0})^\kappa-1]`, which rises with :math:`\kappa`.

    Assumes: every example's loss is between 0 and M, L-Lipschitz and G-smooth where the runs go,
    and *one* example, drawn at random from all n, takes part in each step. Where all take part in
    every step, the runs part from the first step on, and the bound fails.

    Args:
        lipschitz: L, at least 0, in units of the loss per unit of parameter; ``inf`` allowed.
        smoothness: G, above 0, in units of the loss per squared unit of parameter; ``inf`` allowed.
        step_scale: c, at least 0, in squared units of parameter per unit of the loss; ``inf``
            allowed.
        steps: T, a count of at least 1; ``inf`` stands for the limit.
        loss_bound: M, at least 0, in units of the loss; ``inf`` allowed.
        n: number of training examples, at least 1, where the bound is M; ``inf`` stands for the
            limit.

    Returns:
        The bound in units of the loss, of the broadcast shape, never ``nan``, at most M.

    Raises:
        ValueError: an argument is out of range.

    10/1001 + 2/1000 (50/10 - 1), and not less at another whole number:

    >>> round(nonconvex_descent_stability_bound(
    ...     lipschitz=1.0, smoothness=1.0, step_scale=1.0, steps=50, loss_bound=1.0, n=1001), 6)
    0.01799
    """
    ceiling = nonnegative("loss_bound", loss_bound)
    total = whole("steps", count("steps", steps))
    size = count("n", n)
    bend = positive("smoothness", smoothness)
    product = Wide(bend) * nonnegative("step_scale", step_scale)
    growth = product.array()
    share = Wide(ceiling) / Wide.count(size)  # of the loss, a step
    apart = _twice_squared(lipschitz) / (Wide(bend) * Wide.count(size - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        best = (product.log() + apart.log() - share.log()) / (growth + 1) + np.log(total) * (
            growth / (growth + 1)
        )
    # Unknown where an infinite value decides: then the first step, or with endless growth the last.
    best = np.where(np.isnan(best), np.where(np.isinf(growth), np.log(total), 0.0), best)
    found = [
        _from_step(start, share, apart, product, total)
        for start in _neighbours(np.exp(np.minimum(best, np.log(total))), total)
    ]
    return unwrap(np.minimum(ceiling, np.minimum(*found)))


def _neighbours(best: Real, total: Real) -> tuple[Real, Real]:
    """The whole numbers around the best step, from 1 to the last."""
    return np.clip(np.floor(best), 1, total), np.clip(np.ceil(best), 1, total)


def _from_step(start: Real, share: Wide, apart: Wide, growth: Wide, total: Real) -> Real:
    """The bound of Theorem 3.12 for runs that are together until a step."""
    far = np.log(total) - np.log(start)
    # Nearly equal logarithms would cancel.
    far = np.where(start > NEARLY * total, np.log1p((total - start) / start), far)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        stretched = np.where(far > 0, growth.array() * far, 0.0)
        # The logarithm of exp(stretched) - 1, neither of which need be a double.
        little = stretched < np.finfo(np.float64).tiny
        share_risen = np.log(-np.expm1(-stretched))
        risen = np.where(little, growth.log() + np.log(far), share_risen)
        later = np.exp(apart.log() + stretched + risen)
    return (share * start + Wide(np.where(np.isnan(later), 0.0, later))).array()


def _twice_squared(lipschitz: ArrayLike) -> Wide:
    return 2 * Wide(nonnegative("lipschitz", lipschitz)).squared()

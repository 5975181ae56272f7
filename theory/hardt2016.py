r"""Stochastic gradient descent is uniformly stable: Hardt, Recht & Singer 2016.

Two runs with the same start, the same steps and the same order, one on S, the other with one
example replaced, drift apart only where that example takes part in a step:

.. math:: \|w_{t+1}-w'_{t+1}\|\le\rho_t\|w_t-w'_t\|+\frac{2\alpha_tL}n

A step on the mean of n losses has the right side with :math:`\rho_t` the factor by which the
gradient step on S can stretch distances, as the gradients at :math:`w'_t` differ by at most
:math:`2L/n`. A step on one of n examples drawn at random has it in expectation; shuffled epochs
with a constant step have it summed over an epoch. Leaving the example out of the mean, in place of
replacing it, changes that mean's gradient by no more.
"""

from numpy.typing import ArrayLike

from theory.domain import Real, count, nonnegative, unwrap
from theory.wide import Wide


def convex_descent_stability_bound(
    *, lipschitz: ArrayLike, step_sum: ArrayLike, n: ArrayLike
) -> float | Real:
    r"""Bound on the uniform stability of gradient descent on convex losses.

    .. math:: \beta\le\frac{2L^2}n\sum_{t=1}^T\alpha_t

    Source: Hardt, Recht & Singer 2016 (arXiv 1509.01240), Theorem 3.8. A step of at most
    2/smoothness does not stretch distances (:math:`\rho_t=1` at the top of this module), as the
    eigenvalues of :math:`I-\alpha_tH` lie in [-1, 1]; the loss changes by L times the distance.

    Assumes: every example's loss is convex, L-Lipschitz and smooth, and every step size is at most
    2/smoothness. A longer step stretches distances in every step, and the bound fails. L need only
    hold at the points that both runs visit and on the segment between their ends, on whose examples
    the change of the loss is then bounded.

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
    1/smoothness.

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


def _twice_squared(lipschitz: ArrayLike) -> Wide:
    return 2 * Wide(nonnegative("lipschitz", lipschitz)).squared()

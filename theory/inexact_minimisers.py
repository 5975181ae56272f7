r"""What Proposition 4.2 loses where an optimizer stops short of the minimiser."""

from __future__ import annotations

from numpy.typing import ArrayLike

from theory.domain import Real, nonnegative, unwrap
from theory.wide import Wide


def stationarity_slack(
    *,
    lipschitz: ArrayLike,
    mu: ArrayLike,
    gradient_norm: ArrayLike,
    gradient_norm_left_out: ArrayLike,
) -> float | Real:
    r"""What is to be added to Proposition 4.2 for networks that are not quite minimisers.

    .. math:: \frac{\eta\,(\varepsilon_S + \varepsilon_i)}{\mu},\qquad
       \varepsilon_S=\|\nabla f_S(\theta(S))\|,\quad
       \varepsilon_i=\|\nabla f_{S^i}(\theta(S^i))\|

    With both gradients at most :math:`\varepsilon` it is :math:`2\eta\varepsilon/\mu`.

    Source: derived here, in the notation of ``theory.readings`` (mean over n-1). Strong convexity
    on the segment from :math:`\theta` to :math:`\theta'` gives
    :math:`\mu\|\theta'-\theta\|\le\|\nabla f_S(\theta')\|+\varepsilon_S`. From
    :math:`n f_S=(n-1)f_{S^i}+\ell_{\lambda,i}` follows
    :math:`\|\nabla f_S(\theta')\|\le\frac{n-1}n\varepsilon_i
    +\frac1n\|\nabla\ell_{\lambda,i}(\theta')\|`, and as :math:`2s(\theta'-\theta_0)` is
    :math:`\nabla f_{S^i}(\theta')` less a mean of raw gradients,
    :math:`\|\nabla\ell_{\lambda,i}(\theta')\|\le 2\eta+\varepsilon_i`. Together
    :math:`\|\theta'-\theta\|\le(2\eta/n+\varepsilon_S+\varepsilon_i)/\mu`, and the raw loss changes
    by at most :math:`\eta` times that.

    Assumes: as the provable readings of Proposition 4.2, but for stationarity.

    Args:
        lipschitz: :math:`\eta \ge 0`, largest gradient norm of the raw loss, units of loss per unit
            of parameter.
        mu: smallest curvature of the regularized objective along the segment, at least 0.
        gradient_norm: :math:`\varepsilon_S \ge 0`, in the units of ``lipschitz``.
        gradient_norm_left_out: :math:`\varepsilon_i \ge 0`; for a mean over i, its mean.

    Returns:
        The slack, of the broadcast shape, in units of the loss; 0 where both gradients vanish,
        otherwise ``inf`` where ``mu`` is 0.

    Raises:
        ValueError: an argument is out of range.

    >>> round(stationarity_slack(
    ...     lipschitz=2.0, mu=0.5, gradient_norm=0.01, gradient_norm_left_out=0.01), 6)
    0.08
    """
    both = Wide(nonnegative("gradient_norm", gradient_norm)) + nonnegative(
        "gradient_norm_left_out", gradient_norm_left_out
    )
    slack = nonnegative("lipschitz", lipschitz) * both / nonnegative("mu", mu)
    return unwrap(slack.array())

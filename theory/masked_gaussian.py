"""A masked update with Gaussian noise as the posterior of a PAC-Bayes bound."""

from __future__ import annotations

from numpy.typing import ArrayLike

from theory.domain import finite, positive, rate, single
from theory.wide import Wide


def masked_gaussian_divergence(update: ArrayLike, p: float, deviation: float) -> float:
    r"""Bound on the divergence of a masked update with Gaussian noise from noise alone.

    The posterior draws a mask of rows and columns and adds :math:`N(0,\sigma^2I)`, the prior is
    :math:`N(\theta_0,\sigma^2I)`. The divergence is convex, so that of the mixture is at most the
    mean over masks, :math:`\mathbb E\|m\odot\Delta\|^2/(2\sigma^2)=
    (1-p)^2\|\Delta\|^2/(2\sigma^2)`: it falls as p grows.

    Source: derived here, as above.

    Assumes: a mask of rows and columns that is drawn without the data, so that it belongs to the
    posterior alone.

    Args:
        update: :math:`\Delta`, finite, any shape; its norm runs over all entries.
        p: dropout rate in [0, 1].
        deviation: :math:`\sigma > 0`, in the units of the update, chosen without looking at the
            data; ``inf`` allowed.

    Returns:
        The bound on the divergence, in nats.

    Raises:
        ValueError: an argument is out of range, or p or ``deviation`` is not one number.

    >>> masked_gaussian_divergence([[2.0]], p=0.5, deviation=1.0)
    0.5
    """
    squared_norm = Wide(finite("update", update)).squared().sum()
    keep = Wide(1 - single("p", rate("p", p)))
    noise = Wide(single("deviation", positive("deviation", deviation)))
    return float((keep.squared() * squared_norm / (2 * noise.squared())).array())

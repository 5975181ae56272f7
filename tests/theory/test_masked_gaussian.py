"""The divergence of a masked update, against numerical integration."""

import numpy as np
import pytest
from scipy import integrate, stats

from theory.masked_gaussian import masked_gaussian_divergence


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_divergence_bounds_that_of_the_mixture(p):
    """One weight: the posterior is a mixture of N(0, 1) and N(d, 1), integrated numerically."""
    update, keep = 1.7, (1 - p) ** 2

    def integrand(x):
        mixture = keep * stats.norm.pdf(x, update) + (1 - keep) * stats.norm.pdf(x)
        return mixture * np.log(mixture / stats.norm.pdf(x))

    exact, _ = integrate.quad(integrand, -12, 14)
    bound = masked_gaussian_divergence([[update]], p, 1.0)
    assert 0 < exact <= bound
    assert bound == pytest.approx(keep * update**2 / 2)

"""The chance of success at which the tail of a binomial distribution has a given size."""

import math
from itertools import count as numbers_from
from statistics import NormalDist

#: Variance n (k/n) (1 - k/n) beyond which the limit is expanded around the normal distribution:
#: the sum over the tail has some ten terms a standard deviation, the error of the expansion is at
#: most the square of the inverse variance times a small number.
LARGE_VARIANCE = 1e9
#: Trials beyond which the distribution is Poisson's to the last digit, unless it is normal.
MANY_TRIALS = 1e100


def upper_limit(wrong: float, size: float, delta: float) -> float:
    r"""Largest chance of a wrong answer at which so few wrong answers have probability delta.

    It solves :math:`P(X\le k)=\delta` for p by bisection over :math:`\ln p`, where X is binomial
    with n trials of chance p. The smaller of the two tails is computed, as a sum of positive terms,
    so that rounding costs little.

    Source: Clopper & Pearson 1934.

    Args:
        wrong: k, a whole number, at least 0.
        size: n, a whole number, at least 1.
        delta: :math:`\delta`, in (0, 1].

    Returns:
        p in [0, 1], to a relative accuracy of 1e-13; 1 where k is n or more.

    >>> round(upper_limit(0, 100, 0.05), 4)
    0.0295
    """
    if wrong >= size:
        return 1.0
    if delta == 1:
        return 0.0
    if wrong / size * (size - wrong) > LARGE_VARIANCE:
        return _near_normal(wrong, size, delta)
    if size > MANY_TRIALS:
        return upper_limit(wrong, MANY_TRIALS, delta) * (MANY_TRIALS / size)
    few = delta <= 0.5
    # The median of X is n p but for rounding, so p is at least k/n if delta is at most 1/2, and at
    # most (k+1)/n if it is more. For k = 0 and delta = 1/2, p is above 1/(2n). P(X > k) <= n p.
    low = math.log((max(wrong, 0.5) if few else 1 - delta) / size)
    high = 0.0 if few else math.log((wrong + 1) / size)
    goal = math.log(delta) if few else math.log1p(-delta)
    for _ in range(60):
        middle = (low + high) / 2
        p, q = math.exp(middle), -math.expm1(middle)
        # P(X > k) is the probability of at most n - k - 1 right answers.
        tail = (wrong, size - wrong, p, q) if few else (size - wrong - 1, wrong + 1, q, p)
        if (_log_lower_tail(*tail) > goal) == few:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def _near_normal(wrong: float, size: float, delta: float) -> float:
    r"""The limit where the counts are large, by Cornish and Fisher's expansion.

    It is the quantile at :math:`1-\delta` of the beta distribution with parameters k + 1 and n - k
    (Clopper & Pearson 1934), whose skewness and excess kurtosis are :math:`\gamma_1, \gamma_2`:
    mean plus deviation times :math:`z+\frac{\gamma_1}6(z^2-1)+\frac{\gamma_2}{24}(z^3-3z)
    -\frac{\gamma_1^2}{36}(2z^3-5z)` (Cornish & Fisher 1938).
    """
    z = -NormalDist().inv_cdf(delta)
    total = size + 1
    mean, rest = (wrong + 1) / total, (size - wrong) / total
    root = math.sqrt(mean * rest)
    deviation = root / math.sqrt(total + 1)
    skewness = 2 * (rest - mean) / root / math.sqrt(total + 1) * ((total + 1) / (total + 2))
    excess = (rest - mean) ** 2 * ((total + 1) / (total + 2)) - mean * rest
    kurtosis = 6 * excess / (mean * rest) / (total + 3)
    steps = z + skewness / 6 * (z**2 - 1) + kurtosis / 24 * (z**3 - 3 * z)
    steps -= skewness**2 / 36 * (2 * z**3 - 5 * z)
    return min(mean + deviation * steps, 1.0)


def _log_lower_tail(k: float, rest: float, p: float, q: float) -> float:
    """ln P(X <= k), for k at most about n p, with n = k + rest and q = 1 - p."""
    total = term = 1.0
    for below in numbers_from():
        term *= (k - below) * q / ((rest + below + 1) * p)
        total += term
        if term < 1e-17 * total:
            break
    return _log_probability(k, rest, p, q) + math.log(total)


def _log_probability(k: float, rest: float, p: float, q: float) -> float:
    """ln P(X = k) for k < n, in the form of Loader 2000: no large numbers cancel."""
    n = k + rest
    if k == 0:
        return n * (math.log1p(-p) if p < 0.5 else math.log(q))
    factorials = _stirling_error(n) - _stirling_error(k) - _stirling_error(rest)
    spread = math.log(2 * math.pi * k * rest / n) / 2
    return factorials - spread - _deviance(k, n * p) - _deviance(rest, n * q)


def _stirling_error(n: float) -> float:
    """ln n! less Stirling's formula, n at least 1."""
    if n < 16:
        return math.lgamma(n + 1) - (n + 0.5) * math.log(n) + n - math.log(2 * math.pi) / 2
    s = 1 / (n * n)
    return (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188)))) / n


def _deviance(k: float, mean: float) -> float:
    """k ln(k/mean) + mean - k, which is near 0 where the mean is near k."""
    excess = (mean - k) / k
    return k * (excess - (math.log(mean / k) if excess < -0.5 else math.log1p(excess)))

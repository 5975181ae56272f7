"""Whether a bound that may fail with a stated probability is exceeded too often."""

from scipy.special import bdtrc


def exceedance_p_value(exceeded: int, draws: int, delta: float) -> float:
    r"""Return the p-value of "a bound is exceeded with probability at most delta".

    .. math:: P(X\ge k),\quad X\sim\mathrm{Binomial}(m,\delta)

    Args:
        exceeded: k, number of draws in which it was exceeded.
        draws: m, independent draws, at least 1.
        delta: in (0, 1].

    Returns:
        The p-value of the exact one-sided test, in (0, 1].

    >>> round(exceedance_p_value(1, 20, 0.05), 4), exceedance_p_value(0, 20, 0.05)
    (0.6415, 1.0)
    """
    return float(bdtrc(exceeded - 1, draws, delta))

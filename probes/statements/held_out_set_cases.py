"""The test set bound, Langford 2005: every number of wrong answers of a test set enumerated."""

from collections.abc import Iterator

import numpy as np

from probes.statements.case import Case
from probes.statements.linear_losses import Array
from probes.statements.pac_bayes_cases import COIN_DELTA, COIN_N, COINS, fewest_errors
from theory.langford2005 import binomial_tail_bound

STATEMENT = "Langford 2005"
READING = "probability of failing"
#: Sizes of the test set, and error rates of the network.
SIZES, ERROR_RATES = (20, 200, 2000), (0.01, 0.1, 0.3, 0.5)


def held_out_set_cases(delta: float) -> Iterator[Case]:
    """The exact probability that the bound fails, beside the one that it names.

    Source: ``theory.langford2005``.

    Args:
        delta: failure probability, in (0, 1].

    Yields:
        A case a size and error rate, and one outside what the statement assumes.
    """
    from scipy.stats import binom

    for size in SIZES:
        errors = np.arange(size + 1)
        bound = np.asarray(binomial_tail_bound(errors, size, delta))
        for rate in ERROR_RATES:
            yield Case(
                STATEMENT,
                READING,
                f"test set, n = {size}, error rate {rate:g}",
                _failing(binom.pmf(errors, size, rate), bound, rate),
                delta,
                assumptions="every number of wrong answers enumerated",
                command=f"--statement test-set --delta {delta:g}",
            )
    yield chosen_network_case()


def chosen_network_case() -> Case:
    """Of 2,000 networks that guess, the best on the test set, which then bounds its error rate.

    Returns:
        A case outside what the statement assumes: the test set chose the network.
    """
    bound = np.asarray(binomial_tail_bound(np.arange(COIN_N + 1), COIN_N, COIN_DELTA))
    return Case(
        STATEMENT,
        READING,
        f"best of {COINS} networks, n = {COIN_N}",
        _failing(fewest_errors(), bound, 0.5),
        COIN_DELTA,
        failed="the network was chosen on the test set",
        assumptions="every number of wrong answers enumerated",
        command="--statement test-set",
    )


def _failing(probability: Array, bound: Array, rate: float) -> float:
    """Probability of the test sets whose bound is below the error rate."""
    return float(probability[bound < rate].sum())

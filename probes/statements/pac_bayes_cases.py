r"""PAC-Bayes for a posterior that learns, every draw of S enumerated.

A coin of chance 0.3 is tossed n times. A predictor answers w, 0 or 1/2 or 1, with loss \|w - y\|;
the prior is uniform, and the posterior falls with the training loss. All depends on S through the
number of ones alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from probes.statements.case import Case
from probes.statements.linear_losses import Array
from theory.binary_kl import binary_kl
from theory.maurer2004 import pac_bayes_gap_bound, pac_bayes_loss_bound

STATEMENT = "PAC-Bayes"
#: Chance of a one, sizes of S, and what predictors answer.
CHANCE, SIZES, ANSWERS = 0.3, (5, 50, 500), (0.0, 0.5, 1.0)
#: Fair coins of which the best is chosen, where the prior has seen S.
COINS, COIN_N, COIN_DELTA = 2000, 10, 0.2


@dataclass(frozen=True)
class Posteriors:
    """What every number of ones gives, (n + 1,); losses are in [0, 1].

    Attributes:
        probability: of the number.
        train_loss, risk: of the posterior.
        divergence: of the posterior from the prior, nats.
        moment: mean over the prior of exp(n d(train loss, risk)).
    """

    probability: Array
    train_loss: Array
    risk: Array
    divergence: Array
    moment: Array


def posteriors(n: int, temperature: float) -> Posteriors:
    """Enumerate the draws.

    Args:
        n: tosses.
        temperature: the posterior is proportional to exp(-temperature * n * train loss).

    Returns:
        What every number of ones gives.
    """
    from scipy.stats import binom

    w, share = np.array(ANSWERS), np.arange(n + 1)[:, None] / n
    train = share * (1 - w) + (1 - share) * w
    risk = CHANCE * (1 - w) + (1 - CHANCE) * w
    weights = np.exp(-temperature * n * (train - train.min(1, keepdims=True)))
    weights /= weights.sum(1, keepdims=True)
    terms = np.where(weights > 0, weights * np.log(np.maximum(weights, 1e-300) * len(w)), 0.0)
    return Posteriors(
        binom.pmf(np.arange(n + 1), n, CHANCE),
        np.clip((weights * train).sum(1), 0, 1),
        weights @ risk,
        np.maximum(terms.sum(1), 0.0),
        np.exp(n * np.asarray(binary_kl(train, np.broadcast_to(risk, train.shape)))).mean(1),
    )


def pac_bayes_cases(delta: float) -> Iterator[Case]:
    """Both forms of the bound, the moment inside their proof, and a prior that has seen S.

    Source: Maurer 2004 (arXiv cs/0411099), Theorem 5.

    Args:
        delta: failure probability.

    Yields:
        Three cases a size and temperature; then one outside what is assumed.
    """
    for n in SIZES:
        for temperature in (0.3, 3.0):
            found = posteriors(n, temperature)
            yield from _cases(found, n, delta, f"coin, n = {n}, temperature {temperature:g}")
    yield best_coin_case(delta)


def _cases(found: Posteriors, n: int, delta: float, setting: str) -> Iterator[Case]:
    known: dict[str, Any] = {"divergence": found.divergence, "n": n, "delta": delta}
    inverted = pac_bayes_loss_bound(train_loss=found.train_loss, **known)
    pinsker = found.train_loss + pac_bayes_gap_bound(loss_bound=1.0, **known)
    moment = float(found.probability @ found.moment)
    for reading, measured, bound in (
        ("by inversion, probability of failing", _failing(found, inverted), delta),
        ("by Pinsker, probability of failing", _failing(found, pinsker), delta),
        ("moment inside it", moment, 2 * float(np.sqrt(n))),
    ):
        yield Case(
            STATEMENT,
            reading,
            setting,
            measured,
            bound,
            assumptions="every draw of S enumerated; losses in [0, 1]",
            command=f"--statement pac-bayes --delta {delta:g}",
        )


def _failing(found: Posteriors, bound: ArrayLike) -> float:
    """Probability of the draws in which the risk exceeds the bound."""
    return float(found.probability[found.risk > np.asarray(bound)].sum())


def fewest_errors() -> Array:
    """Probability of every number of errors, from 0 to ``COIN_N``, of the best of the coins."""
    from scipy.stats import binom

    at_least = binom.sf(np.arange(COIN_N + 1) - 1, COIN_N, 0.5) ** COINS
    fewest: Array = at_least - np.append(at_least[1:], 0.0)
    return fewest


def best_coin_case(delta: float) -> Case:
    """Of 2,000 predictors that toss, the best on S; a prior that is sure of it counts nothing.

    Args:
        delta: of the command; the case has its own.

    Returns:
        A case outside what the statement assumes: the prior was chosen with S.
    """
    errors = np.arange(COIN_N + 1)
    bound = pac_bayes_loss_bound(
        train_loss=errors / COIN_N, divergence=0.0, n=COIN_N, delta=COIN_DELTA
    )
    return Case(
        STATEMENT,
        "by inversion, probability of failing",
        f"best of {COINS} coins, n = {COIN_N}",
        float(fewest_errors()[np.asarray(bound) < 0.5].sum()),
        COIN_DELTA,
        failed="the prior was chosen with S",
        assumptions="every draw of S enumerated; losses in [0, 1]",
        command=f"--statement pac-bayes --delta {delta:g}",
    )

"""All bounds on the gap of exact minimisers, over draws of S, on one loss in units of its largest.

The loss is the data set's, divided by the largest value C that it has on the ball that holds every
minimiser.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lora_dropout.masks import ENSEMBLE_STEP, LayerShape, stack_masks
from probes.jobs.job import Progress
from probes.metrics.exceedances import against_bound
from probes.statements.descent_cases import draw_pairs, smoothness
from probes.statements.exact_minimisers import Problem, newton
from probes.statements.linear_losses import Array
from probes.statements.setting import Setting
from probes.statements.stability_cases import (
    ball_lipschitz,
    common_ceiling,
    common_radius,
    largest_loss,
)
from theory import sparsity_gap_bound
from theory.bousquet2002 import uniform_stability_gap_bound
from theory.bousquet2020 import moment_gap_bound
from theory.feldman2018 import feldman_vondrak_gap_bound
from theory.hardt2016 import strongly_convex_descent_stability_bound
from theory.hoeffding1963 import sample_mean_bound
from theory.lei2020 import smooth_gap_bound
from theory.masked_gaussian import masked_gaussian_divergence
from theory.maurer2004 import pac_bayes_loss_bound
from theory.readings import CORRECTED
from theory.second_moment import second_moment_gap_bound

#: Samples of the posterior that estimate a randomized predictor's losses.
POSTERIOR_SAMPLES = 32
#: Examples of S that are replaced, one at a time, in every draw.
REPLACED = 8
#: The bounds, with their references.
BOUNDS = {
    "Theorem 4.4": "arXiv 2404.09610",
    "Bousquet & Elisseeff, Theorem 12": "JMLR 2, 2002",
    "Feldman & Vondrák": "arXiv 1812.09859, 2018",
    "second moment, derived": "theory.second_moment",
    "Bousquet, Klochkov & Zhivotovskiy": "COLT 2020, Theorem 4",
    "Hardt et al., Theorem 3.9": "arXiv 1509.01240, Theorem 3.9",
    "Lei & Ying": "arXiv 2006.08157, Theorem 2",
    "PAC-Bayes kl, masked posterior": "arXiv cs/0411099",
    "test set": "Hoeffding, JASA 58, 1963",
}
PAC_BAYES, TEST_SET = "PAC-Bayes kl, masked posterior", "test set"
#: Bounds on the expected gap; the others hold with probability 1 - delta.
UNIFORM, ON_AVERAGE = "Hardt et al., Theorem 3.9", "Lei & Ying"
EXPECTED = (UNIFORM, ON_AVERAGE)
#: What a bound speaks of, where it is not the minimiser.
SPEAKS_OF = {PAC_BAYES: "randomized predictor", TEST_SET: "excess over the test set"}
MINIMISER = "minimiser"


@dataclass(frozen=True)
class Draws:
    """What the draws of S at one size gave, one entry a draw, in units of C.

    Attributes:
        train: loss of the minimiser on S.
        gap: of the minimiser.
        randomized_train, randomized_gap: of the predictor with masks and noise.
        divergence: of that predictor's law from the prior, nats.
        test: loss on a test set of n.
        excess: risk less that.
        square: mean squared distance that replacing an example moves the minimiser, units of theta.
        change: largest change of a loss of the population when an example is replaced, mean over
            these.
        norm: squared norm of the minimiser, units of theta.
    """

    train: Array
    gap: Array
    randomized_train: Array
    randomized_gap: Array
    divergence: Array
    test: Array
    excess: Array
    square: Array
    change: Array
    norm: Array


def measure_draws(setting: Setting, progress: Progress) -> Draws:
    """Draw S many times, minimise, and measure on the population.

    Args:
        setting: says the population, n, the penalty and the number of draws.
        progress: told 1 after every draw.

    Returns:
        One entry a draw.
    """
    population, ceiling = setting.population, common_ceiling(setting)
    rows = []
    for draw in range(setting.coverage_draws):
        pairs, generator = draw_pairs(setting, draw)
        problem = pairs.take(np.arange(setting.n))
        theta = newton(problem, np.full((1, setting.n), 1 / setting.n), setting.s)
        test = population.take(generator.integers(len(population), size=setting.n))
        train, risk, tested = (
            float(part.losses(theta[0]).mean()) / ceiling for part in (problem, population, test)
        )
        sampled_train, sampled_risk = _randomized(setting, problem, theta[0], ceiling, draw)
        rows.append(
            (
                train,
                risk - train,
                sampled_train,
                sampled_risk - sampled_train,
                masked_gaussian_divergence(theta[0], setting.p, deviation(setting)),
                tested,
                risk - tested,
                *_moves(setting, pairs, theta, ceiling),
                float(np.square(theta).sum()),
            )
        )
        progress(1)
    return Draws(*np.array(rows).T)


def deviation(setting: Setting) -> float:
    """The noise of the posterior, fixed without the data.

    The penalty's own scale, 1/sqrt(2s), shrunk by n^(1/4): the divergence then grows like the
    root of n, so that bound and noise both vanish.
    """
    return float(1 / np.sqrt(2 * setting.s * np.sqrt(setting.n)))


def _moves(setting: Setting, pairs: Problem, theta: Array, ceiling: float) -> tuple[float, float]:
    """Squared distance of the minimiser from those with an example replaced, and what that changes.

    The second is the largest change of a loss of the population, in units of C. Both are means over
    the replaced examples.
    """
    n = setting.n
    weights = np.tile(np.repeat([1 / n, 0.0], n), (min(REPLACED, n), 1))
    for i in range(len(weights)):
        weights[i, [i, n + i]] = 0.0, 1 / n
    replaced = newton(pairs, weights, setting.s, np.repeat(theta, len(weights), axis=0))
    losses = setting.population.losses(np.concatenate([theta, replaced])) / ceiling
    changed = np.abs(losses[1:] - losses[0]).max(1)
    return float(np.square(replaced - theta).sum((1, 2)).mean()), float(changed.mean())


def _randomized(
    setting: Setting, problem: Problem, theta: Array, ceiling: float, draw: int
) -> tuple[float, float]:
    """Loss on S and risk of the predictor with masks and noise, clipped at C, in its units."""
    k, d = theta.shape
    mask_in, mask_out = stack_masks(
        LayerShape(d, k, setting.p, setting.p), seed=setting.seed, steps=[ENSEMBLE_STEP],
        layer=draw, samples=range(POSTERIOR_SAMPLES),
    )  # fmt: skip
    masks = (mask_out[0, :, :, None] * mask_in[0, :, None]).double().numpy()
    generator = np.random.default_rng([setting.seed, draw, 2])
    sampled = masks * theta + deviation(setting) * generator.standard_normal(masks.shape)
    trained, risk = (
        float(np.minimum(part.losses(sampled) / ceiling, 1).mean())
        for part in (problem, setting.population)
    )
    return trained, risk


def drawn_records(setting: Setting, draws: Draws) -> Iterator[dict[str, Any]]:
    """State every bound at a size that was drawn.

    Args:
        setting: with this size.
        draws: what was measured.

    Yields:
        One record a bound, as of :func:`probes.comparison.measure_cell`. A bound that depends on
        the draw is shown at its mean.
    """
    known = bounds_of(setting, mean_of(draws))
    moved = float(np.sqrt(draws.square.mean()))
    ceiling = common_ceiling(setting)
    known[ON_AVERAGE] = (
        float(
            smooth_gap_bound(
                train_loss=draws.train.mean() * ceiling, stability=moved,
                smoothness=smoothness(setting.population, 0.0),
            )
        )
        / ceiling
    )  # fmt: skip
    for name in BOUNDS:
        train, gap, limit = _sides(name, setting, draws, known[name])
        stability = float(draws.change.mean()) if name == UNIFORM else float("nan")
        stated = record(setting.n, name, float(limit.mean()), float(train.mean()))
        yield (
            stated
            | {"stability": stability}
            | against_bound(gap, limit, None if name in EXPECTED else setting.delta)
        )


def record(n: int, name: str, bound: float, train_loss: float) -> dict[str, Any]:
    """The record of a bound at a size at which nothing was measured.

    Args:
        n: size of S.
        name: of the bound.
        bound: on the gap, in units of C.
        train_loss: that the bound is added to, in the same.

    Returns:
        The columns of a row of the comparison; what is measured is NaN.
    """
    return {
        "n": n,
        "name": name,
        "of": SPEAKS_OF.get(name, MINIMISER),
        "train_loss": train_loss,
        "bound": bound,
        # A train loss of 0.3 and a bound of 0.7 allow the largest loss everywhere.
        "vacuous": not train_loss + bound < 1,
        "measured": float("nan"),
        "coverage": float("nan"),
        "p_value": float("nan"),
        "stability": float("nan"),
        "draws": 0,
    }


def mean_of(draws: Draws) -> dict[str, float]:
    """What a size that was drawn says of larger ones: means over its draws."""
    return {
        "train": float(draws.train.mean()), "randomized": float(draws.randomized_train.mean()),
        "test": float(draws.test.mean()), "norm": float(draws.norm.mean()),
    }  # fmt: skip


def continued_records(setting: Setting, last: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """State the bounds that have a formula at a size that was not drawn.

    Args:
        setting: with this size.
        last: :func:`mean_of` the largest size that was drawn.

    Yields:
        One record a bound; none for that of Lei & Ying, whose stability is measured.
    """
    train = {PAC_BAYES: last["randomized"], TEST_SET: last["test"]}
    for name, bound in bounds_of(setting, last).items():
        yield record(setting.n, name, bound, train.get(name, last["train"]))


def _sides(name: str, setting: Setting, draws: Draws, bound: float) -> tuple[Array, Array, Array]:
    """Train loss and gap of every draw, and its bound."""
    known: dict[str, Any] = {"n": setting.n, "delta": setting.delta}
    if name == PAC_BAYES:
        trained = draws.randomized_train
        limit = pac_bayes_loss_bound(train_loss=trained, divergence=draws.divergence, **known)
        return trained, draws.randomized_gap, np.asarray(limit) - trained
    if name == TEST_SET:
        limit = sample_mean_bound(mean=draws.test, **known)
        return draws.test, draws.excess, np.asarray(limit) - draws.test
    return draws.train, draws.gap, np.full(len(draws.gap), bound)


def bounds_of(setting: Setting, last: Mapping[str, float]) -> dict[str, float]:
    """The bounds on the gap that have a formula, in units of C.

    Args:
        setting: the setting.
        last: of :func:`mean_of`.

    Returns:
        By name; those that depend on the draw are at the means of ``last``.
    """
    population, n, s = setting.population, setting.n, setting.s
    radius = common_radius(population, s)
    ceiling = largest_loss(population, radius)
    lipschitz, regularized = ball_lipschitz(population, s, radius)
    beta = CORRECTED.bound(lipschitz=lipschitz, lipschitz_regularized=regularized, mu=2 * s, n=n)
    known: dict[str, Any] = {"n": n, "delta": setting.delta}
    stable = known | {"loss_bound": 1.0, "gamma": 2 * float(beta) / ceiling}
    theorem = sparsity_gap_bound(
        loss_bound=ceiling, lipschitz=lipschitz, curvature=0.0, strength=setting.strength,
        p=setting.p, **known,
    )  # fmt: skip
    divergence = masked_gaussian_divergence(np.sqrt(last["norm"]), setting.p, deviation(setting))
    descent = strongly_convex_descent_stability_bound(lipschitz=regularized, curvature=2 * s, n=n)
    found = {
        "Theorem 4.4": theorem / ceiling,
        "Bousquet & Elisseeff, Theorem 12": uniform_stability_gap_bound(
            loss_bound=1.0, beta=float(beta) / ceiling, **known
        ),
        "Feldman & Vondrák": feldman_vondrak_gap_bound(**stable),
        "second moment, derived": second_moment_gap_bound(**stable),
        "Bousquet, Klochkov & Zhivotovskiy": moment_gap_bound(**stable),
        UNIFORM: descent / ceiling,
        PAC_BAYES: np.asarray(
            pac_bayes_loss_bound(train_loss=last["randomized"], divergence=divergence, **known)
        )
        - last["randomized"],
        TEST_SET: np.asarray(sample_mean_bound(mean=last["test"], **known)) - last["test"],
    }
    return {name: float(np.asarray(value)) for name, value in found.items()}

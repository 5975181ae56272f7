"""Bounds from the information of a selection, with all selections enumerated.

Five learners, two of which fit every example. Given a supersample of 8 pairs from 40 points, the
expected gap and the information are exact, and so are their means over all supersamples of 2 pairs
from a population of 5 points, where the expected gap is computed from the population alone.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

from probes.statements.case import Case
from probes.statements.linear_losses import Array
from probes.statements.supersamples import (
    FITTING,
    LEARNERS,
    Indices,
    Learner,
    LeaveOneOuts,
    Population,
    Supersamples,
    value_codes,
)
from theory import haghifam2022, rammal2022
from theory.harutyunyan2021 import prediction_information_gap_bound
from theory.hellstrom2022 import binary_kl_gap_bound
from theory.information import leave_one_out_information, plug_in_information
from theory.steinke2020 import evaluated_information_gap_bound, interpolating_evaluated_gap_bound
from theory.wang2023 import (
    fast_rate_gap_bound,
    interpolating_gap_bound,
    loss_difference_gap_bound,
)

#: Points of the population of which everything is enumerated, and pairs of a supersample from it.
FEW_POINTS, FEW_PAIRS = 5, 2
#: Points and pairs of the supersamples that are given, and how many of those are drawn.
MANY_POINTS, MANY_PAIRS, GIVEN = 40, 8, 4
#: The loss of all learners.
LOSS_BOUND = 1.0
#: Granted to sums of numbers of size 1.
SUMMED = 1e-12
LD, FITTED_LD = "ld-CMI (Wang 2023)", "fitted, ld-CMI (Wang 2023)"
GIVEN_SUPERSAMPLE, GIVEN_EXAMPLES = "given the supersample", "given the examples"
ALL_DRAWS = "mean over all draws of the examples"
#: A bound on the gap of every supersample.
Bound = Callable[[Supersamples], Array]


def _root(bound: Callable[..., float | Array], information: str) -> Bound:
    return lambda tried: np.asarray(
        bound(information=getattr(tried, information), loss_bound=LOSS_BOUND)
    )


def _with_train_loss(bound: Callable[..., float | Array], information: str) -> Bound:
    return lambda tried: np.asarray(
        bound(
            information=getattr(tried, information),
            train_loss=tried.train_loss,
            loss_bound=LOSS_BOUND,
        )
    )


#: Bounds on the size of the gap, and on the gap; those of learners that fit every example last.
TWO_SIDED: dict[str, Bound] = {
    "f-CMI (Harutyunyan 2021)": _root(prediction_information_gap_bound, "of_predictions"),
    "e-CMI (Steinke 2020)": _root(evaluated_information_gap_bound, "of_losses"),
    LD: _root(loss_difference_gap_bound, "of_differences"),
}
ONE_SIDED: dict[str, Bound] = {
    "binary kl (Hellström 2022)": _with_train_loss(binary_kl_gap_bound, "of_losses"),
    "binary kl, ld (derived here)": _with_train_loss(binary_kl_gap_bound, "of_differences"),
    "fast rate (Wang 2023)": _with_train_loss(fast_rate_gap_bound, "of_single_losses"),
}
FITTED: dict[str, Bound] = {
    FITTED_LD: _with_train_loss(interpolating_gap_bound, "of_differences"),
    "fitted, e-CMI (Steinke 2020)": _with_train_loss(
        interpolating_evaluated_gap_bound, "of_losses"
    ),
}


def information_cases(seed: int) -> Iterator[Case]:
    """Supersample and leave-one-out bounds of all learners, and where a premise is missing.

    Source: the modules of ``theory`` that the statements are named for.

    Args:
        seed: of the labels and the supersamples.

    Yields:
        Two or three cases a bound and learner, and the known failures.
    """
    generator = np.random.default_rng(seed)
    few = Population.random(FEW_POINTS, generator)
    many = Population.random(MANY_POINTS, generator)
    given = draws(many, GIVEN, 2 * MANY_PAIRS, generator).reshape(GIVEN, MANY_PAIRS, 2)
    examples = draws(many, GIVEN, MANY_PAIRS, generator)
    command = f"--statement information --seed {seed}"
    for name, learner in LEARNERS.items():
        yield from supersample_cases(name, learner, few, every_draw(few, FEW_PAIRS), command)
        yield from supersample_cases(name, learner, many, given, command)
        yield from leave_one_out_cases(name, learner, many, examples, command)
    yield from opposite_label_cases(command)


def draws(population: Population, sets: int, size: int, generator: np.random.Generator) -> Indices:
    """Draw sets of points, all different within a set: (sets, size).

    Args:
        population: whose points are drawn.
        sets: number of sets.
        size: of a set.
        generator: of the draws.

    Returns:
        Numbers of points, (sets, size).
    """
    points = len(population.features)
    return np.array([generator.permutation(points)[:size] for _ in range(sets)])


def every_draw(population: Population, pairs: int) -> Indices:
    """Every supersample of a population, (points^(2 pairs), pairs, 2).

    Args:
        population: whose points are paired.
        pairs: n, of a supersample.

    Returns:
        Numbers of points, (points^(2 pairs), pairs, 2).
    """
    points = range(len(population.features))
    return np.array(list(product(points, repeat=2 * pairs))).reshape(-1, pairs, 2)


def supersample_cases(
    name: str, learner: Learner, population: Population, pairs: Indices, command: str
) -> Iterator[Case]:
    """The bounds of one learner, given each of some supersamples, and on average over all draws.

    Args:
        name: the learner's.
        learner: what is trained.
        population: where the supersamples come from.
        pairs: the supersamples, points of the population, (supersamples, n, 2).
        command: flags that try this again.

    Yields:
        A case a bound, of the supersample where it is tightest; one more, if the supersamples are
        all that the population has, of the means; and one on the order of the bounds.
    """
    tried = Supersamples.of(learner, population, pairs)
    points, n = len(population.features), pairs.shape[1]
    complete = len(pairs) == points ** (2 * n)
    setting = f"enumerated, {name}, {n} pairs of {points} points"
    bounds = TWO_SIDED | ONE_SIDED | (FITTED if name in FITTING else {})
    for statement, bound_of in bounds.items():
        bound, gap = bound_of(tried), tried.gap
        gap = np.abs(gap) if statement in TWO_SIDED else np.maximum(gap, 0)
        yield _tightest(statement, setting, gap, bound, command, GIVEN_SUPERSAMPLE)
        if complete:
            expected = population.expected_gap(learner, n)
            expected = abs(expected) if statement in TWO_SIDED else expected
            yield _case(statement, ALL_DRAWS, setting, expected, float(bound.mean()), command)
    if complete:
        yield _case("gap of supersamples", "equals that of the population", setting,
                    float(tried.gap.mean()), population.expected_gap(learner, n), command,
                    equal=True)  # fmt: skip
    for less, more in (("of_differences", "of_losses"), ("of_losses", "of_predictions")):
        reading = f"{_words(less)} at most {_words(more)}"
        yield _tightest("data processing", setting, getattr(tried, less).ravel(),
                        getattr(tried, more).ravel(), command, reading)  # fmt: skip


def leave_one_out_cases(
    name: str, learner: Learner, population: Population, examples: Indices, command: str
) -> Iterator[Case]:
    """The leave-one-out bounds of one learner, given each of some sets of examples.

    Args:
        name: the learner's.
        learner: what is trained.
        population: where the examples come from.
        examples: points of the population, (sets, n + 1).
        command: flags that try this again.

    Yields:
        A case a bound, of the set where it is tightest.
    """
    tried = LeaveOneOuts.of(learner, population, examples)
    n = examples.shape[1] - 1
    known = {
        "information": [leave_one_out_information(one) for one in tried.losses],
        "loss_bound": LOSS_BOUND,
        "n": n,
    }
    setting = f"enumerated, {name}, {n} + 1 of {len(population.features)} points"
    gap = tried.left_out_loss - tried.train_loss
    bound = np.asarray(rammal2022.leave_one_out_gap_bound(**known))
    yield _tightest("leave-one-out CMI (Rammal 2022)", setting, np.abs(gap), bound, command,
                    GIVEN_EXAMPLES)  # fmt: skip
    if name in FITTING:
        bound = np.asarray(
            haghifam2022.leave_one_out_gap_bound(train_loss=tried.train_loss, **known)
        )
        yield _tightest("leave-one-out CMI (Haghifam 2022)", setting, gap, bound, command,
                        GIVEN_EXAMPLES)  # fmt: skip


def opposite_labels() -> Supersamples:
    """One supersample of pairs with labels 0 and 1, in this order, learned by majority vote.

    The difference of losses is always -1 or 1 and knows little of each selection: there the
    square-root bounds are tight.
    """
    labels = np.tile([0.0, 1.0], MANY_PAIRS)
    population = Population(np.arange(2.0 * MANY_PAIRS), labels)
    return Supersamples.of(
        LEARNERS["majority"], population, np.arange(2 * MANY_PAIRS).reshape(1, MANY_PAIRS, 2)
    )


def opposite_label_cases(command: str) -> Iterator[Case]:
    """The bounds where they are tight, and where a premise is missing: each needs all of its own.

    Args:
        command: flags that try this again.

    Yields:
        A case a bound, then a case a premise.
    """
    tried = opposite_labels()
    told = partial(
        _tightest, setting="enumerated, majority, 8 pairs of opposite labels", command=command
    )
    for statement, bound_of in (TWO_SIDED | ONE_SIDED).items():
        yield told(statement, gap=tried.gap, bound=bound_of(tried), reading=GIVEN_SUPERSAMPLE)
    bound = TWO_SIDED[LD](tried)
    yield told(LD, gap=5 * tried.gap, bound=bound, reading="losses 0 and 5, C = 1",
               failed="loss in [0, C]")  # fmt: skip
    yield told(LD, gap=tried.gaps.max(axis=0), bound=bound, reading="of the worst selection",
               failed="mean over selections")  # fmt: skip
    unfair = loss_difference_gap_bound(
        information=information_in_fixed_selections(tried), loss_bound=LOSS_BOUND
    )
    for reading, failed in (
        ("each U alone, ordinary information", "U a fair coin"),
        ("given masks that tell U", "masks independent of U"),
    ):
        yield told(LD, gap=tried.gap, bound=np.atleast_1d(unfair), reading=reading, failed=failed)
    as_if = interpolating_gap_bound(
        information=tried.of_differences, train_loss=0.0, loss_bound=LOSS_BOUND
    )
    yield told(FITTED_LD, gap=tried.gap, bound=np.atleast_1d(as_if), reading="where not fitted",
               failed="train loss 0 for every U")  # fmt: skip


def information_in_fixed_selections(tried: Supersamples) -> Array:
    """Ordinary information of U with the loss differences where U is always the same.

    So it is for each U alone, and given masks that are a function of U from which it can be told.
    It is the entropy of U, less that of U given the difference; both are 0.

    Args:
        tried: all selections of a supersample, each of which is taken alone.

    Returns:
        The mean of the information over the selections, in nats, (n,).
    """
    codes = value_codes(tried.differences[:, 0])
    return np.mean(
        [
            plug_in_information([u], [code]) - plug_in_information([u], [np.zeros_like(u)])
            for u, code in zip(tried.selections, codes, strict=True)
        ],
        axis=0,
    )


def _words(information: str) -> str:
    return "information " + information.replace("_", " ")


def _tightest(
    statement: str,
    setting: str,
    gap: Array,
    bound: Array,
    command: str,
    reading: str,
    failed: str = "",
) -> Case:
    """The case of the largest ratio of gap to bound, or of the largest gap over a bound of 0."""
    excess = np.divide(gap, bound, out=np.where(gap > SUMMED, np.inf, 0.0), where=bound > 0)
    worst = int(np.argmax(excess))
    return _case(
        statement, reading, setting, float(gap[worst]), float(bound[worst]), command, failed=failed
    )


def _case(
    statement: str,
    reading: str,
    setting: str,
    measured: float,
    bound: float,
    command: str,
    *,
    equal: bool = False,
    failed: str = "",
) -> Case:
    return Case(
        statement,
        reading,
        setting,
        measured,
        bound,
        equal=equal,
        tolerance=SUMMED,
        ceiling=float("inf") if equal else LOSS_BOUND,
        assumptions="every selection enumerated",
        failed=failed,
        command=command,
    )

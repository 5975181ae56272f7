"""What is claimed of a choice among equals, and what the draws that did not choose say of it.

Simulated losses are normal, so that every rate is known: counts are compared with the quantiles of
the binomial distribution at ``ERROR``, the probability that a test fails though the rate is right.
"""

import numpy as np
import pytest
from scipy.stats import binom, nct, norm, t

from probes.metrics.confidence_intervals import mean_interval
from probes.metrics.sample_splitting import split_choice

ERROR = 1e-6
RUNS = 4000
#: The probe's default grid: p = 0, then four rates with N = 1 and 4, with an ensemble and without.
PRICE = np.array([0.0, *[1.0, 1e6 + 1] * 4, *[4.0, 1e6 + 4] * 4])
FAR = 100.0
#: Student's 95 % intervals miss on either side at this rate.
CLAIMED = 0.025


def simulate(draws, means, chance=FAR, seed=0, runs=RUNS):
    """Yield losses (draws, candidates) and those of chance: half of the variance is common."""
    generator = np.random.default_rng(seed)
    for _ in range(runs):
        common = generator.standard_normal((draws, 1))
        own = generator.standard_normal((draws, len(means)))
        losses = means + np.sqrt(0.5) * (common + own)
        yield losses, chance + np.sqrt(0.5) * common[:, 0]


def within(count, rate, runs=RUNS):
    """Whether a count agrees with a rate."""
    least, most = binom.ppf([ERROR / 2, 1 - ERROR / 2], runs, rate)
    return least <= count <= most


def naive_gain(losses):
    """Whether a gain is claimed when the same draws choose and tell."""
    best = losses.mean(axis=0).argmin()
    return mean_interval(losses[:, 0] - losses[:, best])[1] > 0


def left_out_gain(losses):
    """Whether a gain is claimed when all draws but one choose, and that one tells, in turn."""
    total = losses.sum(axis=0)
    best = [(total - one).argmin() for one in losses]
    return mean_interval(losses[:, 0] - losses[np.arange(len(losses)), best])[1] > 0


@pytest.mark.parametrize("draws", [3, 6, 12, 24])
def test_among_equals_a_gain_is_claimed_in_a_fortieth_of_runs_and_else_the_simplest_is_chosen(
    draws,
):
    gains = 0
    for losses, chance in simulate(draws, np.ones(len(PRICE))):
        choice = split_choice(losses, PRICE, chance)
        gains += choice.gains
        assert choice.recommended == (choice.rival if choice.gains else 0)
    assert within(gains, CLAIMED)


@pytest.mark.parametrize("naive", [naive_gain, left_out_gain])
def test_other_ways_to_choose_claim_more_gains_among_equals(naive):
    claimed = sum(naive(losses) for losses, _ in simulate(12, np.ones(len(PRICE)), runs=1000))
    assert claimed > binom.ppf(1 - ERROR, 1000, CLAIMED)


@pytest.mark.parametrize("draws", [2, 6, 12])
def test_of_what_is_no_better_than_chance_a_fortieth_is_called_learned(draws):
    learned = 0
    for losses, chance in simulate(draws, np.ones(len(PRICE)), chance=1.0):
        choice = split_choice(losses, PRICE, chance)
        learned += choice.learned
        assert (choice.recommended is None) == (not choice.learned)
    assert within(learned, CLAIMED)


@pytest.mark.parametrize("draws", [6, 12, 24])
def test_a_true_gain_is_claimed_as_often_as_students_test_finds_it(draws):
    """All but one of the others are far worse, so that the rival is known."""
    means = np.full(len(PRICE), FAR / 2)
    means[:2] = 1.0, 0.2
    claimed = sum(split_choice(*_with_price(one)).gains for one in simulate(draws, means))
    tell = draws - draws // 3
    power = nct.sf(t.ppf(0.975, tell - 1), tell - 1, (1.0 - 0.2) * np.sqrt(tell))
    assert within(claimed, power)


def _with_price(simulated):
    losses, chance = simulated
    return losses, PRICE, chance


def test_the_rivals_loss_is_told_without_bias_and_the_least_mean_is_too_low():
    draws, told, least = 12, [], []
    for losses, chance in simulate(draws, np.ones(len(PRICE))):
        choice = split_choice(losses, PRICE, chance)
        told.append(losses[choice.telling, choice.rival].mean())
        least.append(losses.mean(axis=0).min())
    # Every loss has variance 1; 8 of the 12 draws tell.
    allowed = norm.isf(ERROR / 2) / np.sqrt(8 * RUNS)
    assert abs(np.mean(told) - 1) <= allowed
    assert np.mean(least) < 1 - allowed


LOSSES = np.array([[1.0, 0.5, 0.3], [1.2, 0.6, 0.5], [1.1, 0.5, 0.3], [1.1, 0.6, 0.4]])
CHANCE = np.full(4, 2.0)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("draw", range(4))
def test_what_diverged_once_is_not_chosen_and_changes_nothing_else(broken, draw):
    losses = LOSSES.copy()
    losses[draw, 2] = broken
    choice = split_choice(losses, [0, 1, 2], CHANCE)
    assert choice.diverged.tolist() == [0, 0, 1]
    without = split_choice(LOSSES[:, :2], [0, 1], CHANCE)
    assert choice.recommended == without.recommended == 1
    assert (choice.gain, choice.margin) == (without.gain, without.margin)


def test_where_the_simplest_diverged_the_next_is_compared():
    losses = LOSSES.copy()
    losses[0, 0] = np.nan
    choice = split_choice(losses, [0, 1, 2], CHANCE)
    assert (choice.simplest, choice.rival) == (1, 2)
    assert choice.gain[0] == pytest.approx((0.2 + 0.1 + 0.2) / 3)


def test_where_all_diverged_nothing_was_learned():
    choice = split_choice(np.full((4, 3), np.nan), [0, 1, 2], CHANCE)
    assert (choice.learned, choice.gains, choice.recommended) == (False, False, None)
    assert (choice.simplest, choice.rival, choice.learner) == (None, None, None)
    assert np.isnan([choice.gain, choice.margin]).all()
    assert choice.diverged.tolist() == [4, 4, 4]
    assert choice.telling.tolist() == [True, True, False, True]


@pytest.mark.parametrize("draws", [1, 2])
def test_fewer_than_three_draws_choose_nothing(draws):
    choice = split_choice(LOSSES[:draws], [0, 1, 2], [FAR] * draws)
    assert choice.telling.all()
    assert (choice.rival, choice.recommended) == (None, 0)
    assert choice.learned is (None if draws == 1 else True)


def test_every_third_draw_chooses():
    assert np.flatnonzero(~split_choice(np.ones((9, 2)), [0, 1], np.ones(9)).telling).tolist() == [
        2, 5, 8
    ]  # fmt: skip


def test_the_rival_is_the_cheapest_within_one_standard_error_of_the_best():
    """The third is 0.1 better on average: paired standard errors are 0.11 and 0.09."""
    near = np.array([[9, 1.21, 1.0], [9, 0.99, 1.0]])
    apart = np.array([[9, 1.19, 1.0], [9, 1.01, 1.0]])
    for chosen, rival in ((near, 1), (apart, 2)):
        losses = np.full((6, 3), 9.0)
        losses[[2, 5]] = chosen
        assert split_choice(losses, [0, 1, 2], np.full(6, 10.0)).rival == rival


def test_of_a_single_draw_that_chooses_the_least_loss_is_the_rival_whatever_it_costs():
    losses = np.array([[9, 9, 9], [9, 9, 9], [9, 1.1, 1.0]])
    assert split_choice(losses, [0, 1, 2], np.full(3, 10.0)).rival == 2


def test_dependent_draws_have_the_wider_interval():
    losses = LOSSES - [[0.0, 0.0, 0.1], *[[0.0, 0.0, 0.0]] * 3]
    alone = split_choice(losses, [0, 1, 2], CHANCE)
    shared = split_choice(losses, [0, 1, 2], CHANCE, overlap=0.5)
    assert shared.gain[0] == alone.gain[0]
    assert shared.gain[1] < alone.gain[1]
    assert shared.margin[1] < alone.margin[1]


@pytest.mark.parametrize(("telling", "claimed"), [(2, False), (5, False), (6, True)])
def test_equal_differences_in_a_few_draws_claim_nothing(telling, claimed):
    """The sign test: six equal signs have a probability of 1 in 32."""
    losses = np.tile([1.0, 0.75], (telling + 1, 1))
    tells = np.arange(telling + 1) > 0
    choice = split_choice(losses, [0, 1], np.full(telling + 1, 1.5), telling=tells)
    assert (choice.gain[0], choice.margin[0]) == (0.25, 0.75)
    assert (choice.gains, choice.learned) == (claimed, claimed)
    assert choice.recommended == (1 if claimed else None)


def test_what_rounding_does_is_no_gain_and_nothing_that_was_learned():
    losses = np.tile([0.7, 0.7 - 2e-16], (12, 1))
    choice = split_choice(losses, [0, 1], np.full(12, 0.7 + 2e-16))
    assert (choice.gain, choice.margin) == ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert choice.recommended is None

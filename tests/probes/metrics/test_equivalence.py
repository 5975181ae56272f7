"""Tests of equivalence: how often they err, and that they are Schuirmann's."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from probes.metrics.confidence_intervals import mean_interval
from probes.metrics.equivalence import equivalence_p_value, relative_equivalence_p_value

LEVEL = 0.05
#: Chance that a simulation's test fails although the error rate is what it should be.
ERROR_RATE = 1e-6
RUNS = 1000

values = st.lists(st.floats(-3, 3), min_size=2, max_size=9)


def rejections(once, runs=RUNS, seed=0):
    """How many of the runs are rejected at 5 %."""
    generator = np.random.default_rng(seed)
    return sum(once(generator) <= LEVEL for _ in range(runs))


def assert_at_most_the_level(count, runs=RUNS):
    assert count <= stats.binom.isf(ERROR_RATE, runs, LEVEL)


@given(values, st.floats(0.1, 3), st.floats(0, 0.5))
def test_it_is_shown_where_the_90_percent_interval_lies_within_the_margin(draws, margin, overlap):
    assume(np.ptp(draws) > 1e-6)  # of equal values the signs decide, and no interval
    p_value = equivalence_p_value(draws, margin, overlap=overlap)
    _, low, high = mean_interval(draws, 0.9, overlap=overlap)
    if abs(p_value - LEVEL) > 1e-6:
        assert (p_value <= LEVEL) == (-margin < low and high < margin)


@given(values, st.floats(0.1, 3))
def test_sign_and_scale_do_not_matter(draws, margin):
    found = equivalence_p_value(draws, margin)
    assert equivalence_p_value([-d for d in draws], margin) == pytest.approx(found, abs=1e-9)
    assert equivalence_p_value([8 * d for d in draws], 8 * margin) == pytest.approx(found, abs=1e-9)


def test_a_difference_as_large_as_the_margin_is_called_equivalent_at_the_level():
    """With little noise the level is met: at the margin one of the two tests decides alone."""

    def once(generator):
        return equivalence_p_value(generator.normal(1.0, 0.2, 6), 1.0)

    count = rejections(once)
    assert_at_most_the_level(count)
    assert count >= stats.binom.ppf(ERROR_RATE, RUNS, LEVEL)


@pytest.mark.parametrize(
    ("effect", "correlation"), [(-2.0, 0.8), (0.0, 0.0), (0.1, -0.8), (2.0, 0)]
)
def test_at_the_share_of_an_uncertain_effect_the_level_is_kept(effect, correlation):
    """The margin itself is measured, and its sign, too."""
    share, noise = 0.25, np.array([[0.04, 0.2 * correlation], [0.2 * correlation, 1.0]])

    def once(generator):
        d, e = generator.multivariate_normal([share * abs(effect), effect], noise, 8).T
        return relative_equivalence_p_value(d, e, share)

    assert_at_most_the_level(rejections(once, runs=500), runs=500)


def test_small_differences_of_a_large_effect_are_found_equivalent():
    """And no doubling or pairing costs so much that nothing would ever be shown."""

    def once(generator):
        return relative_equivalence_p_value(
            generator.normal(0, 0.1, 8), generator.normal(-1, 0.2, 8), 0.25
        )

    # Each contrast has mean 0.25 and deviation 0.11: a noncentral t of 6.3, against 2.36.
    contrast = np.hypot(0.1, 0.25 * 0.2)
    power = stats.nct.sf(stats.t.isf(LEVEL / 2, 7), 7, 0.25 * np.sqrt(8) / contrast)
    assert rejections(once, runs=300) >= stats.binom.ppf(ERROR_RATE, 300, 1 - 2 * (1 - power))


def test_draws_that_diverged_are_left_out_with_their_effect():
    d, e = [0.0, 0.1, -0.1, np.nan, 9.0], [-2.0, -2.1, -1.9, -2.0, np.inf]
    assert relative_equivalence_p_value(d, e, 0.25) == relative_equivalence_p_value(
        d[:3], e[:3], 0.25
    )
    assert np.isnan(relative_equivalence_p_value(d[:1], e[:1], 0.25))
    assert np.isnan(equivalence_p_value([1.0, np.nan], 2.0))


def test_where_nothing_varies_signs_decide():
    """Two draws say little; of eight alike one of the two one-sided tests is certain enough."""
    assert equivalence_p_value([0.0, 0.0], 1.0) == 0.25
    assert equivalence_p_value([0.0] * 8, 1.0) == 2**-8
    assert equivalence_p_value([1.0, 1.0], 1.0) == 1
    assert equivalence_p_value([2.0] * 8, 1.0) == 1 - 2**-8
    assert relative_equivalence_p_value([0.0, 0.0], [0.0, 0.0], 0.25) == 1


def test_a_margin_that_diverged_is_left_out_without_a_warning():
    """Reference and method both diverged, or the reference alone."""
    d, m = [0.01, -0.02, 0.0, -np.inf, np.nan], [0.1, 0.1, 0.11, np.inf, np.inf]
    assert equivalence_p_value(d, m) == equivalence_p_value(d[:3], m[:3])


def test_the_share_of_an_effect_is_tested_for_both_signs_and_for_draws_that_share_examples():
    differences, effects = [0.0, 0.1, -0.1, 0.2], [2.0, 2.1, 1.9, 1.5]
    one_sign = equivalence_p_value(differences, 0.25 * np.array(effects), overlap=0.4)
    found = relative_equivalence_p_value(differences, effects, 0.25, overlap=0.4)
    assert found == 2 * one_sign
    assert found > relative_equivalence_p_value(differences, effects, 0.25)

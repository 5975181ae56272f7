"""What tells that a bound is exceeded by more than chance explains."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from probes.metrics.exceedances import against_bound

GAPS = np.random.default_rng(0).normal(0.25, 0.0625, 12)


@pytest.mark.parametrize("bound", [0.125, 0.25, 0.28, 0.5])
def test_a_bound_on_the_mean_is_tested_by_students_one_sided_test(bound):
    said = against_bound(GAPS, bound, None)
    expected = ttest_1samp(GAPS, bound, alternative="greater").pvalue
    assert said["p_value"] == pytest.approx(expected)
    assert said["measured"] == pytest.approx(GAPS.mean())
    assert np.isnan(said["coverage"])


def test_a_mean_that_lies_just_above_its_bound_does_not_refute_it():
    """It was called exceeded wherever the mean over a few draws lay above."""
    assert against_bound([0.2, 0.3], 0.24, None)["p_value"] > 0.4


@pytest.mark.parametrize(("delta", "below"), [(0.05, 11), (0.25, 9)])
@pytest.mark.parametrize("bound", [0.125, GAPS[0], 0.5])
def test_a_bound_that_may_fail_is_tested_by_the_number_of_draws(bound, delta, below):
    """A gap that is the bound does not exceed it."""
    said = against_bound(GAPS, np.full(12, bound), delta)
    above = sum(gap > bound for gap in GAPS)
    assert said["coverage"] == pytest.approx(1 - above / 12)
    assert said["p_value"] == pytest.approx(
        binomtest(above, 12, delta, alternative="greater").pvalue
    )
    assert said["measured"] == np.sort(GAPS)[below]


def test_draws_that_share_examples_are_allowed_for_or_not_tested():
    assert np.isnan(against_bound(GAPS, 0.2, 0.05, overlap=0.25)["p_value"])
    alone = against_bound(GAPS, 0.2, None)["p_value"]
    assert alone < against_bound(GAPS, 0.2, None, overlap=0.25)["p_value"] < 0.5


def test_a_bound_that_is_no_number_did_not_hold():
    said = against_bound(GAPS, np.nan, 0.05)
    assert said["coverage"] == 0
    assert said["p_value"] < 1e-9


@pytest.mark.parametrize("bounds", [[0.25, 0.25], np.nan])
def test_what_cannot_be_tested_refutes_nothing(bounds):
    assert np.isnan(against_bound([0.25, 0.25], bounds, None)["p_value"])

"""Means over draws: their order, what is not there, and how often their intervals cover."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from probes.metrics.confidence_intervals import (
    DEPENDENT,
    mean_interval,
    mean_p_value,
    means,
    overlap_of,
    told_interval,
)


def table(*losses, **more):
    return pd.DataFrame({"p": 0.5, "test_loss": losses} | more)


def test_means_leave_out_what_is_not_there_and_keep_the_order():
    rows = pd.concat([table(1.0, 2.0), table(3.0, 5.0).assign(p=0.1)])
    found = means(rows, ["p"], ["test_loss", "nothing"])
    assert found["p"].tolist() == [0.5, 0.1]
    assert found["test_loss"].tolist() == [1.5, 4.0]
    ends = ["test_loss_low", "test_loss_high", "test_loss_draws"]
    assert list(found) == ["p", "draws", "test_loss", *ends]


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_a_draw_that_diverged_is_left_out_and_counted(lost):
    (found,) = means(table(1.0, lost, 3.0), ["p"], ["test_loss"]).to_dict("records")
    assert (found["draws"], found["test_loss_draws"], found["test_loss"]) == (3, 2, 2.0)


def test_where_all_diverged_nothing_is_said():
    (found,) = means(table(np.nan, np.nan), ["p"], ["test_loss"]).to_dict("records")
    assert found["test_loss_draws"] == 0
    assert np.isnan(found["test_loss"])


def test_of_nothing_there_is_no_mean_and_a_key_that_is_not_known_is_a_key():
    assert not len(means(table(1.0).iloc[:0], ["p"], ["test_loss"], ["test_loss"]))
    found = means(table(1.0, 2.0).assign(p=[np.nan, 0.5]), ["p"], ["test_loss"])
    assert found["test_loss"].tolist() == [1.0, 2.0]


def test_the_p_value_is_that_of_students_test():
    values = np.random.default_rng(0).standard_normal(7) + 0.5
    assert mean_p_value(values) == pytest.approx(ttest_1samp(values, 0).pvalue)
    assert mean_p_value([*values, np.nan]) == mean_p_value(values)


def test_equal_values_are_as_certain_as_their_signs():
    assert mean_p_value([0.1, 0.1]) == 0.5
    assert mean_p_value([-0.3, -0.3, -0.3 * (1 + 2**-52)]) == 0.25
    assert mean_p_value([0.1] * 6) < 0.05 < mean_p_value([0.1] * 5)
    assert np.isnan(mean_p_value([0.0, 0.0]))
    assert mean_p_value([-1.0, 1.0]) == 1


@pytest.mark.parametrize("gain", [1e-3, 1e-6, 1e-8])
def test_values_that_differ_by_rounding_are_equal(gain):
    losses = np.random.default_rng(0).uniform(0.3, 3, 3)
    gained = (losses + gain) - losses
    assert 0 < np.ptp(gained) < 1e-15
    assert mean_p_value(gained) == 0.25
    assert told_interval(gained)[1:] == (-np.inf, np.inf)
    assert mean_p_value(gain * (1 + 1e-6 * losses)) < 1e-6


def test_the_interval_holds_0_where_the_p_value_is_above_5_per_cent():
    for seed in range(50):
        values = np.random.default_rng(seed).standard_normal(5) + 1
        _, low, high = mean_interval(values, overlap=0.3)
        assert (low <= 0 <= high) == (mean_p_value(values, overlap=0.3) >= 0.05)


def test_what_is_compared_with_itself_is_no_test_and_does_not_count():
    rows = pd.concat([table(0.0, 0.0), table(1.0, 1.1, 0.9).assign(p=0.1)])
    found = means(rows, ["p"], [], ["test_loss"]).set_index("p")["test_loss_holm"]
    assert np.isnan(found[0.5])
    assert found[0.1] == pytest.approx(mean_p_value([1.0, 1.1, 0.9]))


def test_differences_are_corrected_over_the_whole_table():
    rows = pd.concat([table(1.0, 1.1, 0.9), table(0.4, 1.6, 1.0).assign(p=0.1)])
    found = means(rows, ["p"], [], ["test_loss"])["test_loss_holm"].tolist()
    assert found[0] == pytest.approx(2 * mean_p_value([1.0, 1.1, 0.9]))
    assert found[1] == pytest.approx(mean_p_value([0.4, 1.6, 1.0]))


def test_interval_covers_as_often_as_it_says():
    """Normal draws, for which Student's interval is exact: within 4 binomial standard errors."""
    generator = np.random.default_rng(0)
    trials, inside = 2000, 0
    for _ in range(trials):
        _, low, high = mean_interval(generator.normal(3.0, 2.0, size=5))
        inside += low <= 3.0 <= high
    assert abs(inside - 0.95 * trials) < 4 * (trials * 0.95 * 0.05) ** 0.5


# Draws of S that share examples


def coverage(n, pool, overlap, draws=8, trials=2000):
    """How often the interval covers, where what is measured of S is the mean of its examples."""
    generator, inside = np.random.default_rng(0), 0
    for _ in range(trials):
        data = generator.standard_normal(pool)
        values = [data[generator.permutation(pool)[:n]].mean() for _ in range(draws)]
        _, low, high = mean_interval(values, overlap=overlap)
        inside += low <= 0 <= high
    return inside / trials


@pytest.mark.parametrize(("n", "pool"), [(10, 40), (20, 40), (32, 40)])
def test_the_interval_of_dependent_draws_covers_the_expectation_over_data_sets(n, pool):
    """Within 4 binomial standard errors; the draws are correlated by n/N exactly."""
    error = 4 * (0.95 * 0.05 / 2000) ** 0.5
    assert coverage(n, pool, overlap=n / pool) == pytest.approx(0.95, abs=error)
    assert coverage(n, pool, overlap=0.0) < 0.95 - error


def test_draws_count_as_dependent_from_a_fifth_of_the_data_on():
    assert overlap_of(table(1.0, n=10, pool=51)) == 0
    assert overlap_of(table(1.0, n=10, pool=50)) == DEPENDENT
    assert overlap_of(table(1.0, n=10)) == 0
    assert overlap_of(table(1.0, 1.0, n=[40, 20], pool=50)) == 0.8


def test_means_know_that_draws_share_examples():
    rows = table(1.0, 2.0, 4.0, n=20, pool=40)
    (found,) = means(rows, ["p"], ["test_loss"]).to_dict("records")
    expected = mean_interval([1.0, 2.0, 4.0], overlap=0.5)
    assert [found[f"test_loss{end}"] for end in ("", "_low", "_high")] == list(expected)


def test_an_interval_from_which_something_is_told_has_no_ends_for_a_few_equal_values():
    assert told_interval([0.5] * 5) == (0.5, -np.inf, np.inf)
    assert told_interval([0.5] * 6) == (0.5, 0.5, 0.5)
    assert told_interval([-0.5] * 5) == (-0.5, -np.inf, np.inf)
    assert told_interval([0.0, 0.0]) == (0.0, 0.0, 0.0)
    for values in ([1.0, 2.0, 4.0], [-0.1, 0.1, 0.3], [-0.3, -0.1, 0.1]):
        assert told_interval(values) == mean_interval(values)


def test_losses_whose_squares_overflow_tell_nothing_and_warn_of_nothing():
    losses = [1e200, -1e200, 3e200]
    assert mean_interval(losses)[1:] == (-np.inf, np.inf)
    assert mean_p_value(losses) == 1

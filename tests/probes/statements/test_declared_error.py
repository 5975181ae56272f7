"""Tests of statements about the draw of S: their p-values, and their error rate over a run."""

import numpy as np
import pytest
from scipy.stats import binom

from probes.metrics.exceedances import exceedance_p_value
from probes.statements.case import Case
from probes.statements.declared_error import RUN_ERROR, level, mean_p_value
from probes.statements.risk_cases import TESTS, bound_cases
from probes.statements.setting import Grid


def test_one_of_twenty_at_five_percent_is_no_violation():
    """It happens in 64 % of all runs."""
    assert exceedance_p_value(1, 20, 0.05) == pytest.approx(1 - 0.95**20)
    case = Case("", "", "", 1.0, 0.5, p_value=exceedance_p_value(1, 20, 0.05), level=level(60))
    assert case.verdict == "holds"


@pytest.mark.parametrize("draws", [2, 20, 1000])
@pytest.mark.parametrize("tests", [1, 240])
def test_a_bound_that_fails_exactly_delta_of_the_time_fails_a_run_as_rarely_as_declared(
    draws, tests
):
    exceeded = np.arange(draws + 1)
    rejected = [exceedance_p_value(int(k), draws, 0.05) < level(tests) for k in exceeded]
    assert tests * binom.pmf(exceeded, draws, 0.05)[rejected].sum() <= RUN_ERROR
    assert exceedance_p_value(draws, draws, 0.05) == pytest.approx(0.05**draws)


def test_a_bound_that_fails_half_of_the_time_is_found():
    assert exceedance_p_value(10, 20, 0.05) < level(240)


def test_the_mean_of_bounded_values_is_tested_as_rarely_wrong_as_declared():
    """Of two values 0 and 1 the mean is that of a coin, whose tail is known."""
    draws, bound = 50, 0.1
    ones = np.arange(draws + 1)
    p_values = np.array(
        [mean_p_value(np.repeat([1.0, 0.0], [k, draws - k]), 1.0, bound) for k in ones]
    )
    assert (p_values >= binom.sf(ones - 1, draws, bound) - 1e-12).all()
    assert p_values[-1] == pytest.approx(bound**draws)
    assert p_values[: int(draws * bound) + 1].tolist() == [1.0] * 6


def test_nothing_but_zero_is_compatible_with_a_mean_of_zero():
    assert mean_p_value(np.array([0.0, 0.1]), 1.0, 0.0) == 0
    assert mean_p_value(np.zeros(2), 1.0, 0.0) == 1


def test_units_of_the_values_do_not_matter():
    values = np.array([0.2, 0.9, 0.7])
    assert mean_p_value(10 * values, 10.0, 2.0) == pytest.approx(mean_p_value(values, 1.0, 0.2))


def test_every_setting_is_tested_at_its_share_of_the_level():
    grid = Grid(("ridge",), (12, 20), (0.3, 0.5), (0.1,), 1, 3, 0.05, 0)
    cases = [case for setting in grid.settings() for case in bound_cases(setting)]
    assert len(cases) == 4 * TESTS
    assert sum(case.level for case in cases) == pytest.approx(RUN_ERROR)
    assert all(0 < case.p_value <= 1 for case in cases)

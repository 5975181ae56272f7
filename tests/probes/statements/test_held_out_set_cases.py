"""The test set bound: how often it fails, to the last digit, and a planted flaw."""

import numpy as np
import pytest
from scipy.stats import binom

from probes.statements import held_out_set_cases as cases
from probes.statements.case import HOLDS, NEEDED, VACUOUS, case_table
from theory.langford2005 import binomial_tail_bound

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.5])
def test_the_bound_fails_as_rarely_as_it_says(delta):
    table = case_table(cases.held_out_set_cases(delta))
    applies = table[table["failed"] == ""]
    assert len(applies) == len(cases.SIZES) * len(cases.ERROR_RATES)
    assert set(applies["verdict"]) <= {HOLDS, VACUOUS}
    # It is exact but for the whole numbers: large test sets come near.
    assert applies["measured"].max() > 0.8 * delta


def test_a_network_that_the_test_set_chose_is_not_bounded():
    assert cases.chosen_network_case().verdict == NEEDED


def test_a_bound_of_one_error_less_is_refuted():
    """A planted flaw."""
    size, rate, delta = 200, 0.1, 0.05
    errors = np.arange(size + 1)
    flawed = np.asarray(binomial_tail_bound(np.maximum(errors - 1, 0), size, delta))
    assert binom.pmf(errors, size, rate)[flawed < rate].sum() > delta

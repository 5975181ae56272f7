"""Holm's correction: what it controls, and what it leaves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from probes.metrics.multiple_comparisons import holm

P_VALUES = arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1))


def step_down(p_values, alpha):
    """Holm's procedure as he states it: reject one by one, from the smallest on."""
    rejected = np.zeros(len(p_values), bool)
    for done, one in enumerate(np.argsort(p_values)):
        if p_values[one] > alpha / (len(p_values) - done):
            break
        rejected[one] = True
    return rejected


@given(P_VALUES, st.floats(0.001, 0.5))
def test_it_rejects_what_the_step_down_procedure_rejects(p_values, alpha):
    near = np.isclose(np.sort(p_values) * np.arange(len(p_values), 0, -1), alpha).any()
    if not near:
        assert ((holm(p_values) <= alpha) == step_down(p_values, alpha)).all()


@given(P_VALUES)
def test_it_is_never_kinder_than_no_correction_nor_harder_than_bonferroni(p_values):
    adjusted = holm(p_values)
    assert (p_values <= adjusted).all()
    assert (adjusted <= np.minimum(1, len(p_values) * p_values) + 1e-15).all()


def test_what_was_not_tested_does_not_count():
    assert np.array_equal(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04], equal_nan=True)


def test_of_true_hypotheses_any_is_rejected_in_one_of_twenty_families():
    """Ten each; 4 binomial standard errors above 5 %."""
    families = np.random.default_rng(0).random((4000, 10))
    wrong = sum((holm(family) <= 0.05).any() for family in families)
    assert wrong <= 0.05 * 4000 + 4 * (0.05 * 0.95 * 4000) ** 0.5

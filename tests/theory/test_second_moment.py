"""The second moment of the gap: values, laws, and its relation to the published forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import sparsity_gap_bound
from theory.bousquet2002 import uniform_stability_gap_bound
from theory.bousquet2020 import moment_gap_bound
from theory.feldman2018 import feldman_vondrak_gap_bound
from theory.second_moment import second_moment_gap_bound

AT = {"loss_bound": 1.0, "n": 10_000, "delta": 0.05}

stabilities = st.floats(0, 1)

sizes = st.integers(8, 10**7)

deltas = st.floats(1e-6, 0.13)

REPLACING = (second_moment_gap_bound, feldman_vondrak_gap_bound, moment_gap_bound)


def test_values_at_the_usual_point_are_those_worked_out_by_hand():
    """s = 0.05, n = 10,000, C = eta = 1: beta = 2/(0.1 n) = 0.002, gamma = 0.004."""
    theorem = sparsity_gap_bound(lipschitz=1.0, curvature=0.0, strength=0.05, p=1.0, **AT)
    assert theorem == pytest.approx(0.49, abs=5e-3)
    assert uniform_stability_gap_bound(beta=0.002, **AT) == pytest.approx(1.00, abs=5e-3)
    assert feldman_vondrak_gap_bound(gamma=0.004, **AT) == pytest.approx(0.0955, abs=5e-5)
    # (2 * 0.004 + sqrt(0.004^2 + 1/40,000)) / sqrt(0.05)
    assert second_moment_gap_bound(gamma=0.004, **AT) == pytest.approx(0.06441, abs=5e-6)
    # 0.008 + e (24 sqrt(2) * 0.004 * 14 * 2.9957 + 4 * 0.017308)
    assert moment_gap_bound(gamma=0.004, **AT) == pytest.approx(15.674, abs=5e-3)


@given(stabilities, sizes, deltas, st.floats(0.01, 10))
def test_the_derived_second_moment_implies_the_published_one(gamma, n, delta, ceiling):
    known = {"loss_bound": ceiling, "gamma": gamma, "n": n, "delta": delta}
    assert second_moment_gap_bound(**known) <= feldman_vondrak_gap_bound(**known) * (1 + 1e-12)


@pytest.mark.parametrize("bound", REPLACING, ids=lambda bound: bound.__name__)
@given(stabilities, stabilities, sizes, sizes, deltas, deltas)
def test_bounds_rise_with_instability_and_fall_with_delta(bound, a, b, n, m, delta, other):
    fixed = {"loss_bound": 1.0, "n": n, "delta": delta}
    low, high = sorted((a, b))
    assert bound(gamma=low, **fixed) <= bound(gamma=high, **fixed)
    rare, often = sorted((delta, other))
    assert bound(gamma=a, loss_bound=1.0, n=n, delta=often) <= bound(
        gamma=a, loss_bound=1.0, n=n, delta=rare
    )
    few, many = sorted((n, m))
    if bound is not moment_gap_bound:  # its logarithm of n is a staircase that rises
        assert bound(gamma=a, loss_bound=1.0, n=many, delta=delta) <= bound(
            gamma=a, loss_bound=1.0, n=few, delta=delta
        )


@pytest.mark.parametrize("bound", REPLACING, ids=lambda bound: bound.__name__)
@given(stabilities, sizes, st.floats(0.1, 100))
def test_bounds_scale_with_the_unit_of_the_loss(bound, gamma, n, unit):
    scaled = bound(loss_bound=unit, gamma=unit * gamma, n=n, delta=0.05)
    assert scaled == pytest.approx(unit * bound(loss_bound=1.0, gamma=gamma, n=n, delta=0.05))

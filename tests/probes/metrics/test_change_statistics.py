"""Statistics of heavy-tailed changes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.metrics.change_statistics import STATISTICS, change_statistics

changes = st.lists(st.floats(-100, 100), min_size=1, max_size=40)


@given(changes, st.floats(0.1, 10))
def test_statistics_scale_with_the_loss_and_do_not_see_its_sign(values, unit):
    found = change_statistics(values)
    scaled = change_statistics([-unit * value for value in values])
    for name in ("beta", "beta_median", "beta_q90"):
        assert scaled[name] == pytest.approx(unit * found[name], abs=1e-9)
    assert found["beta_median"] <= found["beta_q90"] + 1e-12


@given(changes)
def test_the_top_tenth_has_at_least_its_share(values):
    share = change_statistics(values)["beta_top_tenth"]
    least = max(1, round(len(values) / 10)) / len(values)
    assert np.isnan(share) == (not any(values))
    assert np.isnan(share) or least - 1e-9 <= share <= 1 + 1e-9


def test_one_example_may_carry_beta():
    found = change_statistics([0.0] * 19 + [5.0])
    assert found == {
        "beta": 0.25, "beta_signed": 0.25, "beta_median": 0.0, "beta_q90": 0.0,
        "beta_top_tenth": 1.0, "diverged": 0.0,
    }  # fmt: skip


def test_replicas_that_diverged_are_left_out_and_counted():
    found = change_statistics([0.5, np.nan, -1.5, np.inf])
    assert found == change_statistics([0.5, -1.5]) | {"diverged": 2.0}


def test_where_all_diverged_nothing_is_known():
    found = change_statistics([np.nan, np.inf])
    assert found.pop("diverged") == 2
    assert [*found] == [name for name in change_statistics([1.0]) if name in STATISTICS]
    assert len(found) == 5
    assert np.isnan(list(found.values())).all()


def test_sums_beyond_the_largest_double_are_infinite_without_a_warning():
    found = change_statistics([1e308, -1e308, 1.7e308, 0.0, 1.0])
    assert found["beta"] == np.inf
    assert found["beta_median"] == 1e308
    assert np.isnan(found["beta_top_tenth"])


def test_a_tenth_of_many_is_the_nearest_number_of_them():
    """0.1 of 14, 16 and 26 examples: 1, 2 and 3 of them."""
    for n, tenth in ((14, 1), (16, 2), (26, 3)):
        assert change_statistics([1.0] * n)["beta_top_tenth"] == pytest.approx(tenth / n)

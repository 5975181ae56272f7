"""Rounding to quantile bins keeps the mean, the order and the range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.metrics.quantile_bins import quantile_bins

VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=60).map(np.array)


@given(values=VALUES, bins=st.integers(1, 20))
def test_rounding_keeps_mean_range_and_order(values, bins):
    binned = quantile_bins(values, bins)
    rounded = binned.values
    slack = 1e-9 * (1 + values.max())
    assert len(binned.levels) <= bins
    assert rounded.mean() == pytest.approx(values.mean(), rel=1e-9)
    assert values.min() - slack <= rounded.min()
    assert rounded.max() <= values.max() + slack
    order = np.argsort(values, kind="stable")
    assert (np.diff(rounded[order]) >= -slack).all()


@given(values=VALUES)
def test_equal_values_share_a_bin(values):
    codes = quantile_bins(np.concatenate([values, values]), 4).codes
    assert (codes[: len(values)] == codes[len(values) :]).all()


def test_different_values_fill_the_bins_evenly():
    codes = quantile_bins(np.random.default_rng(0).permutation(40.0 + np.arange(40)), 4).codes
    assert np.bincount(codes).tolist() == [10, 10, 10, 10]


def test_few_values_are_kept_as_they_are():
    values = np.array([[0.0, 2.0], [2.0, 5.0]])
    assert np.array_equal(quantile_bins(values, 64).values, values)

"""What is left of bounds from information where losses are rounded to few values."""

import numpy as np

from probes.cells.information_bounds import LeftOut, leave_one_out_records
from probes.metrics.quantile_bins import quantile_bins

NO_ERROR = "leave-one-out, no error"


def records(losses, bins):
    """Of replicas whose losses on S, (n + 1, n), are rounded to so many values."""
    binned = quantile_bins(losses, bins)
    off, left_out = np.abs(losses - binned.values)[1:], np.eye(losses.shape[1], dtype=bool)
    rounding = float(off[left_out].mean() + off[~left_out].mean())
    left = LeftOut(losses, binned.codes, rounding, 0.1, float(losses.max()), 1.0, 0.1)
    return {one["name"]: one for one in leave_one_out_records(left, p=0.1, delta=0.05)}


def test_no_rounding_lifts_a_gap_above_its_bound():
    """Replicas that fit their examples; the loss on the one left out, and that of S, are any."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        n, levels = generator.integers(2, 6), generator.integers(1, 4)
        losses = np.ceil(generator.random((n + 1, n)) * levels) / levels
        losses[1:][~np.eye(n, dtype=bool)] = 0.0
        for name, found in records(losses, bins=generator.integers(2, 6)).items():
            if name in (NO_ERROR, "leave-one-out CMI") and np.isfinite(found["bound"]):
                assert found["gap"] <= found["bound"] * (1 + 1e-9) + 1e-12


def test_where_no_loss_and_some_loss_become_one_value_the_fit_is_not_told():
    """Both S^i lose 1/2 on what they did not see, and S loses 1: two values, [0, 1/2] and 1."""
    losses = np.array([[1.0, 1.0], [0.5, 0.0], [0.0, 0.5]])
    assert np.isnan(records(losses, bins=2)[NO_ERROR]["bound"])
    assert records(losses, bins=3)[NO_ERROR]["bound"] >= 0.5

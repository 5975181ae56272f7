"""Differences on the same S: what is compared with what, and what is lost with a draw."""

import numpy as np
import pandas as pd
import pytest

from probes.metrics.confidence_intervals import mean_p_value
from probes.metrics.paired_differences import less, paired_differences


def rows(**losses):
    """Losses of every draw, by variant."""
    return pd.DataFrame(
        [
            {"variant": variant, "draw": draw, "loss": loss, "gap": -loss}
            for variant, values in losses.items()
            for draw, loss in enumerate(values)
        ]
    )


def compare(table, quantities=("loss",), **more):
    reference = table["variant"] == "plain"
    return paired_differences(table, reference, quantities, keys=["variant"], **more)


def test_variants_are_compared_draw_by_draw():
    """What varies from draw to draw alike is no part of a difference."""
    found = compare(rows(plain=(1.0, 5.0, 9.0), other=(1.5, 5.6, 9.4))).iloc[0]
    assert found["loss"] == pytest.approx(0.5)
    assert found["loss_holm"] == pytest.approx(mean_p_value([0.5, 0.6, 0.4]))


def test_the_order_of_draws_does_not_matter():
    table = rows(plain=(1.0, 5.0, 9.0), other=(1.5, 5.6, 9.4))
    pd.testing.assert_frame_equal(compare(table), compare(table.sample(frac=1, random_state=0)))


def test_a_draw_in_which_either_diverged_is_left_out():
    found = compare(rows(plain=(1.0, np.nan, 9.0, 2.0), other=(1.5, 5.6, 9.6, np.inf))).iloc[0]
    assert found["loss_draws"] == 2
    assert found["loss"] == pytest.approx(0.55)


def test_all_differences_of_the_table_are_corrected_together():
    table = rows(plain=(1.0, 5.0, 9.0), other=(1.5, 5.6, 9.4), third=(0.0, 7.0, 9.0))
    found = compare(table, ("loss", "gap")).set_index("variant")
    assert found.loc["other", "loss_holm"] == pytest.approx(4 * mean_p_value([0.5, 0.6, 0.4]))


def test_within_a_size_only_its_own_reference_counts():
    small, large = (
        rows(plain=(1.0, 2.0), other=(2.0, 3.1)),
        rows(plain=(5.0, 6.0), other=(5.0, 7.1)),
    )
    both = pd.concat([small.assign(n=8), large.assign(n=16)], ignore_index=True)
    found = paired_differences(
        both, both["variant"] == "plain", ["loss"], keys=["n", "variant"], within=["n"]
    )
    assert found["loss"].tolist() == pytest.approx([1.05, 0.55])


def test_what_differs_by_rounding_is_equal_and_does_not_count():
    table = rows(plain=(0.3, 5.0, 9.0), same=(0.1 + 0.2, 5.0, 9.0), other=(1.5, 5.6, 9.4))
    found = compare(table).set_index("variant")["loss_holm"]
    assert np.isnan(found["same"])
    assert found["other"] == pytest.approx(mean_p_value([1.2, 0.6, 0.4]))


def test_what_is_rounding_depends_on_the_size_of_the_numbers():
    for size in (-1e6, -1.0, 1e-6, 1e6):
        assert less(size * (1 + 1e-13), size) == 0
        assert less(size * (1 + 1e-9), size) != 0


def test_a_difference_from_what_diverged_is_not_known():
    assert less([1.0, np.inf, np.inf], [np.inf, 1.0, np.inf]).tolist()[:2] == [-np.inf, np.inf]
    assert np.isnan(less([np.inf, np.nan], [np.inf, 1.0])).all()

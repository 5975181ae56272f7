"""Ablation: its variants are what the stability probe measures."""

import pytest

from probes import ablation as ablation_probe
from tests.probes.same_numbers import SMALL, STATISTICS, assert_same, table_of


@pytest.fixture(scope="module")
def ablation():
    return ablation_probe.measure(p=0.4, ensemble=3, **SMALL)


def variant(result, part, name):
    return result.rows[(result.rows["part"] == part) & (result.rows["variant"] == name)]


def test_variants_of_the_ablation_are_what_the_stability_probe_measures(ablation):
    dropped, plain = table_of(0.4, ensemble=3), table_of(0.0)
    same = [
        ("dropout when", "training and ensemble", dropped.loc[3]),
        ("dropout when", "training alone", dropped.loc[0]),
        ("dropout when", "never", plain.loc[0]),
        ("dropped where", "both", dropped.loc[0]),
        ("inference", "expected weight", dropped.loc[0]),
        ("inference", "ensemble", dropped.loc[3]),
    ]
    for part, name, expected in same:
        assert_same(variant(ablation, part, name), expected, STATISTICS)
    rescaled = table_of(0.4, ensemble=3, rescale=True)
    assert_same(variant(ablation, "inference", "rescaled, no masks"), rescaled.loc[0], STATISTICS)
    assert_same(variant(ablation, "inference", "rescaled, ensemble"), rescaled.loc[3], STATISTICS)


def test_differences_are_paired_and_zero_at_the_reference(ablation):
    summary = ablation.summary.set_index(["part", "variant"])
    assert summary.loc[("inference", "expected weight"), "difference"] == 0
    ensemble = variant(ablation, "inference", "ensemble").set_index("draw")["test_loss"]
    expected = variant(ablation, "inference", "expected weight").set_index("draw")["test_loss"]
    found = summary.loc[("inference", "ensemble"), "difference"]
    assert found == pytest.approx((ensemble - expected).mean())


def test_every_place_is_measured_once_a_draw(ablation):
    where = ablation.rows[ablation.rows["part"] == "dropped where"]
    assert sorted(where["variant"].unique()) == [
        "both", "columns of A", "entries", "inputs", "rank", "rows of B",
    ]  # fmt: skip
    assert len(where) == 6 * 2

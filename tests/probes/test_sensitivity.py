"""Sensitivity: the stability probe over a grid of p and N."""

from probes import sensitivity
from tests.probes.same_numbers import SMALL, STATISTICS, assert_same, table_of


def test_sensitivity_is_the_stability_probe_over_a_grid():
    result = sensitivity.measure(p=[0.4], samples=[1, 2], **SMALL)
    for samples in (1, 2):
        expected = table_of(0.4, samples=samples, ensemble=samples)
        rows = result.rows[result.rows["samples"] == samples]
        for inference, size in (("expected weight", 0), ("ensemble", samples)):
            assert_same(rows[rows["inference"] == inference], expected.loc[size], STATISTICS)

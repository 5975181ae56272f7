"""What a probe measures, beside what the stability probe measures of the same networks."""

import pytest

from probes.stability import measure

SMALL = {"task": "digits", "n": 10, "draws": 2, "steps": 12}


def table_of(p, **more):
    """What the stability probe measures, by draw and size of the ensemble."""
    table = measure(p=p, **(SMALL | more)).table
    return table.set_index(["ensemble", "draw"])


def assert_same(rows, expected, names=("train_loss", "test_loss", "test_score")):
    rows = rows.set_index("draw")
    for name in names:
        found = [rows.loc[draw, name] for draw in expected.index]
        assert found == pytest.approx(expected[name].tolist(), rel=2e-4, abs=1e-6)


STATISTICS = ("train_loss", "test_loss", "test_score", "beta", "gap")

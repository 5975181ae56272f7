"""The counting bound for networks that only guess."""

from itertools import product

import numpy as np
import pytest

from probes.statements.case import case_table
from probes.statements.counting_cases import BITS, SIZES, counting_cases, expected_gap
from theory.zhu2024 import quantized_gap_bound


def test_it_holds_if_all_bits_are_counted_and_fails_otherwise():
    table = case_table(counting_cases())
    counted = table[table["failed"] == ""]
    assert set(counted["verdict"]) <= {"holds", "vacuous"}
    assert len(counted) == len(BITS) * len(SIZES)
    assert set(table.loc[table["failed"] != "", "verdict"]) == {"fails without its premise"}


def test_the_gap_is_that_of_all_answers_enumerated():
    """Two networks, three examples: 2^6 tables of right and wrong."""
    shares = [np.reshape(table, (2, 3)).mean(1).min() for table in product((0, 1), repeat=6)]
    assert expected_gap(1, 3) == pytest.approx(0.5 - np.mean(shares), rel=1e-12)


@pytest.mark.parametrize(
    "flaw",
    [
        lambda bits, n: quantized_gap_bound(bits=bits / 2, parameters=1, loss_bound=1.0, n=n),
        lambda bits, n: quantized_gap_bound(bits=bits, parameters=1, loss_bound=0.5, n=n),
        lambda bits, n: quantized_gap_bound(bits=bits, parameters=1, loss_bound=1.0, n=n**1.2),
    ],
    ids=["half the bits", "half of C", "more examples"],
)
def test_a_planted_flaw_is_found(flaw):
    assert any(expected_gap(bits, n) > flaw(bits, n) for bits in BITS for n in SIZES)

"""Guarantees of coverage over every order of a population, and flaws of them that are found."""

import numpy as np
import pytest

from probes.statements.case import case_table
from probes.statements.jackknife_cases import (
    Populations,
    jackknife_cases,
    nearest,
    populations,
)
from theory.barber2021 import jackknife_plus_coverage


@pytest.fixture(scope="module")
def table():
    return case_table(jackknife_cases(0))


def test_what_is_guaranteed_holds(table):
    inside = table[table["failed"] == ""]
    assert set(inside["verdict"]) <= {"holds", "vacuous"}
    assert set(inside.loc[inside["statement"] == "Jackknife+", "verdict"]) == {"holds"}
    plain = inside[(inside["statement"] == "Jackknife") & (inside["verdict"] == "holds")]
    assert len(plain) > 0


def test_the_plain_jackknife_needs_stability(table):
    jumping = table[table["setting"].str.startswith("jump") & (table["failed"] == "stability")]
    assert (jumping["verdict"] == "fails without its premise").all()
    assert jumping["measured"].min() == 1


def test_predictions_are_those_without_one_and_without_both():
    found = populations(nearest, 6, seed=3)
    rest = found.others(2)
    assert rest.tolist() == [0, 1, 3, 4, 5]
    assert found.left_out(2).tolist() == [found.without_both[2, i] for i in rest]
    expected = [abs(found.values[i] - found.without_both[i, 2]) for i in rest]
    assert found.residuals(2).tolist() == expected
    for i in rest:
        # With the nearest example there, that without another one is the same.
        values = {found.without_both[i, j] for j in range(6) if j != i}
        assert found.without_one[i] in values
        assert len(values) <= 2


def test_a_guarantee_of_alpha_alone_is_refuted():
    """Three of five examples fit worse than three others each: 2 alpha is needed, and is kept."""
    beats = np.array(
        [[0, 1, 0, 1, 1], [0, 0, 1, 1, 1], [1, 0, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    )
    found, alpha = Populations(np.zeros(5), np.zeros(5), beats.astype(float)), 0.4
    assert found.missed_by_set(alpha) == pytest.approx(3 / 5)
    assert alpha < 3 / 5 <= 1 - jackknife_plus_coverage(alpha)


@pytest.mark.parametrize("seed", range(50))
def test_no_table_of_predictions_refutes_it(seed):
    generator, size = np.random.default_rng(seed), 9
    both = generator.integers(-2, 3, (size, size)).astype(float)
    found = Populations(generator.integers(-2, 3, size).astype(float), np.zeros(size), both)
    for alpha in (0.1, 0.2, 0.34, 0.45):
        missed = found.missed_by_set(alpha)
        assert found.missed(alpha) <= missed <= 1 - jackknife_plus_coverage(alpha) + 1e-12

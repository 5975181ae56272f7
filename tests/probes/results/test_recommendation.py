"""What candidates cost and are called, and what is said of a choice."""

import pytest

from probes.results.recommendation import CONSTANT, Candidate

NAN = float("nan")
PLAIN = Candidate(0.0, 1, "no masks")
ONE, FOUR = Candidate(0.3, 1, "expected weight"), Candidate(0.1, 4, "expected weight")
ENSEMBLE = Candidate(0.5, 1, "ensemble")


def test_no_dropout_is_the_simplest_and_ensembles_cost_most():
    assert PLAIN.price < ONE.price < FOUR.price < ENSEMBLE.price


@pytest.mark.parametrize(
    ("candidate", "named", "label", "cells"),
    [
        (PLAIN, "p = 0", "p = 0", ("0", "1", "no masks")),
        (
            ONE, "p = 0.3, 1 mask pair a step, expected weight inference",
            "N = 1 in training, expected weight", ("0.3", "1", "expected weight"),
        ),
        (
            ENSEMBLE, "p = 0.5, 1 mask pair a step, the test-time ensemble of 16",
            "N = 1 in training, ensemble of 16", ("0.5", "1", "ensemble, N = 16"),
        ),
        (
            Candidate(NAN, 0, CONSTANT), "the best constant prediction",
            "best constant prediction", ("", "", "constant"),
        ),
    ],
)  # fmt: skip
def test_candidates_are_named(candidate, named, label, cells):
    assert candidate.named(16) == named
    assert candidate.label(16) == label
    assert candidate.cells(16) == cells

"""What the stability probe prints, cell by cell, from frames written by hand."""

import pandas as pd

from probes.results.stability_text import (
    bound_in_words,
    bounds_text,
    quantities_text,
    summary_text,
    validation_text,
)
from tests.probes.tables import INFINITE, NAN


def assert_cells(table, expected):
    """Compare a table of text with its columns, each a list of cells."""
    assert {name: table[name].tolist() for name in table} == expected
    assert list(table) == list(expected)


def test_the_summary_cell_by_cell():
    """A network, an ensemble of one draw, and one whose runs all diverged."""
    summary = pd.DataFrame(
        {
            "p": [0.0, 0.3, 0.5],
            "inference": ["expected weight", "ensemble", "expected weight"],
            "ensemble": [0, 16, 0],
            "beta": [0.5, 0.25, NAN], "beta_low": [0.375, NAN, NAN],
            "beta_median": [0.125, 0.0625, NAN],
            "beta_top_tenth": [0.504, 1.0, NAN],
            "train_loss": [0.04, 0.5, NAN],
            "test_loss": [1.5, 1.25, INFINITE],
            "gap": [1.46, 0.75, NAN], "gap_low": [1.36, NAN, NAN],
            "gap_estimate": [-0.5, 0.125, NAN], "gap_estimate_low": [-0.75, NAN, NAN],
            "test_score": [0.9, 0.8125, 0.1],
        }
    )  # fmt: skip
    expected = {
        "p": ["0", "0.3", "0.5"],
        "inference": ["expected weight", "ensemble, N = 16", "expected weight"],
        "β": ["0.5000 ± 0.1250", "0.2500", "nan"],
        "median": ["0.1250", "0.0625", "nan"],
        "top tenth": ["50%", "100%", "–"],
        "train loss": ["0.0400 (near 0)", "0.5000", "nan"],
        "test loss": ["1.5000", "1.2500", "inf"],
        "gap": ["1.4600 ± 0.1000", "0.7500", "nan"],
        "gap without test set": ["-0.5000 ± 0.2500", "0.1250", "nan"],
        "test accuracy": ["0.900", "0.812", "0.100"],
    }
    assert_cells(summary_text(summary, "accuracy"), expected)
    for name in ("β", "gap without test set"):
        expected = {
            f"{name} (estimated, not corrected)" if one == name else one: cells
            for one, cells in expected.items()
        }
    assert_cells(summary_text(summary, "accuracy", estimated=True), expected)


def test_the_bounds_cell_by_cell_without_those_of_ensembles():
    bounds = pd.DataFrame(
        {
            "p": [0.1, 0.1, 0.1, 0.5, 0.5],
            "ensemble": [0, 0, 4, 0, 0],
            "statement": ["Lemma 4.3", "Theorem 4.4", "Lemma 4.3", "Theorem 4.4", "Theorem 4.4"],
            "strength": [NAN, 0.01, NAN, 1.0, 0.1],
            "measured": [0.25, 0.25, 9.0, NAN, 0.5],
            "bound": [1.23456, INFINITE, 9.0, NAN, 123456.0],
            "verdict": ["holds", "not exceeded", "holds", "not exceeded", "vacuous"],
            "failed": ["", "", "", "θ(S^i) close to θ(S)", ""],
            "slack": [NAN] * 5,
            "draws": [0, 1, 2, 3, 2],
            "vacuous": [0, 1, 0, 3, 2],
        }
    )
    expected = {
        "p": ["0.1", "0.1", "0.5", "0.5"],
        "statement": ["Lemma 4.3", "Theorem 4.4", "Theorem 4.4", "Theorem 4.4"],
        "λ": ["", "0.01", "1", "0.1"],
        "measured": ["0.2500", "0.2500", "nan", "0.5000"],
        "bound": ["1.235", "inf", "–", "1.235e+05"],
        "verdict": [
            "holds",
            "not exceeded, but at least C",
            "not exceeded: θ(S^i) close to θ(S)",
            "vacuous",
        ],
    }
    assert_cells(bounds_text(bounds), expected)
    slack = bounds.assign(slack=[0.01234, NAN, 9.0, 0.5, NAN])
    assert bounds_text(slack)["slack"].tolist() == ["0.012", "", "0.5", ""]


def test_a_bound_whose_assumption_fails_is_a_dash():
    assert [bound_in_words(value) for value in (NAN, 0.0, 0.12345)] == ["–", "0", "0.1235"]


def test_the_estimates_cell_by_cell():
    """Two draws that agree, one that is of no use, and few checks of a heavy tail."""
    validation = pd.DataFrame(
        {
            "p": [0.1, 0.3, 0.0], "inference": ["expected weight", "ensemble", "expected weight"],
            "ensemble": [0, 4, 0], "checked": [12, 8, 8], "checked_most": [12, 8, 16],
            "spearman": [0.9, NAN, 0.9], "spearman_low": [0.8, NAN, 0.8],
            "pearson": [0.95, -0.5, 0.5], "pearson_low": [0.925, NAN, 0.25],
            "beta_estimated": [0.5, NAN, 0.25], "beta_retrained": [0.4, 0.25, 0.5],
            "bias": [0.25, -0.004, NAN],
            "beta_corrected": [0.375, NAN, 0.5], "beta_corrected_low": [0.25, NAN, NAN],
            "checks": [24, 8, 24], "checks_needed": [24, 9, 25],
            "verdict": ["order alone", "not trustworthy", "order alone"],
        }
    )  # fmt: skip
    expected = {
        "p": ["0.1", "0.3", "0"],
        "inference": ["expected weight", "ensemble, N = 4", "expected weight"],
        "checked a draw": ["12", "8", "8 to 16"],
        "rank correlation": ["0.9000 ± 0.1000", "nan", "0.9000 ± 0.1000"],
        "linear correlation": ["0.9500 ± 0.0250", "-0.5000", "0.5000 ± 0.2500"],
        "β estimated": ["0.5000", "nan", "0.2500"],
        "β retrained": ["0.4000", "0.2500", "0.5000"],
        "bias": ["+25%", "-0%", "–"],
        "β of S, corrected": [
            "0.3750 ± 0.1250", "nan",
            "0.5000; no interval: heavy tail, 24 of 25 checks needed",
        ],
        "verdict": ["order alone", "not trustworthy", "order alone"],
    }  # fmt: skip
    assert_cells(validation_text(validation), expected)


def quantities(**changes):
    return pd.DataFrame(
        {
            "ensemble": [4, 0, 0, 0], "strength": [NAN] * 4,
            "lipschitz": [99.0, 1.0, 2.0, 0.0], "curvature": [99.0, 0.5, 0.25, NAN],
            "loss_bound_used": [99.0, 3.0, 4.0, NAN],
            "lipschitz_how": ["wrong", "largest seen", "", ""],
            "curvature_how": ["wrong", "dense Hessian", "", ""],
            "loss_bound_how": ["wrong", "largest observed loss", "", ""],
        } | changes
    )  # fmt: skip


def test_the_quantities_are_means_over_the_cells_of_the_network_that_did_not_diverge():
    expected = {
        "quantity": ["η", "Λ_min", "C", "λ"],
        "value": ["1", "0.375", "3.5", "0.01, 0.1, 1"],
        "how": [
            "largest seen", "dense Hessian", "largest observed loss",
            "not defined for dropout: a family",
        ],
    }  # fmt: skip
    assert_cells(quantities_text(quantities(), (0.01, 0.1, 1.0)), expected)


def test_a_strength_that_is_given_is_said_to_be():
    found = quantities_text(quantities(strength=[0.5] * 4), (0.5,))
    assert found.iloc[-1].tolist() == ["λ", "0.5", "given"]


def test_how_a_curvature_was_found_is_said_of_a_network_that_did_not_diverge():
    how = ["wrong", "the network diverged", "dense Hessian", "Lanczos"]
    known = [99.0, NAN, 0.5, 0.5]
    found = quantities_text(quantities(curvature=known, curvature_how=how), (0.5,))
    assert found["how"].tolist()[1] == "dense Hessian"
    every = quantities(curvature=[NAN] * 4, curvature_how=how[1:2] * 4)
    assert quantities_text(every, (0.5,))["how"].tolist()[1] == "the network diverged"

"""The bounds at quantities written by hand: verdicts, and curves over the rate."""

import numpy as np
import pandas as pd
import pytest

from probes.results.bounds_table import RATES, bound_curves, bounds
from tests.probes.tables import INFINITE, NAN

#: With n = 1000, delta = 0.05 and p = 0: Proposition 4.2 is 0.002, Theorem 4.4 0.5.
KNOWN = {
    "task": "made up", "n": 1000, "p": 0.0, "draw": 0, "inference": "expected weight",
    "ensemble": 0, "objective": "penalty", "lipschitz": 1.0, "curvature": 1.0,
    "loss_bound_used": 1.0, "beta": 0.001, "gap": 0.25,
}  # fmt: skip


def cells(*changes):
    return pd.DataFrame([KNOWN | change for change in changes])


def stated(strengths=(1.0,), **changes):
    return bounds(cells(changes), strengths, 0.05).set_index(["statement", "strength"])


def verdicts(**changes):
    return stated(**changes)["verdict"].droplevel("strength").to_dict()


def curves(*changes, strengths=(1.0,)):
    return bound_curves(cells(*changes), strengths, 0.05)


# One row a cell, statement and lambda


def test_every_statement_is_made_at_every_strength_and_the_lemma_once():
    found = bounds(cells({}, {"draw": 1, "p": 0.5}), (0.1, 1.0), 0.05)
    assert len(found) == 2 * (1 + 2 * 2)
    assert found["draw"].tolist() == [0] * 5 + [1] * 5
    assert found["statement"].tolist()[:5] == [
        "Lemma 4.3", "Proposition 4.2", "Theorem 4.4", "Proposition 4.2", "Theorem 4.4",
    ]  # fmt: skip
    assert found["strength"].tolist()[1:5] == [0.1, 0.1, 1.0, 1.0]
    assert pd.isna(found["strength"][0])


def test_the_bounds_are_those_of_the_paper():
    """At p = 1/2, 2p - p^2 is 3/4: with lambda = 1 the curvature is 2.5 in all."""
    found = stated(p=0.5)
    expected = {
        "Lemma 4.3": ((1 + 12 * 1000 * 0.001) / (2 * 1000 * 0.05)) ** 0.5,
        "Proposition 4.2": 2 / (2.5 * 1000),
        "Theorem 4.4": ((1 + 24 / 2.5) / (2 * 1000 * 0.05)) ** 0.5,
    }
    assert found["bound"].droplevel("strength").to_dict() == pytest.approx(expected)
    assert found["measured"].tolist() == [0.25, 0.001, 0.25]


def test_a_bound_at_c_or_above_is_vacuous_and_one_below_what_is_measured_violated():
    assert verdicts() == {
        "Lemma 4.3": "holds", "Proposition 4.2": "holds", "Theorem 4.4": "holds",
    }  # fmt: skip
    small = verdicts(loss_bound_used=0.0015, gap=0.0)
    assert small["Proposition 4.2"] == small["Theorem 4.4"] == "vacuous"
    assert verdicts(beta=0.0021)["Proposition 4.2"] == "violated"
    assert verdicts(gap=0.51)["Theorem 4.4"] == "violated"
    dropout = verdicts(objective="dropout", beta=0.0021, gap=0.51)
    assert dropout["Proposition 4.2"] == dropout["Theorem 4.4"] == "exceeded"


def test_a_saddle_that_the_penalty_does_not_outweigh_is_outside_the_statements():
    """The lemma does not speak of curvature. Where both are equal the bound is infinite."""
    found = verdicts(p=0.5, curvature=-1.6)
    assert found["Lemma 4.3"] == "holds"
    assert found["Proposition 4.2"] == found["Theorem 4.4"] == "assumption failed"
    assert stated(p=0.5, curvature=-1.6)["bound"].isna().tolist() == [False, True, True]
    assert verdicts(p=0.5, curvature=-1.4)["Proposition 4.2"] == "holds"
    equal = verdicts(p=0.5, curvature=-1.5)
    assert equal["Proposition 4.2"] == equal["Theorem 4.4"] == "infinite"


def test_of_a_diverged_run_nothing_was_measured():
    lost = {"beta": NAN, "gap": NAN, "lipschitz": 0.0, "curvature": NAN, "loss_bound_used": NAN}
    assert set(verdicts(**lost).values()) == {"not measured"}
    found = stated(**lost)
    assert found["bound"].isna().all()
    assert found["measured"].isna().all()


def test_where_the_test_loss_alone_is_infinite_the_gap_alone_was_not_measured():
    assert verdicts(gap=INFINITE) == {
        "Lemma 4.3": "not measured", "Proposition 4.2": "holds", "Theorem 4.4": "not measured",
    }  # fmt: skip


# Curves over the rate


def test_curves_are_stated_at_means_over_draws_and_sorted_by_rate():
    found, ceiling = curves(
        {"p": 0.5, "lipschitz": 1.0, "curvature": 0.5, "loss_bound_used": 1.0},
        {"p": 0.0, "lipschitz": 1.0},
        {"p": 0.5, "lipschitz": 3.0, "curvature": 1.5, "loss_bound_used": 3.0, "draw": 1},
    )
    assert found["p"].tolist() == ceiling["p"].tolist() == [0.0, 0.5]
    assert found["stability_bound"].tolist() == pytest.approx([2 / 1000, 8 / (2.5 * 1000)])
    gap = ((4 + 24 * 2 * 4 / 2.5) / 100) ** 0.5
    assert found["gap_bound"].tolist() == pytest.approx([0.5, gap])
    assert ceiling["loss_bound"].tolist() == [1.0, 2.0]
    assert not found["continued"].any()


def test_every_strength_has_its_curve():
    found, _ = curves({"p": 0.0}, {"p": 0.5}, strengths=(0.1, 1.0))
    assert found["strength"].tolist() == [0.1, 0.1, 1.0, 1.0]
    at_half = found[found["p"] == 0.5]["stability_bound"]
    assert at_half.tolist() == pytest.approx([2 / 1150, 2 / 2500])


def test_a_single_rate_is_continued_over_all():
    found, ceiling = curves({"p": 0.3}, {"p": 0.3, "draw": 1})
    assert found["continued"].all()
    assert found["p"].tolist() == ceiling["p"].tolist() == RATES.tolist()
    assert found["stability_bound"].tolist() == pytest.approx(
        [2 / ((1 + 2 * (2 * p - p**2)) * 1000) for p in RATES]
    )
    assert set(ceiling["loss_bound"]) == {1.0}


def test_a_curve_is_missing_where_the_penalty_does_not_outweigh_the_saddle():
    """2 (2p - p^2) exceeds 1.5 from above p = 1/2 on."""
    found, ceiling = curves({"p": 0.3, "curvature": -1.5})
    assert found["p"].min() == pytest.approx(0.51)
    assert found["p"].tolist() == RATES[51:].tolist()
    assert len(ceiling) == len(RATES)
    assert np.isfinite(found["stability_bound"]).all()


def test_where_it_is_missing_everywhere_one_row_says_so():
    found, ceiling = curves(
        {"p": 0.1, "curvature": -9.0}, {"p": 0.5, "curvature": -9.0}, strengths=(0.1, 9.0)
    )
    assert found["strength"].tolist() == [0.1, 9.0]
    assert found["p"].isna().tolist() == [True, False]
    assert found[["stability_bound", "gap_bound"]].isna().all(axis=1).tolist() == [True, False]
    assert ceiling["p"].tolist() == [0.1, 0.5]


def test_a_draw_that_diverged_does_not_count_and_a_rate_that_did_is_missing():
    lost = {"lipschitz": 0.0, "curvature": NAN, "loss_bound_used": NAN}
    found, _ = curves({"p": 0.0}, {"p": 0.5, "draw": 0} | lost, {"p": 0.5, "draw": 1} | lost)
    assert found["p"].tolist() == [0.0]
    assert found["stability_bound"].tolist() == pytest.approx([0.002])

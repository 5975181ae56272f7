"""The bounds at quantities written by hand: verdicts, and curves over the rate."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from probes.results.bounds_table import RATES, bound_curves, bounds, over_draws
from probes.results.premises import BOUNDED, CLOSE, CONVERGED, MINIMISER, SEMIDEFINITE
from tests.probes.tables import INFINITE, NAN

#: With n = 1000, delta = 0.05 and p = 0: Proposition 4.2 is 0.002, Theorem 4.4 0.5.
KNOWN = {
    "task": "made up", "n": 1000, "p": 0.0, "draw": 0, "inference": "expected weight",
    "ensemble": 0, "objective": "penalty", "lipschitz": 1.0, "curvature": 1.0,
    "loss_bound_used": 1.0, "largest_loss": 1.0, "beta": 0.001, "gap": 0.25, "strength": 1.0,
    "diverged": 0,
    "audit_gradient_norm": 0.0, "audit_gradient_norm_left_out": 0.0,
    "audit_positive_semidefinite": True, "audit_expansion_radius": 2.0, "audit_bounded": True,
}  # fmt: skip


#: Lemma 4.3 there.
KNOWN_LEMMA = ((1 + 12 * 1000 * 0.001) / (2 * 1000 * 0.05)) ** 0.5


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


def test_the_lemma_is_stated_at_beta_over_draws_as_it_is_an_expectation():
    """A draw whose own beta is 0 and whose gap is large does not refute it."""
    found = bounds(cells({"beta": 0.0}, {"beta": 0.002, "draw": 1}, {"p": 0.5}), (1.0,), 0.05)
    lemma = found[found["statement"] == "Lemma 4.3"]["bound"].tolist()
    assert lemma == pytest.approx([((1 + 12 * 1000 * 0.001) / (2 * 1000 * 0.05)) ** 0.5] * 3)


def test_where_a_replica_diverged_the_lemma_has_no_beta():
    """The beta of the others is too small, and so would be the bound."""
    lost = {"beta": 0.0, "diverged": 1, "loss_bound_used": 0.01, "gap": 0.009}
    one = stated(**lost).loc["Lemma 4.3"].iloc[0]
    assert (one["verdict"], one["failed"]) == ("assumption failed", CONVERGED)
    dropout = verdicts(**lost, objective="dropout", strength=NAN)
    assert dropout["Lemma 4.3"] == "no bound"
    beside = bounds(cells(lost, {"draw": 1}), (1.0,), 0.05).query("statement == 'Lemma 4.3'")
    assert beside["bound"].tolist() == pytest.approx([NAN, KNOWN_LEMMA], nan_ok=True)
    assert beside["verdict"].tolist() == ["assumption failed", "holds"]


def test_a_network_that_diverged_though_its_curvature_is_known_spoils_no_other_draw():
    """In float64 weights of 1e155 are finite, and so is the curvature; their loss is not."""
    lost = {"beta": NAN, "gap": NAN, "lipschitz": NAN, "draw": 1}
    found = bounds(cells({}, lost), (1.0,), 0.05)
    assert found["verdict"].tolist() == ["holds"] * 3 + ["not measured"] * 3
    curve, _ = curves({}, lost | {"p": 0.5})
    assert curve["p"].tolist() == [0.0]
    assert curves(lost)[0]["stability_bound"].isna().all()


def test_a_bound_at_c_or_above_is_vacuous_and_one_below_what_is_measured_violated():
    assert verdicts() == {
        "Lemma 4.3": "holds", "Proposition 4.2": "holds", "Theorem 4.4": "holds",
    }  # fmt: skip
    small = verdicts(loss_bound_used=0.0015, gap=0.0)
    assert small["Proposition 4.2"] == small["Theorem 4.4"] == "vacuous"
    # With the raw loss the formula is proved times 1.6.
    equal = stated(loss_bound_used=0.002, gap=0.0).loc["Proposition 4.2"].iloc[0]
    assert (equal["verdict"], equal["vacuous"]) == ("vacuous", True)
    assert verdicts(beta=0.0021)["Proposition 4.2"] == "exceeded"
    assert verdicts(beta=0.0031)["Proposition 4.2"] == "exceeded"
    assert verdicts(beta=0.0033)["Proposition 4.2"] == "violated"


def test_a_c_that_is_far_above_every_loss_makes_no_bound_say_something():
    generous = {"loss_bound_used": 100.0, "largest_loss": 1.0}
    found = stated(**generous).loc[("Theorem 4.4", 1.0)]
    assert 1 < found["bound"] < 100
    assert found["verdict"] == "vacuous"
    assert stated(**generous | {"largest_loss": 99.0}).loc[("Theorem 4.4", 1.0), "vacuous"] == (
        found["bound"] >= 99
    )


def test_on_a_flat_loss_without_a_penalty_the_bounds_are_infinite():
    found = stated(curvature=0.0, p=0.0)
    assert found.loc[[("Proposition 4.2", 1.0), ("Theorem 4.4", 1.0)], "bound"].tolist() == (
        [INFINITE] * 2
    )


def test_a_bound_on_the_gap_may_be_exceeded_in_one_draw():
    assert verdicts(gap=0.51)["Theorem 4.4"] == "exceeded"


def test_what_dropout_is_compared_with_is_exceeded_or_not_and_never_holds():
    dropout = {"objective": "dropout", "strength": NAN}
    above = verdicts(beta=0.0021, gap=0.51, **dropout)
    assert above["Proposition 4.2"] == above["Theorem 4.4"] == "exceeded"
    assert set(verdicts(**dropout).values()) == {"not exceeded"}
    assert set(verdicts(loss_bound_used=0.0015, gap=0.0, **dropout).values()) == {"not exceeded"}
    saddle = verdicts(p=0.5, curvature=-1.6, **dropout)
    assert saddle["Proposition 4.2"] == saddle["Theorem 4.4"] == "no bound"
    assert stated(**dropout)["failed"].eq("").all()


def test_a_saddle_that_the_penalty_does_not_outweigh_is_outside_the_statements():
    """The lemma does not speak of curvature. Where both are equal the bound is infinite."""
    saddle = {"p": 0.5, "audit_positive_semidefinite": False}
    found = verdicts(curvature=-1.6, **saddle)
    assert found["Lemma 4.3"] == "holds"
    assert found["Proposition 4.2"] == found["Theorem 4.4"] == "assumption failed"
    assert stated(curvature=-1.6, **saddle)["bound"].isna().tolist() == [False, True, True]
    assert stated(curvature=-1.5, **saddle)["bound"].tolist()[1:] == [INFINITE, INFINITE]


@pytest.mark.parametrize(
    ("change", "premise", "of"),
    [
        ({"audit_gradient_norm": 0.001}, MINIMISER, ("Proposition 4.2", "Theorem 4.4")),
        ({"audit_positive_semidefinite": False}, SEMIDEFINITE, ("Proposition 4.2", "Theorem 4.4")),
        ({"audit_expansion_radius": 0.5}, CLOSE, ("Proposition 4.2", "Theorem 4.4")),
        ({"audit_bounded": False}, BOUNDED, ("Lemma 4.3", "Theorem 4.4")),
    ],
)
@pytest.mark.parametrize("above", [{}, {"beta": 0.0021, "gap": 9.0}])
def test_a_premise_that_fails_is_named_and_nothing_else_is_said(change, premise, of, above):
    found = stated(**above | change).droplevel("strength")
    failed = found["verdict"] == "assumption failed"
    assert tuple(found.index[failed]) == of
    assert set(found.loc[failed, "failed"]) == {premise}


def test_a_network_that_is_nearly_a_minimiser_is_granted_what_is_left_of_its_gradients():
    """eta = mu = 1: the slack is the sum of the two gradients, and at most a tenth of beta."""
    close = {"audit_gradient_norm": 1e-4, "audit_gradient_norm_left_out": 1e-4}
    assert stated(**close)["slack"].droplevel("strength")["Proposition 4.2"] == pytest.approx(2e-4)
    assert verdicts(beta=0.00201, **close)["Proposition 4.2"] == "holds"
    assert verdicts(beta=0.00221, **close)["Proposition 4.2"] == "exceeded"
    assert verdicts(beta=0.00339, **close)["Proposition 4.2"] == "exceeded"
    assert verdicts(beta=0.00341, **close)["Proposition 4.2"] == "violated"
    assert verdicts(beta=0.0019, **close)["Proposition 4.2"] == "assumption failed"
    assert verdicts(beta=0.00201, gap=0.5001, **close)["Theorem 4.4"] == "exceeded"
    assert stated(**close)["slack"].isna().tolist() == [True, False, True]


# Over draws


def over(*changes, **known):
    found = bounds(cells(*({"draw": draw} | known | one for draw, one in enumerate(changes))),
                   (1.0,), 0.05)  # fmt: skip
    return over_draws(found, ["p"], 0.05).set_index("statement")


def test_a_bound_that_one_of_twenty_draws_exceeds_is_not_violated():
    """It may be exceeded with probability 1/20; of twenty draws four are too many."""
    some = [{"gap": 0.51}] + [{}] * 19
    found = over(*some).loc["Theorem 4.4"]
    assert found["verdict"] == "holds 19/20, exceeded 1/20"
    assert (found["above"], found["draws"]) == (1, 20)
    many = [{"gap": 0.51}] * 5 + [{}] * 15
    assert over(*many).loc["Theorem 4.4", "verdict"] == "violated: holds 15/20, exceeded 5/20"


def test_of_many_bounds_one_that_chance_may_exceed_is_not_violated():
    """Four of twenty have a probability of 0.016, and of ten bounds one in 6 such."""
    twenty = [{"draw": draw, "gap": 0.51 if draw < 4 else 0.25} for draw in range(20)]
    rates = (0.4, 0.3, 0.2, 0.1)
    other = [{"draw": draw, "p": p, "beta": 5e-4} for p in rates for draw in range(20)]
    alone, among = (
        over_draws(bounds(cells(*some), (1.0,), 0.05), ["p"], 0.05)
        for some in (twenty, [*other, *twenty])
    )
    counted = "holds 16/20, exceeded 4/20"
    assert alone["statement"].tolist() == ["Lemma 4.3", "Proposition 4.2", "Theorem 4.4"]
    assert alone["verdict"].tolist() == [f"violated: {counted}", "holds", f"violated: {counted}"]
    assert among["p"].tolist() == [p for p in (*rates, 0.0) for _ in range(3)]
    assert among["verdict"].tolist() == ["holds"] * 12 + [counted, "holds", counted]
    assert "p_value" not in among


def test_draws_that_share_examples_are_counted_and_not_tested():
    many = [{"gap": 0.51}] * 5 + [{}] * 15
    shared = over(*many, pool=4000).loc["Theorem 4.4", "verdict"]
    assert shared == "holds 15/20, exceeded 5/20"
    assert over(*many, pool=5001).loc["Theorem 4.4", "verdict"] == f"violated: {shared}"


def test_a_true_bound_is_called_violated_in_at_most_one_run_of_twenty():
    """Each draw exceeds it with probability delta: exact, as the verdict counts draws alone."""
    draws = 20
    called = [
        over(*({"gap": 0.51 if draw < above else 0.25} for draw in range(draws)))["verdict"]
        .str.startswith("violated")
        .any()
        for above in range(draws + 1)
    ]
    assert called == sorted(called)
    assert not called[0]
    assert called[-1]
    assert binom.pmf(np.arange(draws + 1), draws, 0.05) @ called <= 0.05


def test_bounds_that_no_chance_may_exceed_or_that_are_no_theorem_are_not_tested_over_draws():
    above = [{"gap": 0.51, "beta": 0.0021}] * 20
    dropout = over(*above, objective="dropout", strength=NAN)["verdict"]
    assert dropout[["Proposition 4.2", "Theorem 4.4"]].tolist() == ["exceeded"] * 2
    assert over(*above).loc["Proposition 4.2", "verdict"] == "exceeded"


def test_a_bound_and_its_slack_are_means_over_draws():
    row = over({}, {"lipschitz": 2.0, "audit_gradient_norm": 1e-6}).loc["Proposition 4.2"]
    assert row["bound"] == pytest.approx(0.002 * (1 + 4) / 2)
    assert row["slack"] == pytest.approx(2 * 2.0 * (1e-6 + 0) / 2 / 2)
    assert over({}, {}, {}, loss_bound_used=0.0015).loc["Proposition 4.2", "vacuous"] == 3


def test_draws_that_measured_nothing_are_no_draws():
    found = over({}, {"gap": NAN, "beta": NAN}, {"gap": 0.35}).loc["Theorem 4.4"]
    assert found["draws"] == 2
    assert found["measured"] == pytest.approx(0.3)
    assert found["verdict"] == "holds 2/3, not measured 1/3"


def test_the_premises_that_fail_in_any_draw_are_named():
    found = over({}, {"audit_bounded": False}, {"audit_expansion_radius": 0.0})
    assert found.loc["Theorem 4.4", "failed"] == f"{BOUNDED}; {CLOSE}"
    assert found.loc["Proposition 4.2", "failed"] == CLOSE


def test_of_a_diverged_run_nothing_was_measured():
    lost = {"beta": NAN, "gap": NAN, "lipschitz": 0.0, "curvature": NAN, "loss_bound_used": NAN}
    assert set(verdicts(**lost).values()) == {"not measured"}
    found = stated(**lost)
    assert found["bound"].isna().all()
    assert found["measured"].isna().all()
    assert found["failed"].eq("").all()
    dropout = lost | {"objective": "dropout", "strength": NAN}
    assert set(verdicts(**dropout).values()) == {"not measured"}


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

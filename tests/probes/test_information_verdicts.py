"""What is said of made-up bounds on one gap: which hold, say nothing, fail or do not apply."""

import numpy as np
import pandas as pd
import pytest

from probes.information import InformationResult


def rows_of(bounds, gap=0.25, spread=0.02, **more):
    """Rows of draws with made-up bounds on one gap, two draws ``spread`` apart."""
    records = [
        {
            "task": "made up", "n": 8, "p": p, "draw": draw, "inference": "expected weight",
            "ensemble": 0, "name": name, "bound": bound + spread * draw, "bound_half": bound,
            "gap": gap, "gap_test": gap + 0.01 * draw, "train_loss": 0.0, "test_loss": gap,
            "information": 0.1, "information_bias": 0.01, "rounding": 0.0, "loss_bound": 1.0,
            "largest_loss": 1.0,
            "loss": "0-1", "task_loss": "cross-entropy", "rank": 2, "steps": 40, "lr": 1e-3,
            "selections": 16, "pool": 1000,
        } | more
        for (name, p), bound in bounds.items()
        for draw in (0, 1)
    ]  # fmt: skip
    return InformationResult(pd.DataFrame(records))


def test_verdicts_say_vacuous_violated_and_what_does_not_apply():
    result = rows_of(
        {
            ("ld-CMI", 0.1): 0.5, ("e-CMI", 0.1): 1.5, ("f-CMI", 0.1): 0.2, ("no error", 0.1): 0.3,
            ("Theorem 4.4", 0.1): 40.0, ("Lemma 4.3", 0.1): 0.6, ("fast rate", 0.1): np.nan,
        }
    )  # fmt: skip
    found = result.summary.set_index("name")["verdict"].to_dict()
    assert found == {
        "ld-CMI": "holds", "e-CMI": "vacuous", "f-CMI": "violated", "no error": "holds",
        "Theorem 4.4": "vacuous", "Lemma 4.3": "not exceeded", "fast rate": "does not apply",
    }  # fmt: skip
    ratio = result.summary.set_index("name")["ratio"]
    assert ratio["ld-CMI"] == pytest.approx(0.51 / 0.25)
    assert "fast rate" not in result.text()["statement"].tolist()
    assert "the smallest is no error" in result.conclusion
    assert "n = 8, p = 0.1: 2 bounds say something" in result.conclusion


def test_what_dropout_does_not_promise_is_exceeded_and_not_violated():
    small = {("Theorem 4.4", 0.1): 0.1, ("Lemma 4.3", 0.1): 0.1, ("e-CMI", 0.1): 0.1}
    found = rows_of(small, spread=0.0001).summary.set_index("name")["verdict"].to_dict()
    assert found == {"Theorem 4.4": "exceeded", "Lemma 4.3": "exceeded", "e-CMI": "violated"}


def test_a_c_far_above_every_loss_makes_no_bound_say_something():
    result = rows_of({("e-CMI", 0.1): 2.5, ("ld-CMI", 0.1): 0.5}, loss_bound=9.0, largest_loss=2.0)
    assert result.summary["verdict"].tolist() == ["vacuous", "holds"]
    said = result.plot().get_supxlabel().replace("\n", " ")
    assert said.endswith("; C: the largest loss that was seen, where that is less")


def test_a_margin_of_rounding_is_none():
    """Seventeen draws in which losses that are all C have means that differ in the last digit."""
    rows = rows_of({("e-CMI", 0.1): 0.0}, gap=0.0, spread=0.0).rows
    draws = pd.concat([rows.iloc[:1].assign(draw=draw, gap_test=1e-17) for draw in range(17)])
    assert InformationResult(draws).summary["verdict"].tolist() == ["holds"]


def test_where_the_smallest_bound_is_on_a_gap_of_0_no_other_is_called_the_smallest():
    loose = rows_of({("binary kl", 0.1): 0.5}).rows
    tight = rows_of({("leave-one-out CMI", 0.1): 0.0}, gap=0.0, spread=0.0).rows
    result = InformationResult(pd.concat([tight, loose], ignore_index=True))
    assert result.finding == "A bound says something at 1 of 1 setting of n and p."
    assert "the smallest is leave-one-out CMI, 0 for a gap of 0" in result.conclusion


def test_a_bound_that_applies_in_some_draws_alone_is_not_said_to_apply_in_all():
    rows = rows_of({("no error", 0.1): 0.3, ("e-CMI", 0.1): 1.5}).rows
    lost = (rows["name"] == "no error") & (rows["draw"] == 1)
    assert InformationResult(rows.assign(bound=rows["bound"].mask(lost))).conclusion == (
        "n = 8, p = 0.1: 1 bound says something; none applies in all draws, and the smallest is no "
        "error, 0.3 for a gap of 0.25 in 1 of 2 draws."
    )


def test_where_no_bound_says_anything_that_is_said():
    assert rows_of({("e-CMI", 0.1): 1.5}).conclusion == "n = 8, p = 0.1: no bound says anything."


def test_what_diverged_is_not_measured():
    nothing = dict.fromkeys(("gap", "train_loss", "test_loss", "bound", "bound_half"), np.nan)
    result = rows_of({("e-CMI", 0.1): 0.5}, **nothing)
    assert result.summary["verdict"].tolist() == ["not measured"]
    assert "2 of 2 losses are not finite" in result.caption


def test_draws_that_share_examples_are_told():
    result = rows_of({("e-CMI", 0.1): 0.5}, pool=40)
    for said in (result.caption, repr(result), "".join(result.restrictions)):
        assert "a draw holds 40% of the data" in said
        assert "S holds" not in said
    alone = rows_of({("e-CMI", 0.1): 0.5}).summary.iloc[0]
    shared = result.summary.iloc[0]
    assert shared["bound_high"] > alone["bound_high"]

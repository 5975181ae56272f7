"""What is said of the bound: only what the draws say in which its premises hold."""

import pandas as pd
import pytest

from probes.results.stability_answer import PROPOSITION, bound_answer, measured_answer
from tests.probes.tables import NAN

HOLDS = {
    "ensemble": 0, "statement": PROPOSITION, "p": 0.1, "strength": 1.0, "measured": 0.1,
    "curvature": 0.5, "bound": 1.0, "failed": "", "verdict": "holds", "objective": "penalty",
}  # fmt: skip
VACUOUS = HOLDS | {"bound": 20.0, "verdict": "vacuous"}
FAR = HOLDS | {"failed": "θ(S^i) close to θ(S)", "verdict": "assumption failed"}
DIVERGED = HOLDS | {"measured": NAN, "verdict": "not measured"}
EXCEEDED = HOLDS | {"measured": 1.2, "verdict": "exceeded"}


def said(*rows):
    return bound_answer(pd.DataFrame(rows))


def test_a_bound_that_is_vacuous_wherever_it_applies_does_not_hold():
    """Three vacuous draws and one without the premise once read as "applies and holds"."""
    answer = said(VACUOUS, VACUOUS, VACUOUS, FAR)
    assert "applies in 3 of 4 runs and says nothing" in answer
    assert answer.endswith("In the others its premises fail (θ(S^i) close to θ(S)).")
    assert "holds" not in answer


def test_how_far_off_the_bound_is_comes_from_draws_in_which_it_applies():
    assert "it is 200 times too large." in said(VACUOUS, FAR | {"bound": 0.001})


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([HOLDS, HOLDS], "applies and holds: it is 10 times too large."),
        ([HOLDS | {"bound": 0.1}], "applies and holds: it is the measured value."),
        ([HOLDS | {"bound": 0.103}], "holds: it is the measured value, or little more."),
        ([HOLDS, HOLDS | {"p": 0.3, "bound": 2.0}], "holds: it is at least 10 times too large."),
        ([HOLDS, VACUOUS], "holds, though in 1 it exceeds the largest loss"),
        ([HOLDS, FAR], "applies in 1 of 2 runs and holds"),
        ([HOLDS, EXCEEDED], "is exceeded in 1, by less than the factor that is proved"),
        ([HOLDS, HOLDS | {"verdict": "violated"}], "Proposition 4.2 is violated"),
        ([HOLDS, DIVERGED], "applies and holds"),
        ([DIVERGED], "the networks diverged"),
        ([EXCEEDED | {"objective": "dropout"}], "Nothing here supports the bound"),
        ([FAR, FAR], "Nothing here supports the bound"),
        ([EXCEEDED | {"objective": "dropout", "bound": 0.0}], "λ = 1 it is 0, below the measured"),
    ],
)
def test_every_verdict_is_told(rows, words):
    assert words in said(*rows)


def test_a_curvature_that_was_not_found_is_not_called_negative():
    """Lanczos may not converge: nobody knows then whether the premise holds."""
    lost = HOLDS | {"objective": "dropout", "bound": NAN, "verdict": "no bound"}
    unknown = said(lost | {"curvature": NAN})
    assert unknown.endswith("at λ = 1 its premises are not known to hold (curvature not found).")
    assert said(lost | {"curvature": -9.0}).endswith("fail at λ = 1 (negative curvature).")
    assert said(lost).endswith("not known to hold (η or C not finite).")


def test_several_strengths_without_a_bound_are_told_together_and_the_kindest_is_compared():
    """One draw whose curvature is negative is enough; rates and draws are averaged apart."""
    dropout = HOLDS | {"objective": "dropout", "verdict": "exceeded", "measured": 0.1}
    lost = dropout | {"bound": NAN, "curvature": -9.0}
    rows = [
        lost | {"strength": 0.01}, lost | {"strength": 0.1}, lost, dropout,
        dropout | {"strength": 10.0, "bound": 0.5}, dropout | {"strength": 10.0, "bound": 1.5},
        dropout | {"strength": 10.0, "bound": 9.0, "p": 0.3, "measured": 0.0},
        dropout | {"strength": 10.0, "bound": 0.1, "ensemble": 16},
    ]  # fmt: skip
    assert said(*rows) == (
        "Nothing here supports the bound of Proposition 4.2: its premises fail at λ ≤ 0.1 "
        "(negative curvature), and at λ = 10 it is at least 10 times too large."
    )
    assert said(dropout).endswith("Proposition 4.2: at λ = 1 it is 10 times too large.")
    assert said(dropout | {"bound": float("inf")}).endswith("at λ = 1 it is infinite.")


def test_that_the_premises_fail_is_said_once():
    """It once read "its premises fail (...), and its premises fail at λ = 1"."""
    saddle = FAR | {"bound": NAN, "curvature": -9.0}
    assert said(saddle) == (
        "Nothing here supports the bound of Proposition 4.2: its premises fail (θ(S^i) close to "
        "θ(S); negative curvature at λ = 1)."
    )
    assert "; curvature not found at λ = 1)." in said(saddle | {"curvature": NAN})


@pytest.mark.parametrize(
    ("betas", "answer"),
    [
        ((NAN, 0.5), "changes its loss by 0.5 at p = 0.3 on average; at p = 0 networks diverged."),
        ((0.5, NAN), "changes its loss by 0.5 at p = 0 on average; at p = 0.3 networks diverged."),
        ((NAN, NAN), "What leaving out one of 8 examples changes is not known: networks diverged."),
    ],
)
def test_what_diverged_changes_no_loss(betas, answer):
    """It once read "changes its loss by not known"."""
    table = pd.DataFrame({"ensemble": 0, "p": [0, 0.3], "beta": betas, "beta_low": NAN})
    assert measured_answer(table, 8).endswith(answer)


def test_the_smallest_and_the_largest_rate_are_told_of_networks_alone():
    """In whatever order rates were measured, and that leaving out was estimated."""
    table = pd.DataFrame(
        {"p": [0.3, 0.0, 0.1, 0.5], "ensemble": [0, 0, 0, 16], "beta": [0.25, 0.5, 0.9, 0.1]}
    ).assign(beta_low=NAN)
    assert measured_answer(table, 8, estimated=True) == (
        "Leaving out one of 8 examples changes its loss by 0.5 at p = 0 and 0.25 at p = 0.3 on "
        "average (estimated)."
    )
    assert measured_answer(table[:1], 8).endswith("by 0.25 at p = 0.3 on average.")


@pytest.mark.parametrize(
    ("rates", "inside", "said"),
    [
        ([0.0, 0.1, 0.5], [0.5], "by 0.5 at p = 0.1"),
        ([0.0, 0.1, 0.2, 0.3, 0.5], [0.5, 0.9, 0.7], "by 0.5 at p = 0.1 and 0.7 at p = 0.3"),
    ],
)
def test_what_is_known_inside_is_said_where_both_ends_diverged(rates, inside, said):
    betas = [NAN, *inside, NAN]
    table = pd.DataFrame({"p": rates, "ensemble": 0, "beta": betas, "beta_low": NAN})
    assert measured_answer(table, 8) == (
        f"Leaving out one of 8 examples changes its loss {said} on average; at p = 0 networks "
        "diverged; at p = 0.5 networks diverged."
    )

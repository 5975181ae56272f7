"""PAC-Bayes with every draw enumerated, and flaws of it that the coin finds."""

import numpy as np
import pytest

from probes.statements.case import case_table
from probes.statements.pac_bayes_cases import SIZES, pac_bayes_cases, posteriors
from theory.binary_kl import largest_excess


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.5])
def test_it_holds_with_an_honest_prior_and_fails_with_one_that_has_seen_the_data(delta):
    table = case_table(pac_bayes_cases(delta))
    honest = table[table["failed"] == ""]
    assert set(honest["verdict"]) == {"holds"}
    assert len(honest) == 3 * 2 * len(SIZES)
    assert set(table.loc[table["failed"] != "", "verdict"]) == {"fails without its premise"}


def test_a_cold_posterior_is_the_best_predictor():
    found = posteriors(50, 1e6)
    ones = np.arange(51)
    assert found.train_loss == pytest.approx(np.minimum(ones, 50 - ones) / 50, abs=1e-12)
    # The prior gives it 1/3, or 1/3 to each of three that are equally good.
    assert set(found.divergence.round(9)) == {0.0, round(np.log(3), 9)}


def chance_of_failing(budget_of, delta=0.05, n=50):
    found = posteriors(n, 3.0)
    bound = found.train_loss + largest_excess(found.train_loss, budget_of(found, n, delta))
    return found.probability[found.risk > bound].sum()


def test_the_bound_as_it_is_stated_is_not_found():
    assert (
        chance_of_failing(lambda f, n, delta: (f.divergence + np.log(2 * n**0.5 / delta)) / n)
        <= 0.05
    )


@pytest.mark.parametrize(
    "budget",
    [
        lambda f, n, delta: f.divergence / n,
        lambda f, n, delta: np.log(1 / delta) / n / 4 + f.divergence * 0,
        lambda f, n, delta: (f.divergence + np.log(2 * n**0.5 / delta)) / n**2,
    ],
    ids=["no confidence", "a quarter of the confidence", "n^2 in place of n"],
)
def test_a_planted_flaw_is_found(budget):
    assert chance_of_failing(budget) > 0.05

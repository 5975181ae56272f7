"""How far estimates can be trusted, where the answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, skew

from probes.results.estimate_agreement import (
    AGREEMENT,
    agreement,
    agreement_over_draws,
    corrected_beta,
)
from tests.probes.tables import INFINITE, NAN

RETRAINED = [0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7, 0.8]


def draw_of(estimated, retrained=RETRAINED, unchecked=(), number=0):
    """Rows of one draw by changes of the loss; those that were not checked are estimated alone."""
    missing = [NAN] * len(unchecked)
    group = pd.DataFrame(
        {"loss_left_out": [*estimated, *unchecked], "loss_retrained": [*retrained, *missing]}
    )
    return (group + 0.25).assign(loss_kept=0.25, draw=number)


def compared(*arguments, **named):
    return agreement(draw_of(*arguments, **named))


def over(*draws):
    numbered = [draw.assign(draw=number) for number, draw in enumerate(draws)]
    return agreement_over_draws(pd.concat(numbered))


def verdict(*draws):
    return over(*draws)["verdict"]


def near(value):
    return pytest.approx(value, nan_ok=True)


def test_perfect_estimates_are_good_for_order_and_size():
    found = compared(RETRAINED, unchecked=[0.9, 1.7])
    assert found == {
        "checked": 8, "pearson": near(1), "spearman": near(1), "beta_estimated": near(0.45),
        "beta_retrained": near(0.45), "bias": near(0), "beta_corrected": near((3.6 + 2.6) / 10),
    }  # fmt: skip
    assert verdict(draw_of(RETRAINED), draw_of(RETRAINED)) == "order and size"


def test_reversed_estimates_are_not_trustworthy_however_right_their_size():
    found = compared([-change for change in RETRAINED])
    assert (found["pearson"], found["spearman"]) == (near(-1), near(-1))
    assert found["bias"] == near(0)
    assert verdict(draw_of([-change for change in RETRAINED])) == "not trustworthy"


def test_estimates_that_are_half_too_large_are_good_for_the_order_and_corrected():
    found = compared([1.5 * change for change in RETRAINED], unchecked=[1.5, 3.0])
    assert found["spearman"] == near(1)
    assert (found["beta_estimated"], found["beta_retrained"]) == (near(0.675), near(0.45))
    assert found["bias"] == near(0.5)
    # Of S: the mean of eight and two estimates, less a third.
    assert found["beta_corrected"] == near((5.4 + 4.5) / 10 / 1.5)
    assert verdict(draw_of([1.5 * change for change in RETRAINED])) == "order alone"


@pytest.mark.parametrize(
    ("factor", "word"), [(1.09, "order and size"), (0.91, "order and size"),
                         (1.11, "order alone"), (0.89, "order alone")],
)  # fmt: skip
def test_a_tenth_of_bias_either_way_is_too_much(factor, word):
    assert verdict(draw_of([factor * change for change in RETRAINED])) == word


def test_a_size_that_draws_do_not_agree_on_is_not_trusted():
    """Means of 5 % of bias, from draws of -10 % and of 20 %."""
    draws = [draw_of([factor * change for change in RETRAINED]) for factor in (0.9, 1.2)]
    assert verdict(*draws) == "order alone"


def test_an_order_that_draws_do_not_agree_on_is_undecided():
    """Rank correlations of 1 and of some 0.8: their mean is above 0.8, their interval is not."""
    swapped = list(RETRAINED)
    swapped[0], swapped[5] = swapped[5], swapped[0]
    assert verdict(draw_of(RETRAINED), draw_of(swapped)) == "undecided"


def test_an_order_that_is_right_in_most_is_not_enough():
    swapped = [0.6, -0.2, 0.3, 0.4, -0.5, 0.1, 0.7, 0.8]
    assert compared(swapped)["spearman"] == near(1 - 6 * 18 / 504)
    assert verdict(draw_of(swapped)) == "not trustworthy"
    nearer = [0.4, -0.2, 0.3, 0.1, -0.5, 0.8, 0.7, 0.6]
    assert compared(nearer)["spearman"] == near(1 - 6 * 16 / 504)
    assert verdict(draw_of(nearer)) == "order and size"


def test_estimates_that_are_all_alike_have_no_order():
    found = compared([0.45] * 8)
    assert (found["pearson"], found["spearman"], found["bias"]) == (near(NAN), near(NAN), near(0))
    assert verdict(draw_of([0.45] * 8)) == "not trustworthy"


def test_of_fewer_than_eight_nothing_is_said():
    few = draw_of(RETRAINED[:7], RETRAINED[:7], unchecked=[0.5] * 9)
    assert agreement(few)["checked"] == 7
    assert verdict(few) == "not known: fewer than 8 checked"
    assert verdict(draw_of(RETRAINED)) == "order and size"


@pytest.mark.parametrize("lost", [NAN, INFINITE])
def test_a_replica_that_diverged_when_it_was_retrained_is_not_checked(lost):
    found = compared([*RETRAINED, 9.0], [*RETRAINED, lost])
    assert found["checked"] == 8
    assert (found["bias"], found["spearman"]) == (near(0), near(1))


@pytest.mark.parametrize("lost", [NAN, INFINITE])
def test_an_estimate_that_is_not_finite_is_not_checked_and_no_part_of_beta(lost):
    found = compared([*RETRAINED, lost], [*RETRAINED, 9.0])
    assert found["checked"] == 8
    assert found["beta_corrected"] == near(0.45)
    over_draws = over(draw_of([*RETRAINED, lost], [*RETRAINED, 9.0]))
    assert (over_draws["beta_corrected"], over_draws["checks"]) == (near(0.45), 8)


def test_draws_are_averaged_with_their_interval():
    found = over(draw_of(RETRAINED), draw_of([1.5 * change for change in RETRAINED]))
    assert [found[name] for name in ("draws", "checked", "checked_most")] == [2, 8, 8]
    assert found["bias"] == near(0.25)
    assert found["bias_low"] == near(0.25 - 12.7062 * 0.25)
    assert found["bias_high"] == near(0.25 + 12.7062 * 0.25)
    assert found["beta_estimated"] == near((0.45 + 0.675) / 2)
    ends = [f"{name}_{end}" for name in AGREEMENT for end in ("low", "high", "draws")]
    counts = {"draws", "checked", "checked_most", "checks", "checks_needed", "verdict"}
    assert set(found) == counts | {*AGREEMENT, *ends}


def test_draws_that_share_half_of_the_data_have_wider_intervals():
    """The variance of a mean of two draws is 1/2 + 1 of the sample's, and not 1/2."""
    draws = [draw_of([factor * change for change in RETRAINED]) for factor in (1.0, 1.5)]
    draws[1]["loss_retrained"] += 0.1
    apart, shared = (over(*(draw.assign(n=8, pool=pool) for draw in draws)) for pool in (80, 16))
    for name in ("bias", "beta_corrected"):
        half, wider = (found[f"{name}_high"] - found[name] for found in (apart, shared))
        assert half > 0
        assert wider == near(3**0.5 * half)


def test_how_many_checks_are_needed_depends_on_the_sizes_of_estimates_and_not_on_their_signs():
    estimated = [0.5] * 7 + [-0.5]
    assert corrected_beta(draw_of(estimated))["checks_needed"] == 0


def test_a_draw_that_diverged_is_left_out_of_the_mean():
    """And of the number of the checked: it says nothing of the others."""
    found = over(draw_of(RETRAINED), draw_of([NAN] * 8, [NAN] * 8))
    assert (found["spearman"], found["spearman_draws"]) == (near(1), 1)
    assert pd.isna(found["spearman_low"])
    assert (found["beta_corrected"], found["beta_corrected_draws"]) == (near(0.45), 1)
    assert [found[name] for name in ("draws", "checked", "checked_most")] == [2, 8, 8]
    assert found["verdict"] == "order and size"


def test_draws_may_have_different_numbers_of_checked():
    found = over(draw_of(RETRAINED), draw_of([*RETRAINED, 9.0], [*RETRAINED, 9.0]))
    assert (found["checked"], found["checked_most"], found["checks"]) == (8, 9, 17)


def test_where_nothing_could_be_checked_nothing_is_said():
    found = over(draw_of([NAN] * 8, [NAN] * 8), draw_of([NAN] * 8, [NAN] * 8))
    assert (found["checked"], found["checks"]) == (0, 0)
    assert all(pd.isna(found[name]) for name in AGREEMENT)
    assert found["verdict"] == "not known: fewer than 8 checked"


def test_draws_share_one_ratio():
    """By hand: checks of mean 0.3 and 0.5, estimated at 0.1 and 0.3, so that R = 2."""
    first = draw_of([0.1] * 4, [0.3] * 4, unchecked=[0.2] * 4)
    second = draw_of([0.3] * 4, [0.5] * 4, unchecked=[0.1] * 4)
    found = corrected_beta(pd.concat([first, second.assign(draw=1)]))
    parts = [0.3 + 2 * (0.15 - 0.1), 0.5 + 2 * (0.2 - 0.3)]
    assert found["beta_corrected"] == near(np.mean(parts))
    error = np.std(parts, ddof=1) / np.sqrt(2)
    assert found["beta_corrected_high"] == near(np.mean(parts) + 12.7062 * error)


def test_the_whole_of_s_retrained_needs_no_estimate():
    """Each draw is then its own beta by retraining, whatever the estimates."""
    generator = np.random.default_rng(0)
    draws = [draw_of(generator.gamma(1.0, size=8), scale * np.ones(8)) for scale in (1.0, 2.0)]
    assert over(*draws)["beta_corrected"] == near(1.5)


def population(generator, tail, draws=8, n=64, checked=16):
    """Draws of S whose changes are log-normal, estimated at half their size with an error.

    The retrained change is twice the estimate, times an error of mean 1; the mean of the estimates
    is 1, so that the expected beta is 2.
    """
    estimated = np.exp(generator.normal(-(tail**2) / 2, tail, size=(draws, n)))
    error = np.exp(generator.normal(-(tail**2) / 8, tail / 2, size=(draws, n)))
    retrained = 2 * estimated * error
    retrained[:, checked:] = NAN
    table = {"loss_left_out": estimated.ravel(), "loss_retrained": retrained.ravel()}
    return pd.DataFrame(table).assign(loss_kept=0.0, draw=np.repeat(np.arange(draws), n))


def intervals(tail, trials=400):
    """Whether the interval of each trial is printed, and whether it holds the truth."""
    generator = np.random.default_rng(0)
    found = pd.DataFrame([corrected_beta(population(generator, tail)) for _ in range(trials)])
    holds = (found["beta_corrected_low"] <= 2) & (found["beta_corrected_high"] >= 2)
    return found["checks"] >= found["checks_needed"], holds


def test_the_interval_of_the_corrected_beta_covers_where_tails_are_light():
    """At a coverage of 93 % so few hold the truth once in a million."""
    printed, holds = intervals(tail=0.4)
    assert printed.mean() > 0.9
    assert holds[printed].sum() >= binom.ppf(1e-6, printed.sum(), 0.93)


def test_where_a_few_examples_make_up_beta_there_is_no_interval():
    """It would hold the truth so seldom once in a million at a coverage of 93 %."""
    printed, holds = intervals(tail=2.0)
    assert not printed.any()
    assert holds.sum() < binom.ppf(1e-6, len(holds), 0.93)


def test_with_checks_enough_the_table_has_the_interval():
    """Where changes are of much the same size, few are needed."""
    draws = [draw_of([size, -size], [size, -size]) for size in (0.1, 0.2, 0.4)]
    found = over(*draws)
    assert found["checks"] >= found["checks_needed"]
    assert 0 < found["beta_corrected"] - found["beta_corrected_low"] < np.inf
    rare = [draw_of([0.1] * 40 + [size], [0.1] * 40 + [size]) for size in (5.0, 6.0)]
    assert np.isnan(over(*rare)["beta_corrected_low"])


def test_the_checks_that_an_interval_needs_are_cochrans():
    estimated = np.random.default_rng(0).exponential(size=32)
    half = draw_of(estimated[:8], estimated[:8], unchecked=estimated[8:])
    found = over(half, half)
    expected = 25 * skew(estimated) ** 2
    assert expected <= found["checks_needed"] < expected + 1
    assert found["checks"] == 16 < found["checks_needed"]
    assert pd.isna(found["beta_corrected_low"])
    assert not pd.isna(corrected_beta(pd.concat([half, half.assign(draw=1)]))["beta_corrected_low"])

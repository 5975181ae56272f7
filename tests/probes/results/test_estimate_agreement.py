"""How far estimates can be trusted, where the answer is known."""

import pandas as pd
import pytest

from probes.results.estimate_agreement import AGREEMENT, agreement, agreement_over_draws
from tests.probes.tables import NAN

RETRAINED = [0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7, 0.8]


def compared(estimated, retrained=RETRAINED, unchecked=()):
    """Agreement of changes of the loss; those that were not checked are estimated alone."""
    missing = [NAN] * len(unchecked)
    group = pd.DataFrame(
        {"loss_left_out": [*estimated, *unchecked], "loss_retrained": [*retrained, *missing]}
    )
    return agreement((group + 0.25).assign(loss_kept=0.25))


def verdict(*draws):
    return agreement_over_draws(pd.DataFrame(draws))["verdict"]


def near(value):
    return pytest.approx(value, nan_ok=True)


def test_perfect_estimates_are_good_for_order_and_size():
    found = compared(RETRAINED, unchecked=[0.9, 1.7])
    assert found == {
        "checked": 8, "pearson": near(1), "spearman": near(1), "beta_estimated": near(0.45),
        "beta_retrained": near(0.45), "bias": near(0), "beta_corrected": near((3.6 + 2.6) / 10),
    }  # fmt: skip
    assert verdict(found, found) == "order and size"


def test_reversed_estimates_are_not_trustworthy_however_right_their_size():
    found = compared([-change for change in RETRAINED])
    assert (found["pearson"], found["spearman"]) == (near(-1), near(-1))
    assert found["bias"] == near(0)
    assert verdict(found) == "not trustworthy"


def test_estimates_that_are_half_too_large_are_good_for_the_order_and_corrected():
    found = compared([1.5 * change for change in RETRAINED], unchecked=[1.5, 3.0])
    assert found["spearman"] == near(1)
    assert found["bias"] == near(0.5)
    # Of S: the mean of eight and two estimates, less a third.
    assert found["beta_corrected"] == near((5.4 + 4.5) / 10 / 1.5)
    assert verdict(found) == "order alone"


@pytest.mark.parametrize(
    ("factor", "word"), [(1.09, "order and size"), (0.91, "order and size"),
                         (1.11, "order alone"), (0.89, "order alone")],
)  # fmt: skip
def test_a_tenth_of_bias_either_way_is_too_much(factor, word):
    assert verdict(compared([factor * change for change in RETRAINED])) == word


def test_an_order_that_is_right_in_most_is_not_enough():
    swapped = [0.6, -0.2, 0.3, 0.4, -0.5, 0.1, 0.7, 0.8]
    assert compared(swapped)["spearman"] == near(1 - 6 * 18 / 504)
    assert verdict(compared(swapped)) == "not trustworthy"
    nearer = [0.4, -0.2, 0.3, 0.1, -0.5, 0.8, 0.7, 0.6]
    assert compared(nearer)["spearman"] == near(1 - 6 * 16 / 504)
    assert verdict(compared(nearer)) == "order and size"


def test_estimates_that_are_all_alike_have_no_order():
    found = compared([0.45] * 8)
    assert (found["pearson"], found["spearman"], found["bias"]) == (near(NAN), near(NAN), near(0))
    assert verdict(found) == "not trustworthy"


def test_of_fewer_than_eight_nothing_is_said():
    found = compared(RETRAINED[:7], RETRAINED[:7], unchecked=[0.5] * 9)
    assert found["checked"] == 7
    assert verdict(found) == "not known: fewer than 8 checked"
    assert verdict(compared(RETRAINED)) == "order and size"


def test_a_replica_that_diverged_when_it_was_retrained_is_not_checked():
    found = compared([*RETRAINED, 9.0], [*RETRAINED, NAN])
    assert found["checked"] == 8
    assert (found["bias"], found["spearman"]) == (near(0), near(1))


def test_draws_are_averaged_with_their_interval():
    larger = compared([1.5 * change for change in RETRAINED])
    found = agreement_over_draws(pd.DataFrame([compared(RETRAINED), larger]))
    assert (found["draws"], found["checked"]) == (2, 8)
    assert found["bias"] == near(0.25)
    assert found["bias_low"] == near(0.25 - 12.7062 * 0.25)
    assert found["bias_high"] == near(0.25 + 12.7062 * 0.25)
    assert found["beta_estimated"] == near((0.45 + 0.675) / 2)
    ends = [f"{name}_{end}" for name in AGREEMENT for end in ("low", "high")]
    assert set(found) == {"draws", "checked", "verdict", *AGREEMENT, *ends}


def test_a_draw_that_diverged_is_left_out_of_the_mean():
    lost = dict.fromkeys(AGREEMENT, NAN) | {"checked": 8}
    found = agreement_over_draws(pd.DataFrame([compared(RETRAINED), lost]))
    assert found["spearman"] == near(1)
    assert pd.isna(found["spearman_low"])

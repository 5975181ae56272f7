"""Better, worse, equal or undecided: as the paired tests say, for all methods together."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from probes.metrics.rival_comparison import below_chance, compare_methods

DRAWS = np.arange(10)
#: Spread evenly around 0, so that means are what they are said to be.
NOISE = stats.norm.ppf((DRAWS + 0.5) / 10)
LORA = 1.0 + 0.2 * np.sin(DRAWS)


def table(**methods):
    return pd.DataFrame(
        [
            {"method": method, "draw": draw, "test_loss": loss}
            for method, losses in ({"LoRA": LORA} | methods).items()
            for draw, loss in enumerate(losses)
        ]
    )


FOUND = compare_methods(
    table(
        good=LORA - 0.1 + 0.02 * NOISE, bad=LORA + 0.1 + 0.02 * NOISE,
        same=LORA + 0.001 * NOISE, little=LORA - 0.005 + 0.001 * NOISE, noisy=LORA + 0.3 * NOISE,
    ),
    "LoRA",
    margin=0.02,
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "verdict"),
    [("good", "better"), ("bad", "worse"), ("same", "equal"), ("little", "equal"),
     ("noisy", "undecided")],
)  # fmt: skip
def test_verdicts(method, verdict):
    assert FOUND.set_index("method").loc[method, "verdict"] == verdict


def test_differences_are_paired_and_corrected_by_holm():
    differences = -0.1 + 0.02 * NOISE
    two = compare_methods(
        table(good=LORA + differences, bad=LORA + 0.5 + 0.01 * NOISE), "LoRA", 0.02
    )
    found = two.set_index("method").loc["good"]
    assert found["difference"] == pytest.approx(-0.1)
    interval = stats.ttest_1samp(differences, 0).confidence_interval()
    assert [found["difference_low"], found["difference_high"]] == pytest.approx(list(interval))
    # Of two hypotheses the smaller p-value, that of "bad", counts twice and this one once.
    assert found["difference_holm"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


def test_equality_is_corrected_by_holm_and_paired_by_draw_whatever_the_order_of_the_rows():
    """Of two that are as nearly equal, the smaller p-value counts twice."""
    rows = table(one=LORA + 0.018 * NOISE, other=LORA + 0.020 * NOISE)
    alone = [
        compare_methods(rows[rows["method"].isin(["LoRA", one])], "LoRA", 0.02)["equivalent_holm"]
        for one in ("one", "other")
    ]
    shuffled = rows.sample(frac=1, random_state=0, ignore_index=True)
    both = compare_methods(shuffled, "LoRA", 0.02).set_index("method")
    assert both.loc["one", "equivalent_holm"] == pytest.approx(2 * float(alone[0].iloc[0]))
    assert both.loc["other", "equivalent_holm"] == pytest.approx(
        max(2 * float(alone[0].iloc[0]), float(alone[1].iloc[0]))
    )


@pytest.mark.parametrize("unit", [1 / 64, 64])
def test_verdicts_do_not_depend_on_the_unit_of_the_loss(unit):
    """The margin is a share of the reference's loss."""
    rows = table(bad=LORA + 0.1 + 0.02 * NOISE, same=LORA + 0.02 * NOISE, little=LORA - 0.015)
    here = rows.assign(test_loss=rows["test_loss"] * unit)
    found, expected = (compare_methods(some, "LoRA", 0.02) for some in (here, rows))
    p_values = ["difference_holm", "equivalent_holm"]
    np.testing.assert_allclose(found[p_values], expected[p_values])
    assert found["verdict"].tolist() == ["worse", "equal", "equal"]


def test_a_method_that_is_the_reference_itself_is_equal():
    (row,) = compare_methods(table(twin=LORA), "LoRA", 0.02).to_dict("records")
    assert row["verdict"] == "equal"


def test_what_was_not_measured_on_a_draw_is_left_out():
    rows = table(good=LORA - 0.1 + 0.02 * NOISE)
    rows = rows[(rows["method"] == "LoRA") | (rows["draw"] < 6)]
    (row,) = compare_methods(rows, "LoRA", 0.02).to_dict("records")
    assert row["difference_draws"] == 6
    expected = (-0.1 + 0.02 * NOISE)[:6].mean()
    assert row["difference"] == pytest.approx(expected)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_what_diverged_in_one_draw_wins_nothing(lost):
    losses = LORA - 0.1 + 0.02 * NOISE
    losses[3] = lost
    (row,) = compare_methods(table(good=losses), "LoRA", 0.02).to_dict("records")
    assert (row["verdict"], row["difference_draws"], row["draws"]) == ("diverged", 9, 10)
    assert np.isnan(row["difference_holm"])


@pytest.mark.parametrize(("chance", "verdict"), [(2.0, True), (0.95, False), (np.nan, None)])
def test_the_better_of_two_is_compared_with_the_best_constant(chance, verdict):
    rows = table(good=LORA - 0.1 + 0.02 * NOISE, best=LORA - 10).assign(chance_risk=chance)
    assert below_chance(rows, ["good", "LoRA"]) is verdict


def test_one_that_is_better_than_the_constant_is_enough():
    rows = table(good=LORA - 0.1 + 0.002 * NOISE).assign(chance_risk=np.tile(LORA - 0.05, 2))
    assert below_chance(rows, ["good", "LoRA"]) is True
    assert below_chance(rows, ["LoRA"]) is False


def test_without_the_loss_of_a_constant_nothing_is_said_of_it():
    assert below_chance(table(), ["LoRA"]) is None
    assert below_chance(table(lost=[np.nan] * 10).assign(chance_risk=2.0), ["lost"]) is None


@pytest.mark.parametrize("lost", [np.nan, np.inf])
@pytest.mark.parametrize("away", [0.1, 0.0, -0.1])
def test_where_the_reference_diverged_a_method_may_win_and_neither_loses_nor_equals(lost, away):
    """The draw in which the reference is the worst is no draw of the difference."""
    rows = table(other=LORA + away + 0.002 * NOISE, both=np.where(DRAWS == 3, lost, LORA + away))
    rows.loc[(rows["method"] == "LoRA") & (rows["draw"] == 3), "test_loss"] = lost
    found = compare_methods(rows, "LoRA", 0.02).set_index("method")
    assert found.loc["other", "verdict"] == ("better" if away < 0 else "undecided")
    assert np.isfinite(found.loc["other", "difference_holm"]) == (away < 0)
    assert found.loc["both", "verdict"] == "diverged"


def test_a_few_equal_losses_do_not_show_that_anything_was_learned():
    rows = table(good=LORA).assign(chance_risk=lambda rows: rows["test_loss"] + 0.5)
    for draws, shown in ((2, False), (5, False), (6, True)):
        assert below_chance(rows[rows["draw"] < draws], ["good", "LoRA"]) is shown


def test_where_draws_share_examples_neither_a_difference_nor_equality_is_shown_as_easily():
    rows = table(good=LORA - 0.1 + 0.1 * NOISE, same=LORA + 0.015 * NOISE).assign(n=32)
    apart, shared = (
        compare_methods(rows.assign(pool=pool), "LoRA", 0.02).set_index("method")
        for pool in (1000, 36)
    )
    lost = rows.assign(chance_risk=rows["test_loss"] + 0.1 + 0.1 * NOISE[rows["draw"]])
    shown = [below_chance(lost.assign(pool=pool), ["good"]) for pool in (1000, 36)]
    assert shown == [True, False]
    assert apart["verdict"].tolist() == ["better", "equal"]
    assert shared["verdict"].tolist() == ["undecided", "undecided"]


def test_the_least_mean_counts_however_few_draws_it_is_over():
    losses = np.where(DRAWS < 3, 0.9 + 0.01 * NOISE, np.nan)
    rows = table(few=losses).assign(chance_risk=0.5 + 0.01 * NOISE[np.r_[DRAWS, DRAWS]])
    rows.loc[rows["method"] == "LoRA", "test_loss"] = 0.4
    assert below_chance(rows, ["LoRA", "few"])

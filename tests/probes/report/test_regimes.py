"""What holds in both regimes, and what in one of them only."""

from dataclasses import replace

import pandas as pd
import pytest

from probes.ablation import AblationResult
from probes.generalization import GapResult
from probes.report.claims import (
    UNDECIDED,
    of_ablation,
    of_calibration,
    of_coverage,
    of_curves,
    of_ensemble,
    of_generalization,
    of_information,
    of_matched,
    of_matched_information,
    of_network_comparison,
    of_rivals,
    of_sensitivity,
    of_stability,
)
from probes.report.regimes import Regime, alike, compare
from probes.results.mask_kind_comparison import NOISY, kind_name
from tests.probes.report.tables import (
    coverage_result,
    information_result,
    matched_information_result,
    network_comparison_result,
    rivals_result,
)
from tests.probes.tables import (
    NAN,
    ablation_result,
    calibration_result,
    curves_result,
    ensemble_result,
    gap_result,
    matched_result,
    sensitivity_result,
    stability_cells,
    stability_result,
)

FITS = Regime("digits", 1e-3, 64, 0.07, 0.72, 0.71, overfits=False)
OVERFITS = Regime("digits", 5e-3, 64, 0.0007, 1.19, 0.76, overfits=True)


def test_what_is_alike_holds_in_both_and_what_is_not_where_it_does():
    claims = {
        FITS: {"β": {"p = 0.1": "smaller", "p = 0.3": "smaller", "p = 0.5": UNDECIDED}},
        OVERFITS: {"β": {"p = 0.1": "smaller", "p = 0.3": "larger", "p = 0.5": "larger"}},
    }
    assert compare(claims) == [
        "β: smaller (p = 0.1) in both; smaller (p = 0.3) only where it does not; larger (p = 0.3, "
        "0.5) only where it overfits; not told apart (p = 0.5) only where it does not."
    ]


def test_outcomes_that_are_the_same_in_both_are_counted():
    claims = {
        FITS: {"β": {"p = 0.1": "smaller", "p = 0.3": UNDECIDED}, "gap": {"p = 0.1": "larger"}},
        OVERFITS: {"β": {"p = 0.1": "smaller", "p = 0.3": UNDECIDED}, "gap": {}},
    }
    assert alike(claims) == (
        "The outcome is the same in both regimes in 2 of 3 comparisons; undecided or not "
        "measured: 1 of these."
    )


@pytest.mark.parametrize(
    "untold", ["not told apart", "not shown", "not told apart (in 3 of 4 draws)"]
)
def test_what_tells_nothing_in_some_draws_tells_nothing(untold):
    told = {"β": {"p = 0.1": untold, "p = 0.3": "larger (in 3 of 4 draws)"}}
    claims = {FITS: told, OVERFITS: told}
    assert alike(claims) == (
        "The outcome is the same in both regimes in 2 of 2 comparisons; undecided or not "
        "measured: 1 of these."
    )


def test_of_what_was_not_measured_nothing_is_said():
    told = {"β": {"p = 0.1": "smaller"}, "gap": {}}
    assert compare({FITS: told, OVERFITS: told}) == ["β: smaller (p = 0.1) in both."]
    assert " 1 of 1 comparison;" in alike({FITS: told, OVERFITS: told})


def test_items_of_a_kind_name_it_once():
    items = ["n = 16, p = 0.1", "n = 16, p = 0.3", "n = 32, p = 0.1", "halves", "p = 0.3, no masks"]
    outcomes = dict.fromkeys(items, "smaller")
    assert compare({FITS: {"β": outcomes}, OVERFITS: {"β": outcomes}}) == [
        "β: smaller (n = 16, p = 0.1, 0.3; n = 32, p = 0.1; halves; p = 0.3, no masks) in both."
    ]


def test_a_conclusion_that_reverses_is_never_told_as_one():
    (said,) = compare({FITS: {"β": {"x": "smaller"}}, OVERFITS: {"β": {"x": "larger"}}})
    assert "in both" not in said


def test_regimes_of_the_same_kind_are_told_apart_by_their_learning_rate():
    other = replace(FITS, lr=2e-3)
    (said,) = compare({FITS: {"β": {"x": "smaller"}}, other: {"β": {"x": "larger"}}})
    assert said == (
        "β: smaller (x) only at learning rate 0.001; larger (x) only at learning rate 0.002."
    )


def test_what_was_measured_in_one_regime_is_not_said_of_both():
    (said,) = compare({FITS: {"β": {"x": "smaller"}}, OVERFITS: {"β": {}}})
    assert said == "β: smaller (x) only where it does not."


@pytest.mark.parametrize(
    ("losses", "overfits"),
    [
        ([(1.0, 0.5, 0.40, 0.60), (1.0, 0.5, 0.42, 0.63)], True),
        ([(1.0, 0.5, 0.40, 0.41), (1.0, 0.5, 0.42, 0.43)], False),
        ([(1.0, 0.5, 0.40, 0.40), (1.0, 0.5, 0.42, 0.42)], False),
        ([(1.0, 0.5, 0.40, 0.41), (1.0, 0.4, 0.42, 5.0)], False),
    ],
)
def test_a_network_overfits_where_its_test_loss_ends_above_its_best(losses, overfits):
    """By more than a twentieth, and not by chance."""
    curves = {("LoRA", 0.0, draw): loss for draw, loss in enumerate(losses)}
    assert Regime.of(curves_result(curves)).overfits == overfits


@pytest.mark.parametrize(
    "losses",
    [
        [(1.0, 0.5, NAN, NAN)] * 8,
        [(1.0, 0.5, 0.5, 0.6)] + [(1.0, 0.5, NAN, NAN)] * 7,
    ],
)
def test_a_network_that_diverged_neither_overfits_nor_not(losses):
    result = curves_result({("LoRA", 0.0, draw): loss for draw, loss in enumerate(losses)})
    assert Regime.of(result).overfits is None
    assert "diverges" in str(Regime.of(result))
    assert of_curves(result) == {"test loss at the end": {"LoRA, p = 0": "not measured"}}


# What each result claims


def test_the_losses_of_a_network_that_diverged_are_not_known():
    regime = Regime("digits", 0.03, 64, NAN, float("inf"), 1.7e29, None)
    assert str(regime) == (
        "learning rate 0.03: the network without dropout diverges at n = 64 (train loss not known, "
        "test loss not known, lowest during training 1.7e+29)"
    )


def test_stability_is_compared_with_no_dropout():
    plain = stability_cells(0.0, *((0.5 + 0.01 * i, (0.4, 0.4 + 0.01 * i)) for i in range(4)))
    dropped = stability_cells(0.3, *((0.4 + 0.011 * i, (0.2, 0.2 + 0.011 * i)) for i in range(4)))
    claims = of_stability(stability_result(*plain, *dropped))
    assert claims["β against p = 0"] == {"p = 0.3": "smaller"}
    assert claims["test loss against p = 0"] == {"p = 0.3": "smaller"}


def test_the_gap_is_compared_with_no_dropout_at_every_size():
    """At n = 32 dropout has a gap that is larger by 0.1, at n = 16 one that is smaller."""

    def cells(p, loss, slope):
        return stability_cells(p, *((loss + slope * i, (0.1,)) for i in range(4)))

    plain = cells(0.0, 0.5, 0.01)
    rows = [
        gap_result(*plain, *cells(0.3, loss, 0.011), n=n).rows for n, loss in ((16, 0.4), (32, 0.6))
    ]
    assert of_generalization(GapResult(pd.concat(rows)))["the gap against p = 0"] == {
        "n = 16, p = 0.3": "smaller", "n = 32, p = 0.3": "larger",
    }  # fmt: skip


def test_of_one_draw_nothing_is_told_apart():
    plain, dropped = (stability_cells(p, (0.5 - p, (0.4, 0.4))) for p in (0.0, 0.3))
    assert of_stability(stability_result(*plain, *dropped))["β against p = 0"] == {
        "p = 0.3": UNDECIDED
    }


def test_a_rate_that_diverged_was_not_measured():
    plain = stability_cells(0.0, (0.5, (0.4, 0.4)), (0.5, (0.4, 0.4)))
    lost = stability_cells(0.3, (NAN, (NAN, NAN)), (NAN, (NAN, NAN)))
    claims = of_stability(stability_result(*plain, *lost))
    assert claims["β against p = 0"] == {"p = 0.3": "not measured"}


def test_of_draws_that_are_lost_the_claim_says_how_many_tell():
    """Draws in which dropout does not diverge may be the easier ones."""
    plain = stability_cells(0.0, *((0.5 + 0.01 * i, (0.4, 0.4 + 0.01 * i)) for i in range(4)))
    dropped = stability_cells(
        0.3, *((0.4 + 0.011 * i, (0.2, 0.2 + 0.011 * i)) for i in range(3)), (NAN, (NAN, NAN))
    )
    claims = of_stability(stability_result(*plain, *dropped))
    assert claims["test loss against p = 0"] == {"p = 0.3": "smaller (in 3 of 4 draws)"}


def test_matched_claims_are_its_verdicts():
    lost = [(NAN, NAN), (NAN, NAN)]
    result = matched_result(
        {0.3: [(0.5, 0.10), (0.5, 0.12)]},
        {"early stopping": [(0.2, 0.4), (0.2, 0.4402)], "shrunk update": lost},
    )
    claims = of_matched(result)
    topic = "β on made up at equal train loss, against "
    assert claims[topic + "early stopping"] == {"p = 0.3": "dropout has less"}
    assert claims[topic + "shrunk update"] == {"p = 0.3": "not reached"}


def test_the_largest_ensemble_is_compared():
    result = ensemble_result(
        {(0.1, 0): (0.50, 0.52, 0.51), (0.1, 2): (0.1, 0.1, 0.1), (0.1, 16): (0.60, 0.62, 0.612)}
    )
    assert of_ensemble(result) == {
        "test loss of 16 members against expected weight": {"p = 0.1": "larger"}
    }


def test_calibration_is_compared_at_the_end():
    """Columns: step, validation and test loss, accuracy, confidence, calibration error."""
    result = calibration_result(
        {
            (0.0, "no masks", 0): [
                (0, 0.4, 0.5, 0.90, 0.70, 0.01), (40, 0.4, 0.5, 0.70, 0.90, 0.20),
            ],
            (0.0, "no masks", 1): [
                (0, 0.4, 0.5, 0.92, 0.70, 0.02), (40, 0.4, 0.5, 0.72, 0.921, 0.21),
            ],
            (0.3, "ensemble", 0): [(40, 0.4, 0.5, 0.90, 0.90, 0.10)],
            (0.3, "ensemble", 1): [(40, 0.4, 0.5, 0.90, 0.90, 0.111)],
        }
    )  # fmt: skip
    claims = of_calibration(result)
    assert claims["calibration error at the end against p = 0"] == {"p = 0.3, ensemble": "smaller"}
    assert claims["confidence at the end against accuracy"]["p = 0, no masks"] == "larger"
    assert claims["confidence at the end against accuracy"]["p = 0.3, ensemble"] == UNDECIDED


def test_ablation_and_sensitivity_are_compared_with_their_references():
    ablation = ablation_result(
        {
            ("dropout when", "never", 0.3): (0.50, 0.52, 0.51),
            ("dropout when", "training alone", 0.3): (0.40, 0.421, 0.41),
        }
    )
    assert of_ablation(ablation)["test loss, dropout when, against “never”"] == {
        "training alone": "smaller"
    }
    sensitivity = sensitivity_result(
        {
            (0.1, 1, "expected weight"): (0.40, 0.42, 0.41),
            (0.1, 8, "expected weight"): (0.50, 0.521, 0.51),
        }
    )
    claims = of_sensitivity(sensitivity)
    assert claims["test loss with 8 mask pairs a step against 1"] == {"p = 0.1": "larger"}


def test_numbers_of_mask_pairs_are_compared_at_the_same_rate():
    losses = {
        (p, samples, "expected weight"): (level, level + 0.02, level + 0.01)
        for p, samples, level in ((0.1, 1, 0.4), (0.1, 8, 0.5), (0.3, 1, 0.9), (0.3, 8, 0.8))
    }
    losses[0.3, 8, "expected weight"] = (0.8, 0.821, 0.81)
    losses[0.1, 8, "expected weight"] = (0.5, 0.521, 0.51)
    claims = of_sensitivity(sensitivity_result(losses))
    assert claims["test loss with 8 mask pairs a step against 1"] == {
        "p = 0.1": "larger", "p = 0.3": "smaller",
    }  # fmt: skip


def test_without_the_network_without_dropout_nothing_is_compared_with_it():
    claims = of_stability(stability_result(*stability_cells(0.1, (1.0, [2.0]), (1.0, [2.1]))))
    assert not [topic for topic in claims if topic.endswith("against p = 0")]


def test_masks_of_other_kinds_are_told_where_they_are_other_masks():
    rows = [
        {"part": "mask kind", "variant": kind_name(kind, N), "kind": kind, "samples": N, "p": p,
         "draw": draw} | dict.fromkeys(("beta", "gap", "test_loss"), loss + draw)
        for p in (0.3, 0.5)
        for draw in range(4)
        for kind, N, loss in [
            ("none", 1, 3.0 + draw / 100), ("mean", 1, 2.5), *((kind, N, 1.0)
            for kind in NOISY for N in (1, 2)),
        ]
    ]  # fmt: skip
    said = of_ablation(AblationResult(pd.DataFrame(rows)))
    kinds = said["masks of other kinds, within 25% of dropout’s effect"]
    two_point = {
        item: outcome for item, outcome in kinds.items() if item.startswith("β, Two-point, N = 1")
    }
    assert two_point == {"β, Two-point, N = 1 at p = 0.3": "shown"}
    assert kinds["β, Gaussian, N = 1 at p = 0.5"] == "shown"
    assert kinds["β, mean alone at p = 0.5"] == "not shown"


def test_bounds_are_counted_and_compared_with_those_without_dropout():
    bounds = {("e-CMI", 16, p): 0.5 for p in (0.0, 0.3)}
    bounds |= {("ld-CMI", 16, 0.0): 0.5, ("ld-CMI", 16, 0.3): 0.4, ("Theorem 4.4", 16, 0.0): 5.0}
    claims = of_information(information_result(bounds))
    assert claims["bounds on the gap, over all n and p"] == {
        "e-CMI": "below the largest loss in 2 of 2 settings",
        "ld-CMI": "below the largest loss in 2 of 2 settings",
        "Theorem 4.4": "below the largest loss in 0 of 1 setting",
    }
    assert claims["the bound “ld-CMI” against p = 0"] == {"n = 16, p = 0.3": "smaller"}
    assert claims["the mean gap over selections against p = 0"] == {"n = 16, p = 0.3": UNDECIDED}
    assert "the bound “binary kl” against p = 0" not in claims


def test_matched_bounds_are_compared_at_equal_fit():
    claims = of_matched_information(matched_information_result(0.7))
    assert claims["binary kl at equal train error"] == {
        "shrunk update at p = 0.3": "control has less"
    }
    assert set(claims) == {
        f"{name} at equal {at}"
        for name in ("gap", "ld-CMI", "binary kl")
        for at in ("train loss", "train error")
    }


def test_bounds_for_networks_are_told_by_where_they_say_something():
    """An error of 0.1 and less than 0.4 more; 10 at n = 64 is that at a larger n alone."""
    bounds = {"binary kl": 0.2, "ld-CMI": 0.6, "Theorem 4.4": 10.0}
    claims = of_network_comparison(network_comparison_result(bounds))
    assert claims == {
        "bounds on the 0-1 loss that say something": {
            "binary kl": "at an n measured",
            "ld-CMI": "at no n looked at",
            "Theorem 4.4": "at a larger n alone",
        }
    }


def test_rivals_are_compared_where_they_differ_from_the_masks():
    """Without masks the one network is the mask ensemble."""
    alike = [(0.05, 0.3, 0.6), (0.05, 0.3, 0.6)]
    claims = of_rivals(
        rivals_result(
            {
                (0.0, "masks"): alike,
                (0.0, "one network"): alike,
                (0.0, "starts"): [(0.02, 0.3, 0.6), (0.0201, 0.3, 0.6)],
                (0.3, "masks"): alike,
                (0.3, "one network"): [(0.09, 0.3, 0.6), (0.0901, 0.3, 0.6)],
            }
        )
    )
    assert claims["change of a probability against 4 masks"] == {
        "starts at p = 0": "smaller", "one network at p = 0.3": "larger"
    }  # fmt: skip


def test_coverage_is_told_for_the_guaranteed_and_the_plain_sets():
    full, none = [(1.0, 2.0), (1.0, 2.0)], [(0.0, 1.0), (0.0, 1.0)]
    claims = of_coverage(
        coverage_result(
            {(p, "jackknife+"): full for p in (0.0, 0.3)} | {(0.0, "jackknife"): full}
            | {(0.3, "jackknife"): none}
        )
    )  # fmt: skip
    assert claims["coverage of jackknife+ against 1 - 2α"] == {
        "p = 0": "no contradiction", "p = 0.3": "no contradiction"
    }  # fmt: skip
    assert claims["coverage of jackknife against 1 - α"]["p = 0.3"] == "covers too seldom"
    assert claims["size with jackknife+ against p = 0"] == {"p = 0.3": UNDECIDED}

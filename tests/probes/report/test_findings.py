"""What the report concludes, on tables whose verdict is known."""

from dataclasses import replace

from probes.information import InformationResult
from probes.report import findings
from probes.report.claims import of_network_comparison
from probes.report.findings import Finding
from probes.report.regimes import Regime
from tests.probes.report.tables import (
    coverage_result,
    information_result,
    matched_information_result,
    network_comparison_result,
    rivals_result,
)
from tests.probes.tables import (
    INFINITE,
    NAN,
    WHERE,
    ablation_result,
    calibration_result,
    comparison_result,
    cost_result,
    curves_result,
    ensemble_result,
    finetune_result,
    gap_result,
    matched_result,
    sensitivity_result,
    stability_cells,
    stability_result,
    tuned_result,
    verify_result,
)

APART, CLOSE = (0.40, 0.42), (0.50, 0.52)
#: Beta of dropout is 0.10 and 0.12 in two draws, at a train loss of 0.5.
DROPPED = [(0.5, 0.10), (0.5, 0.12)]
#: Beta of a control at train losses 0 and 1 in two draws: in between it is more, less, neither.
MORE, LESS, ALIKE = (
    [(0.2, 0.4), (0.2, 0.4402)],
    [(0.0, 0.1), (0.0, 0.138)],
    [(0.0, 0.18), (0.0, 0.26)],
)
#: Beta of a control that was measured nowhere.
LOST = [(NAN, NAN), (NAN, NAN)]


def cells(p, *gaps, changes=(0.1, 0.3), **more):
    """Cells of the stability probe at one rate, whose train loss is 0.25: one a gap."""
    return stability_cells(p, *((0.25 + gap, changes) for gap in gaps), **more)


def diverged(p, draw, **more):
    """A cell whose network trained on S diverged, and all others with it."""
    lost = {"lipschitz": 0.0, "curvature": NAN, "largest_loss": NAN}
    return {"p": p, "draw": draw, "train_loss": NAN, "test_loss": NAN, "changes": (NAN, NAN)} | (
        lost | more
    )


# Stability


def test_stability_names_beta_and_gap_at_the_first_and_the_last_rate():
    middle = cells(0.3, 0.9, 0.9, changes=(0.9, -0.9))
    last = cells(0.5, 0.1, 0.12, changes=(0.0, -0.1))
    found = findings.of_stability(stability_result(*cells(0.0, 0.2, 0.22), *middle, *last))
    assert found.question == "How stable is LoRA Dropout, and what do the bounds say?"
    assert found.setting == (
        "made up, n = 10, 2 draws of S, objective dropout, rank 2, 40 steps, learning rate 0.001"
    )
    assert found.verdicts[0].startswith(
        "Leaving out one of 10 examples changes its loss by 0.2 at p = 0 and 0.05 at p = 0.5 on "
    )
    assert found.verdicts[1] == "The gap is 0.21 ± 0.13 at p = 0 and 0.11 ± 0.13 at p = 0.5."


def test_the_first_and_the_last_rate_are_the_least_and_the_largest_in_whatever_order():
    rates = [cells(p, gap, gap + 0.02) for p, gap in ((0.3, 0.9), (0.5, 0.1), (0.0, 0.2))]
    found = findings.of_stability(stability_result(*(cell for rate in rates for cell in rate)))
    assert found.verdicts[1] == "The gap is 0.21 ± 0.13 at p = 0 and 0.11 ± 0.13 at p = 0.5."


def test_stability_does_not_count_ensembles():
    """Two draws, three values of lambda; at n = 1000 with C = 1 all three verdicts are known."""
    ensembles = [one | {"ensemble": 4} for one in cells(0.5, 9.0, 9.0, changes=(9.0, 9.0))]
    found = findings.of_stability(stability_result(*cells(0.0, 0.2, 0.22), *ensembles, n=1000))
    assert found.verdicts[1:] == [
        "The gap is 0.21 ± 0.13 at p = 0.",
        "The bounds, over all cells and λ: Lemma 4.3: not exceeded in 2 of 2; "
        "Proposition 4.2: exceeded in 6 of 6; Theorem 4.4: not exceeded in 6 of 6.",
        "14% of the bounds are at least C, the largest loss: they say nothing.",
    ]


def test_stability_says_where_assumptions_fail_and_that_a_diverged_run_was_not_measured():
    saddle = cells(0.0, 0.2, changes=(0.1, 0.3), curvature=-1.0)
    found = findings.of_stability(stability_result(*saddle, diverged(0.0, 1), n=1000))
    assert found.verdicts[1:] == [
        "The gap is 0.2 in 1 of 2 draws at p = 0.",
        "The bounds, over all cells and λ: Lemma 4.3: not exceeded in 1 of 2, not measured in 1 of "
        "2; Proposition 4.2: no bound in 3 of 6, not measured in 3 of 6; "
        "Theorem 4.4: no bound in 3 of 6, not measured in 3 of 6.",
        "100% of the bounds are at least C, the largest loss: they say nothing.",
    ]


def test_where_all_networks_diverged_nothing_is_said_of_stability():
    found = findings.of_stability(stability_result(diverged(0.0, 0), diverged(0.3, 0)))
    assert found.verdicts == [findings.NOTHING]
    assert found.question == findings.QUESTION
    assert found.tables


def test_a_penalty_that_is_exceeded_is_violated_where_it_was_minimised():
    known = {"objective": "penalty", "strength": 1.0, "audit_bounded": True}
    minimised = {"audit_gradient_norm": 0.0, "audit_gradient_norm_left_out": 0.0}
    some = cells(0.0, 0.2, 0.22, **known)
    found = findings.of_stability(
        stability_result(*(one | minimised for one in some), some[0] | {"draw": 2}, n=1000)
    )
    assert found.verdicts[2] == (
        "The bounds, over all cells and λ: Lemma 4.3: vacuous in 3 of 3; "
        "Proposition 4.2: violated in 2 of 3, assumption failed in 1 of 3; "
        "Theorem 4.4: holds in 2 of 3, assumption failed in 1 of 3."
    )


# Dropout against its controls


def matched_answers(dropout, controls):
    found = findings.of_matched(matched_result(dropout, controls))
    start = "At equal train loss, β against "
    answer, *verdicts = found.verdicts
    assert answer.startswith("At equal train loss, dropout has a smaller β than a network without")
    assert all(verdict.startswith(start) for verdict in verdicts)
    pairs = (verdict.removeprefix(start).split(": ", 1) for verdict in verdicts)
    return dict(pairs)


def test_every_control_is_answered_for():
    controls = {"early stopping": MORE, "weight decay": LESS, "learning rate": ALIKE}
    controls["shrunk update"] = LOST
    assert matched_answers({0.3: DROPPED}, controls) == {
        "early stopping": "dropout has less at p = 0.3.",
        "weight decay": "the control has less at p = 0.3.",
        "learning rate": "undecided at p = 0.3.",
        "shrunk update": "not reached at p = 0.3.",
    }


def test_rates_with_the_same_answer_stand_together():
    worse, beyond = [(0.5, 0.9), (0.5, 0.92)], [(1.5, 0.1), (1.5, 0.12)]
    dropout = {0.1: DROPPED, 0.3: worse, 0.5: DROPPED, 0.7: beyond}
    assert matched_answers(dropout, {"early stopping": MORE})["early stopping"] == (
        "dropout has less at p = 0.1, 0.5; the control has less at p = 0.3; not reached at p = 0.7."
    )


def test_the_comparison_names_its_task():
    found = findings.of_matched(matched_result({0.3: DROPPED}, {"early stopping": MORE}))
    assert found.question == "On made up, does LoRA Dropout buy stability beyond fitting less?"
    assert found.setting == WHERE.format(2)
    assert [table.title.split("\n")[0] for table in found.tables] == [
        "Does LoRA Dropout buy stability β beyond fitting less?",
        "Does LoRA Dropout buy generalization gap beyond fitting less?",
    ]


def test_of_two_draws_one_that_diverged_leaves_nothing_to_decide():
    dropout = {0.1: [(0.5, 0.1), (NAN, NAN)], 0.3: [(0.5, 0.1), (INFINITE, NAN)]}
    assert matched_answers(dropout, {"early stopping": MORE})["early stopping"] == (
        "not reached at p = 0.1, 0.3."
    )


def test_of_three_draws_two_that_did_not_diverge_decide():
    answers = matched_answers({0.1: [*DROPPED, (NAN, NAN)]}, {"early stopping": [*MORE, (0, 0)]})
    assert answers["early stopping"] == "dropout has less at p = 0.1."


# The gap


def test_the_gap_counts_where_theorem_4_4_says_nothing():
    """Of eight cells, two have a flat start and four a C that is too small for the bound."""
    small = cells(0.0, 0.01, 0.01, 0.01, 0.01, largest_loss=0.01, changes=(0.0, 0.0))
    found = findings.of_generalization(
        gap_result(*small, *cells(0.1, 0.2, 0.2, curvature=-9.0), *cells(0.5, 0.2, 0.2), n=1000)
    )
    assert found.question == "How does the gap change with n and p?"
    assert found.setting == (
        "made up, rank 2, 40 steps, learning rate 0.001, 4 draws of S, objective dropout"
    )
    assert found.verdicts[0].startswith("Test loss less train loss is 0")
    assert found.verdicts[1:] == [
        "Over all cells and λ, 67% of the bounds of Theorem 4.4 are at least C: these say nothing. "
        "Verdicts: not exceeded in 18 of 24, no bound in 6 of 24."
    ]
    unknown = findings.of_generalization(gap_result(*cells(0.1, NAN, NAN)))
    assert "an unknown share of the bounds of Theorem 4.4 are" in unknown.verdicts[1]


def test_the_gap_leaves_ensembles_out():
    ensembles = cells(0.5, 0.2, 0.2, curvature=-9.0, ensemble=4)
    found = findings.of_generalization(gap_result(*cells(0.5, 0.2, 0.2), *ensembles, n=1000))
    assert found.verdicts[0].startswith("Test loss less train loss is 0")
    assert found.verdicts[1:] == [
        "Over all cells and λ, 0% of the bounds of Theorem 4.4 are at least C: these say nothing. "
        "Verdicts: not exceeded in 6 of 6."
    ]


# Bounds from information


EVERYWHERE = [(n, p) for n in (16, 32) for p in (0.0, 0.3)]


def bounds_of(**values):
    """The same bounds at two sizes and two rates, but where a value a rate is given."""
    names = {"theorem": "Theorem 4.4", "kl": "binary kl", "ld": "ld-CMI", "none": "no error"}
    return {
        (names[name], n, p): value[p] if isinstance(value, dict) else value
        for name, value in values.items()
        for n, p in EVERYWHERE
    }


def test_bounds_that_say_something_are_told_from_those_that_do_not():
    bounds = bounds_of(theorem={0.0: NAN, 0.3: 17.0}, kl=0.3, ld={0.0: 1.2, 0.3: 0.4})
    found = findings.of_information(information_result(bounds))
    assert found.question == "Which bound on the generalization gap says something?"
    assert found.verdicts[0].startswith("A bound says something at 4 of 4 settings of n and p; ")
    assert found.verdicts[1] == (
        "Theorem 4.4: below the largest loss in 0 of 4 settings, does not apply in 2. binary kl: "
        "below the largest loss in 4 of 4 settings. ld-CMI: below the largest loss in 2 of 4 "
        "settings."
    )
    assert found.verdicts[2] == (
        "The smallest of those that apply in all draws is 1.5 times the gap (“binary kl” in "
        "4 of 4)."
    )
    assert found.verdicts[3] == (
        "Theorem 4.4 is 17 times the largest loss where it has a finite value (2 of 4)."
    )
    doubled = InformationResult(information_result(bounds).rows.assign(loss_bound=2.0))
    assert findings.of_information(doubled).verdicts[3].startswith("Theorem 4.4 is 8.5 times the")


def test_a_bound_below_the_held_out_gap_fails():
    """The margin of one bound is -0.1, that of the other +0.1, in two draws 0.0001 apart."""
    result = information_result(bounds_of(kl=0.1, ld=0.3), gap=0.05, spread=1e-4)
    found = findings.of_information(result)
    assert found.verdicts[-2].startswith(
        "Tested against the gap on examples in no pair, 4 of 8 bounds fail (Holm, 5%): binary kl "
        "at n = 16, p = 0; binary kl at n = 16, p = 0.3; binary kl at n = 32, p = 0; binary kl at "
        "n = 32, p = 0.3. Only this test is evidence"
    )
    assert "by up to about 0.02 nats" in found.verdicts[-1]


def test_without_a_bound_that_says_something_none_is_the_smallest():
    found = findings.of_information(information_result(bounds_of(kl=1.5, ld=2.0)))
    assert len(found.verdicts) == 4
    assert found.verdicts[1] == ("binary kl; ld-CMI: below the largest loss in 0 of 4 settings.")


def test_no_bound_is_a_multiple_of_a_gap_of_0():
    """A task without errors: the bound is above the gap, and that is all."""
    known = information_result(bounds_of(kl=0.3, ld=0.4), gap=0.0, gap_test=0.0)
    found = findings.of_information(known)
    assert "nan" not in " ".join(found.verdicts)
    assert not any(said.startswith("The smallest") for said in found.verdicts)


def test_bounds_at_equal_fit_are_counted():
    found = findings.of_matched_information(matched_information_result(0.3))
    assert found.verdicts[0] == (
        "Of 8 comparisons of a bound at equal fit: dropout has less in 8, control has less in 0, "
        "not told apart in 0, not reached in 0."
    )
    assert found.verdicts[1] == (
        "At equal train loss, gap: dropout has less: shrunk update (p = 0.3)."
    )
    assert len(found.tables) == 2


def test_every_bound_for_a_network_is_told_with_its_threshold():
    """Theorem 4.4 falls like the root of n: 0.4 = 10 sqrt(64/n) from n = 40,000 on."""
    result = network_comparison_result({"binary kl": 0.2, "ld-CMI": 0.6, "Theorem 4.4": 10.0})
    found = findings.of_network_comparison(result)
    assert found.verdicts[0].startswith(
        "At n = 64, the largest drawn, 1 of 3 bounds says something"
    )
    assert found.verdicts[1:4] == [
        "binary kl: not vacuous from n = 64 on.",
        "ld-CMI: vacuous.",
        "Theorem 4.4: not vacuous from n = 56,200 on.",
    ]
    assert "the error rate of the most frequent class, 0.5" in found.verdicts[4]
    assert len(found.tables) == 1
    lost = replace(result, rows=result.rows.assign(train_loss=NAN, gap=NAN))
    assert findings.of_network_comparison(lost).verdicts[0].startswith("Nothing is known")


# Rivals of the mask ensemble


def test_rivals_are_told_from_the_mask_ensemble():
    """Columns: change, beta, test loss; differences are the same in both draws but for 0.0001."""
    found = findings.of_rivals(
        rivals_result(
            {
                (0.3, "masks"): [(0.05, 0.3, 0.6), (0.05, 0.3, 0.6)],
                (0.3, "starts"): [(0.02, 0.3, 0.5), (0.0201, 0.5, 0.5001)],
                (0.3, "many halves"): [(0.01, 0.2, 0.7), (0.0101, 0.2001, 0.7001)],
            }
        )
    )
    assert found.question == "Is the mask ensemble more stable or better than other ensembles?"
    assert found.verdicts == [
        "Of 2 comparisons with the mask ensemble, others differ detectably in test loss: 1 "
        "smaller, 1 larger; β: 1 smaller, 0 larger; change: 2 smaller, 0 larger.",
        "p = 0.3, against an ensemble of 4 masks: less change of a probability: “starts”, “many "
        "halves”; less β: “many halves”; less test loss: “starts”; more test loss: “many halves”.",
        "Networks trained: “masks” 1, “starts” 4, “many halves” 64.",
        "Subbagging: the bound for the bags drawn holds at every test example in 2 of 2 draws and "
        "rates (it has no probability: it must).",
    ]
    (table,) = found.tables
    assert table.title == ""
    assert len(table.table) == 3


# Prediction sets


def test_coverage_and_sizes_are_told():
    """Two draws miss nearly everything: the exact test of a mean of two needs as much."""
    sizes = {0.0: [(1.0, 2.0), (1.0, 2.01)], 0.3: [(1.0, 3.0), (1.0, 3.02)]}
    plain = {0.0: [(1.0, 2.0), (1.0, 2.0)], 0.3: [(0.0, 1.0), (0.0, 1.0)]}
    found = findings.of_coverage(
        coverage_result(
            {(p, "jackknife+"): pairs for p, pairs in sizes.items()}
            | {(p, "jackknife"): pairs for p, pairs in plain.items()}
        )
    )
    assert found.verdicts == [
        "Jackknife+: coverage from 1.000 up, guaranteed 0.8; the guarantee is contradicted at 0 of "
        "2 rates.",
        "p = 0: sets of size 2.",
        "p = 0.3: sets of size 3.01, larger than at p = 0 by 1.01.",
        "That the plain jackknife covers less than 1 - α is shown at p = 0.3.",
    ]


# The ensemble


def ensemble_verdicts(losses):
    found = findings.of_ensemble(ensemble_result(losses))
    assert found.question == "What does the test-time ensemble buy?"
    assert [table.title for table in found.tables] == [""]
    answer, *verdicts = found.verdicts
    assert answer.startswith("The test loss of an ensemble of N = ")
    return verdicts


def test_the_largest_ensemble_is_better_worse_or_not_told_apart():
    verdicts = ensemble_verdicts(
        {
            (0.1, 0): CLOSE, (0.1, 2): (9.0, 9.0), (0.1, 8): (0.40, 0.4204),
            (0.3, 0): CLOSE, (0.3, 2): (9.0, 9.0), (0.3, 8): (0.60, 0.6204),
            (0.5, 0): CLOSE, (0.5, 2): (9.0, 9.0), (0.5, 8): (0.50, 0.54),
        }
    )  # fmt: skip
    assert verdicts == [
        "p = 0.1: the test loss of 8 members is smaller by 0.0998 (95 %: 0.0973 or more) than that "
        "of the expected-weight network, which costs one pass.",
        "p = 0.3: the test loss of 8 members is larger by 0.1002 (95 %: 0.0977 or more) than that "
        "of the expected-weight network, which costs one pass.",
        "p = 0.5: the test loss of 8 members is not told apart (+0.0100) from that of the "
        "expected-weight network, which costs one pass.",
    ]


def test_a_small_difference_that_is_told_is_not_said_to_be_0():
    losses = {(0.1, 0): (0.50, 0.51, 0.52), (0.1, 8): (0.50001, 0.510011, 0.520012)}
    (said,) = findings.of_ensemble(ensemble_result(losses)).verdicts[1:]
    assert "is larger by 1e-05 (95 %: 9e-06 or more) than that" in said


def test_the_ensemble_is_judged_by_the_draws_that_did_not_diverge():
    verdicts = ensemble_verdicts(
        {(0.1, 0): (0.50, 0.52, NAN), (0.1, 4): (0.40, 0.4204, NAN)}
        | {(0.3, 0): (0.50, 0.52, INFINITE), (0.3, 4): (0.50, 0.54, 0.5)}
    )
    assert verdicts[0].startswith(
        "p = 0.1: the test loss of 4 members is smaller by 0.0998 (95 %: "
    )
    assert "or more in 2 of 3 draws) than" in verdicts[0]
    assert verdicts[1].startswith(
        "p = 0.3: the test loss of 4 members is not told apart (+0.0100 in 2 of 3 draws) "
    )


def test_what_diverged_is_not_told_with_thirty_digits():
    (said,) = ensemble_verdicts({(0.1, 0): (0.5, 0.6), (0.1, 4): (3e29, 1.0)})
    assert "(+1.5e+29)" in said


# Along training


def test_curves_say_how_far_the_test_loss_rises_after_its_best():
    found = findings.of_curves(
        curves_result(
            {
                ("LoRA", 0.0, 0): (1.0, 0.5, 0.4, 0.6), ("LoRA", 0.0, 1): (1.0, 0.4, 0.5, 0.6),
                ("AdaLoRA", 0.3, 0): (1.0, 0.9, 0.8, 0.7),
                ("AdaLoRA", 0.3, 1): (1.0, 0.9, 0.8, 0.7),
            }
        )
    )  # fmt: skip
    assert found.question == "How do train and test loss run along training?"
    assert found.setting == WHERE.format(2)
    assert found.verdicts[1:] == [
        "LoRA, p = 0: the test loss ends 0.200 above its best (at step 15), the gap at 0.250.",
        "AdaLoRA, p = 0.3: the test loss ends 0.000 above its best (at step 40), the gap at 0.250.",
    ]


def test_curves_that_diverged_in_a_draw_are_told_with_how_many_did_not():
    losses = {("LoRA", 0.3, draw): (1.0, 0.5, 0.4, 0.6) for draw in range(3)}
    losses["LoRA", 0.3, 2] = (1.0, NAN, NAN, NAN)
    (said,) = findings.of_curves(curves_result(losses)).verdicts[1:]
    assert said.endswith("the gap at 0.250 in 2 of 3 draws.")


# Calibration


def test_calibration_is_told_at_the_best_checkpoint():
    """By validation loss: the second checkpoint of one draw, the first of the other."""
    found = findings.of_calibration(
        calibration_result(
            {
                (0.0, "no masks", 0): [(1, 0.9, 0.9, 0.1, 0.1, 0.9), (40, 0.5, 0.5, 0.7, 0.8, 0.1)],
                (0.0, "no masks", 1): [(1, 0.4, 0.5, 0.9, 0.9, 0.2), (40, 0.6, 0.4, 0.2, 0.3, 0.8)],
                (0.3, "ensemble", 0): [(1, 0.9, 0.9, 0.1, 0.1, 0.9), (40, 0.5, 0.5, 0.6, 0.7, 0.3)],
                (0.3, "ensemble", 1): [(1, 0.9, 0.9, 0.1, 0.1, 0.9), (40, 0.5, 0.5, 0.6, 0.7, 0.3)],
            }
        )
    )
    assert found.question == "Are the predicted probabilities right?"
    assert found.verdicts[1:] == [
        "p = 0, no masks: calibration error 0.150 at the best checkpoint, confidence 0.850 for "
        "accuracy 0.800.",
        "p = 0.3, ensemble: calibration error 0.300 at the best checkpoint, confidence 0.700 for "
        "accuracy 0.600.",
    ]


def test_a_run_that_diverges_later_keeps_its_best_checkpoint():
    first, later = (1, 0.4, 0.5, 0.9, 0.9, 0.2), (40, NAN, NAN, 0.1, NAN, NAN)
    along = {(0.0, "no masks", draw): [first, later] for draw in (0, 1)}
    assert findings.of_calibration(calibration_result(along)).verdicts[1:] == [
        "p = 0, no masks: calibration error 0.200 at the best checkpoint, confidence 0.900 for "
        "accuracy 0.900."
    ]


# The parts of the method


def test_every_part_says_which_variants_differ_from_its_reference():
    found = findings.of_ablation(
        ablation_result(
            {
                ("dropout when", "never", 0.3): CLOSE,
                ("dropout when", "training alone", 0.3): (0.40, 0.4204),
                ("dropout when", "ensemble alone", 0.3): (0.45, 0.4704),
                ("dropout when", "training and ensemble", 0.3): (0.60, 0.6204),
                ("dropped where", "both", 0.3): CLOSE,
                ("dropped where", "inputs", 0.3): (0.50, 0.54),
                ("inference", "expected weight", 0.3): CLOSE,
                ("inference", "ensemble", 0.3): (0.60, 0.6204),
            }
        )
    )
    assert found.question == "Which part of the method does it?"
    assert found.verdicts[1:] == [
        "dropout when, against “never”: less test loss: training alone, ensemble alone; more test "
        "loss: training and ensemble.",
        "dropped where, against “both”: undecided.",
        "inference, against “expected weight”: more test loss: ensemble.",
    ]


def test_a_variant_that_is_better_at_one_rate_and_worse_at_another_is_told_with_its_rates():
    places = {
        ("dropped where", "both", 0.3): CLOSE, ("dropped where", "inputs", 0.3): (0.40, 0.4204),
        ("dropped where", "both", 0.5): (*CLOSE, NAN),
        ("dropped where", "inputs", 0.5): (0.60, 0.6204, 0.9),
        ("inference", "expected weight", 0.3): CLOSE, ("dropout when", "never", 0.3): CLOSE,
    }  # fmt: skip
    assert findings.of_ablation(ablation_result(places)).verdicts[1:] == [
        "dropped where, against “both”: less test loss: inputs at p = 0.3; more test loss: inputs "
        "at p = 0.5 in 2 of 3 draws."
    ]


def test_a_variant_that_diverged_in_one_of_two_draws_is_undecided():
    found = findings.of_ablation(
        ablation_result(
            {
                ("dropout when", "never", 0.3): CLOSE,
                ("dropout when", "training alone", 0.3): (0.40, NAN),
                ("dropped where", "both", 0.3): CLOSE,
                ("dropped where", "inputs", 0.3): (0.9, INFINITE),
                ("inference", "expected weight", 0.3): (0.50, NAN),
                ("inference", "ensemble", 0.3): (0.60, 0.62),
            }
        )
    )
    assert found.verdicts[1:] == [
        "dropout when, against “never”: undecided.", "dropped where, against “both”: undecided.",
        "inference, against “expected weight”: undecided.",
    ]  # fmt: skip


# The grid of p and N


def test_sensitivity_names_the_point_with_the_least_test_loss():
    found = findings.of_sensitivity(
        sensitivity_result(
            {
                (0.1, 1, "expected weight"): CLOSE, (0.1, 1, "ensemble"): (0.9, 0.9),
                (0.5, 8, "expected weight"): (0.9, 0.9), (0.5, 8, "ensemble"): APART,
            }
        )
    )  # fmt: skip
    assert found.question == "How much depends on p and N?"
    assert found.setting == WHERE.format(2)
    assert found.verdicts[1:] == ["The lowest test loss, 0.410, is at p = 0.5, N = 8, ensemble."]
    everywhere = {(p, 1, "ensemble"): APART for p in (0.1, 0.3)}
    shared = findings.of_sensitivity(sensitivity_result(everywhere)).verdicts[1]
    assert shared.endswith("is at p = 0.1, N = 1, ensemble, and 1 other has the same.")


def test_a_point_that_diverged_in_a_draw_is_not_the_least_by_that():
    found = findings.of_sensitivity(
        sensitivity_result({(0.1, 1, "ensemble"): (0.9, NAN), (0.5, 8, "ensemble"): APART})
    )
    assert found.verdicts[1:] == ["The lowest test loss, 0.410, is at p = 0.5, N = 8, ensemble."]


# Cost


def test_cost_names_the_largest_n_of_every_phase():
    found = findings.of_cost(
        cost_result(
            {
                ("training", "LoRA", 0): ((1.0, 1.0, 1.0), 1.0),
                ("training", "N passes", 2): ((2.0, 2.0, 2.0), 1.0),
                ("training", "N passes", 8): ((7.0, 8.5, 99.0), 1.25),
                ("training", "one grouped pass", 8): ((5.0, 4.0, 6.0), 6.5),
                ("inference", "LoRA", 0): ((1.0, 1.0, 1.0), 1.0),
                ("inference", "ensemble", 4): ((4.0, 4.0, 4.125), 1.5),
            }
        )
    )
    assert found.question == "What does it cost?"
    assert found.setting == (
        "transformer block of width 8, 2 × 4 tokens, rank 8 on all its linear layers, p = 0.3, "
        "an abacus"
    )
    assert found.verdicts == [
        "Relative to plain LoRA: N passes of N = 8: 8.50 times the time and 1.25 times the memory; "
        "one grouped pass of N = 8: 5.00 times the time and 6.50 times the memory; ensemble of "
        "N = 4: 4.00 times the time and 1.50 times the memory."
    ]


# The statements


def violated(*cases):
    return findings.of_verify(verify_result(*cases)).verdicts


def test_what_fails_and_should_hold_is_counted():
    case = ("Theorem 4.4", "as printed", "wine, n = 50")
    holds, above = (*case, 0.1, 0.2), (*case, 0.3, 0.2)
    assert violated(
        (holds, {}), (above, {"provable": False}), (above, {"failed": "convexity"})
    ) == ["The 1 check of a true statement passed; as printed, Theorem 4.4 fails in 1 case."]
    assert violated((holds, {}), (above, {}), (above, {})) == [
        "2 of 3 checks of true statements failed:"
    ]


def test_what_could_not_be_measured_is_no_success():
    assert violated((("Theorem 4.4", "", "wine", NAN, 0.2), {})) == [
        "1 of 1 checks of true statements failed:"
    ]


# Other bounds


def test_a_bound_is_worth_something_from_where_it_is_no_longer_vacuous():
    """A size at which it happens to be small does not count if a larger one is vacuous again."""
    found = findings.of_comparison(
        comparison_result(
            {
                "Theorem 4.4": {50: 3.0, 100: 0.9, 316: 1.0, 1778: 0.5, 3162: 0.4},
                "Feldman & Vondrák": {50: 3.0, 100: 2.0, 316: 1.5},
                "test set": {50: 0.5, 100: 0.4, 316: 0.3},
                "second moment, derived": {50: 0.5, 100: NAN, 316: INFINITE},
            }
        )
    )
    assert found.question == "From which n on do other bounds say anything?"
    assert found.verdicts[0].startswith("At n = 100, the largest drawn, 2 of 4 bounds say")
    assert found.verdicts[1:] == [
        "Theorem 4.4: not vacuous from n = 1,780 on.", "Feldman & Vondrák: vacuous.",
        "test set: not vacuous from n = 50 on.", "second moment, derived: vacuous.",
    ]  # fmt: skip


def test_a_bound_that_is_exceeded_is_worth_nothing():
    result = comparison_result({"Theorem 4.4": {50: 0.9, 100: 0.5}})
    refuted = replace(result, rows=result.rows.assign(p_value=1e-9))
    verdicts = findings.of_comparison(refuted).verdicts
    assert verdicts[0].endswith(
        "none of 1 bound says anything. Exceeded by what was measured: Theorem 4.4."
    )
    assert verdicts[1:] == ["Theorem 4.4: exceeded."]
    assert findings.of_comparison(result).verdicts[1:] == [
        "Theorem 4.4: not vacuous from n = 50 on."
    ]
    assert [*of_network_comparison(refuted).values()] == [
        {"Theorem 4.4": "nowhere: it is exceeded"}
    ]


# After tuning


def test_methods_are_counted_against_tuned_lora():
    losses = {"LoRA": 1.0, "LoRA Dropout": 0.9, "weight decay": 1.2}
    found = findings.of_methods(tuned_result(losses))
    assert found.question == "After tuning all alike, which method has the smallest test loss?"
    assert found.verdicts[0] == (
        "Against tuned LoRA, 1 of 2 tuned methods have a smaller test loss (a larger one in 1). "
        "LoRA Dropout less LoRA: -0.1000 ± 0.0018, better."
    )
    assert found.verdicts[1].startswith("On made up, n = 16, tuned LoRA Dropout")
    assert len(found.tables) == 1


# Regimes, and fine-tuning


def test_regimes_are_counted_and_what_overfits_is_named():
    fits = Regime("wine", 0.001, 16, 0.2, 0.25, 0.25, overfits=False)
    over = Regime("digits", 0.03, 64, 0.0, 0.5, 0.25, overfits=True)
    found = findings.of_regimes([fits, over])
    assert found.verdicts[0] == (
        "The network without dropout overfits in 1 of 2 regimes: digits at learning rate 0.03."
    )
    (table,) = found.tables
    assert table.table["verdict"].tolist() == ["does not overfit", "overfits"]
    assert findings.of_regimes([fits]).verdicts[0] == (
        "The network without dropout overfits in 0 of 1 regime."
    )


def test_finetuning_is_judged_at_the_end_of_training():
    found = findings.of_finetune(
        finetune_result(
            {
                ("lora", 0.0, "no masks", 0): (0.1, 0.50),
                ("lora", 0.0, "no masks", 1): (0.1, 0.52),
                ("lora", 0.3, "ensemble", 0): (0.9, 0.40),
                ("lora", 0.3, "ensemble", 1): (0.9, 0.42),
                ("adalora", 0.3, "ensemble", 0): (0.9, 0.75),
                ("adalora", 0.3, "ensemble", 1): (0.9, 0.75),
            }
        )
    )  # fmt: skip
    assert found.question == "Full scale: what does fine-tuning show?"
    assert found.setting == (
        "made up, hub/name, n = 10, rank 2, 40 steps, N = 1 in training, 2 seeds"
    )
    assert found.verdicts == [
        "At the end of training lora, p = 0.3, ensemble has the lowest test loss, 0.410. "
        "The gaps lie between 0.160 and 0.500."
    ]


def test_a_run_that_diverged_in_a_seed_is_not_the_least_by_that():
    losses = {
        ("lora", 0.0, "no masks", 0): (0.1, 0.50),
        ("lora", 0.0, "no masks", 1): (0.1, NAN),
        ("lora", 0.3, "no masks", 0): (0.9, 0.40),
        ("lora", 0.3, "no masks", 1): (0.9, 0.42),
    }
    assert findings.of_finetune(finetune_result(losses)).verdicts == [
        "At the end of training lora, p = 0.3, no masks has the lowest test loss, 0.410. "
        "The gaps lie between 0.160 and 0.250."
    ]


def test_of_runs_that_all_diverged_fine_tuning_shows_nothing():
    losses = {("lora", 0.0, "no masks", seed): (NAN, NAN) for seed in (0, 1)}
    found = findings.of_finetune(finetune_result(losses))
    assert found.question == "Full scale: what does fine-tuning show?"
    assert found.verdicts == [findings.NOTHING]


# All of them


def test_a_finding_has_the_tables_that_the_question_prints():
    result = sensitivity_result({(0.1, 1, "ensemble"): CLOSE})
    found = findings.of_sensitivity(result)
    assert isinstance(found, Finding)
    (table,) = found.tables
    assert table.table.equals(result.text())
    # The question is the section's heading already.
    assert (table.title, table.caption) == ("", result.note)

"""What the table of every question says, cell by cell, where the numbers are known.

In each of them one run diverged. Student's interval of two draws that are 0.02 apart is 0.1271 to
either side; of one draw there is none.
"""

import pytest

from probes.finetune import FinetuneResult
from probes.own_model import OwnModelResult
from tests.probes.tables import (
    EFFECTS,
    INFINITE,
    NAN,
    ablation_result,
    attribution_result,
    calibration_result,
    comparison_result,
    cost_result,
    curves_result,
    ensemble_result,
    finetune_result,
    gap_result,
    made,
    matched_result,
    recommend_result,
    sensitivity_result,
    stability_cells,
    stability_result,
    verify_result,
)


def assert_reads(table, expected):
    """Compare a table of text with its lines; cells are set apart by bars."""
    header, *lines = [[cell.strip() for cell in line.split("|")] for line in expected]
    assert list(table) == header
    assert table.astype(str).to_numpy().tolist() == lines


ENSEMBLE = {"inference": "ensemble", "ensemble": 4}


def test_ensemble():
    result = ensemble_result(
        {
            (0.1, 0): (0.50, 0.52), (0.1, 2): (0.40, 0.44), (0.1, 16): (0.375, 0.375),
            (0.5, 0): (0.50, NAN), (0.5, 2): (0.40, INFINITE), (0.5, 16): (0.375, 0.375),
        }
    )  # fmt: skip
    expected = [
        "p   | inference        | test loss       | test accuracy | members | 1/N law | "
        "less expected weight",
        "0.1 | expected weight  | 0.5100 ± 0.1271 | 0.750         |         |         | ",
        "0.1 | ensemble, N = 2  | 0.4200 ± 0.2541 | 0.750         | 0.6700  | 0.5450  | "
        "-0.0900 ± 0.1271",
        "0.1 | ensemble, N = 16 | 0.3750 ± 0.0000 | 0.750         | 0.6250  | 0.5000  | "
        "-0.1350 ± 0.1271",
        "0.5 | expected weight  | 0.5000 (1 of 2) | 0.750         |         |         | ",
        "0.5 | ensemble, N = 2  | 0.4000 (1 of 2) | 0.750         | 0.6500 (1 of 2) | "
        "0.5250 (1 of 2) | -0.1000 (1 of 2)",
        "0.5 | ensemble, N = 16 | 0.3750 ± 0.0000 | 0.750         | 0.6250  | 0.5000  | "
        "-0.1250 (1 of 2)",
    ]
    assert_reads(result.text(), expected)


def test_curves():
    """Test losses at steps 0, 10, 20 and 40; one run diverged, one has its best last."""
    result = curves_result(
        {
            ("LoRA", 0.0, 0): (1.0, 0.5, 0.40, 0.60), ("LoRA", 0.0, 1): (1.0, 0.5, 0.42, 0.62),
            ("LoRA", 0.3, 0): (1.0, 0.9, NAN, NAN), ("AdaLoRA", 0.3, 0): (1.0, 0.9, 0.8, 0.7),
        }
    )  # fmt: skip
    expected = [
        "method  | p   | train loss | test loss       | gap             | test accuracy | "
        "best test loss  | at step | later rise",
        "LoRA    | 0   | 0.3600     | 0.6100 ± 0.1271 | 0.2500 ± 0.0000 | 0.500         | "
        "0.4100 ± 0.1271 | 20      | 0.2000 ± 0.0000",
        "LoRA    | 0.3 | nan (0 of 1) | nan (0 of 1)  | 0.2500          | 0.500         | "
        "0.9000          | 10      | nan (0 of 1)",
        "AdaLoRA | 0.3 | 0.4500     | 0.7000          | 0.2500          | 0.500         | "
        "0.7000          | 40      | 0.0000",
    ]
    assert_reads(result.text(), expected)


def test_calibration():
    """The best checkpoint is that of the least validation loss, draw by draw."""
    result = calibration_result(
        {
            (0.0, "no masks", 0): [(10, 0.4, 0.5, 0.9, 0.9, 0.10), (40, 0.6, 0.75, 0.5, 0.8, 0.3)],
            (0.0, "no masks", 1): [(10, 0.6, 0.9, 0.1, 0.1, 0.9), (40, 0.5, 0.75, 0.7, 0.8, 0.3)],
            (0.3, "ensemble", 0): [(10, 0.4, 0.5, 0.9, 0.9, 0.25), (40, NAN, NAN, NAN, NAN, NAN)],
        }
    )
    expected = [
        "p   | inference | checkpoint | step | ECE             | test loss       | test accuracy | "
        "mean confidence",
        "0   | no masks  | best       | 25   | 0.2000 ± 1.2706 | 0.6250 ± 1.5883 | 0.800         | "
        "0.850",
        "0.3 | ensemble  | best       | 10   | 0.2500          | 0.5000          | 0.900         | "
        "0.900",
        "0   | no masks  | end        | 40   | 0.3000 ± 0.0000 | 0.7500 ± 0.0000 | 0.600         | "
        "0.800",
        "0.3 | ensemble  | end        | 40   | nan (0 of 1)    | nan (0 of 1)    | nan (0 of 1)  | "
        "nan (0 of 1)",
    ]
    assert_reads(result.text(), expected)


def test_ablation():
    """The reference is that of the part and the rate; its own difference is not written."""
    result = ablation_result(
        {
            ("dropout when", "never", 0.3): (0.50, 0.52),
            ("dropout when", "training alone", 0.3): (0.40, 0.44),
            ("dropout when", "never", 0.5): (1.0, 1.0),
            ("dropout when", "training alone", 0.5): (0.5, INFINITE),
            ("dropped where", "both", 0.3): (0.25, 0.25),
            ("dropped where", "inputs", 0.3): (0.5, 0.502),
        }
    )
    both = "0.750 | 0.1250 ± 0.0000 | 0.0625 ± 0.0000"
    expected = [
        "part          | variant        | p   | train loss | test loss       | difference       | "
        "test accuracy | gap | β",
        f"dropout when  | never          | 0.3 | 0.2500     | 0.5100 ± 0.1271 | reference | {both}",
        f"dropout when  | training alone | 0.3 | 0.2500     | 0.4200 ± 0.2541 | -0.0900 ± 0.1271 | "
        f"{both}",
        f"dropout when  | never          | 0.5 | 0.2500     | 1.0000 ± 0.0000 | reference | {both}",
        f"dropout when  | training alone | 0.5 | 0.2500     | 0.5000 (1 of 2) | -0.5000 (1 of 2) | "
        f"{both}",
        f"dropped where | both           | 0.3 | 0.2500     | 0.2500 ± 0.0000 | reference | {both}",
        f"dropped where | inputs         | 0.3 | 0.2500     | 0.5010 ± 0.0127 | "
        f"0.2510 ± 0.0127 * | {both}",
    ]
    assert_reads(result.text(), expected)


def test_sensitivity():
    """Sorted by inference, rate and N, however the rows came."""
    result = sensitivity_result(
        {
            (0.5, 1, "ensemble"): (NAN, NAN), (0.1, 8, "expected weight"): (0.50, 0.52),
            (0.1, 1, "expected weight"): (0.40, NAN), (0.1, 1, "ensemble"): (0.25, 0.25),
        }
    )  # fmt: skip
    same = "0.7500 ± 0.0000 | 0.1250 ± 0.0000 | 0.0625 ± 0.0000"
    expected = [
        "p   | N | inference       | train loss | test loss       | test accuracy | gap | β",
        f"0.1 | 1 | expected weight | 0.2500     | 0.4000 (1 of 2) | {same}",
        f"0.1 | 8 | expected weight | 0.2500     | 0.5100 ± 0.1271 | {same}",
        f"0.1 | 1 | ensemble        | 0.2500     | 0.2500 ± 0.0000 | {same}",
        f"0.5 | 1 | ensemble        | 0.2500     | nan (0 of 2)    | {same}",
    ]
    assert_reads(result.text(), expected)


def test_cost():
    """Medians and quartiles; one round that was disturbed moves neither."""
    result = cost_result(
        {
            ("training", "LoRA", 0): ((1.0, 1.0, 1.0, 1.0, 1.0), 1.0),
            ("training", "N passes", 4): ((4.0, 3.0, 5.0, 3.5, 99.0), 1.25),
        }
    )
    expected = [
        "part     | variant  | N | median ms | time              | peak memory",
        "training | LoRA     |   | 2.00      | 1.00 [1.00, 1.00] | 1.00",
        "training | N passes | 4 | 8.00      | 4.00 [3.50, 5.00] | 1.25",
    ]
    assert_reads(result.text(), expected)


def test_verify():
    """Of a statement the tightest case; of an equality the largest error; the worst comes first."""
    theorem = ("Theorem 4.4", "as printed", "wine, n = 50")
    result = verify_result(
        ((*theorem, 0.1, 0.4), {"assumptions": "convex"}),
        ((*theorem, 0.2, 0.3), {"ceiling": 0.25}),
        ((*theorem, 0.3, 0.15), {"provable": False, "ceiling": 4.0, "chance": 0.5}),
        (("sparsity", "", "ridge, p = 0.1", 0.5, 0.5), {"equal": True}),
        (("sparsity", "", "ridge, p = 0.3", 0.5, 0.5625), {"equal": True, "tolerance": 0.1}),
        (("Lemma 4.3", "", "ridge", 0.1, 0.2), {"failed": "C is not known"}),
        (("Lemma 4.3", "", "wine", NAN, 0.2), {}),
        (("Proposition 4.2", "", "far", 0.4, 0.2), {"failed": "not close", "reach": 0.0625}),
    )
    expected = [
        "statement       | reading    | data  | cases | measured | bound | ratio: least, median | "
        "C      | assumptions | verdict",
        "Theorem 4.4     | as printed | wine  | 3     | 0.3      | 0.15  | 0.5, 1.5             | "
        "0.5, 4 | convex      | violated as printed 1/3, holds 1/3, vacuous 1/3",
        "sparsity        |            | ridge | 2     | 0.5      | 0.5   | error 6.2e-02        | "
        "       |             | holds",
        "Lemma 4.3       |            | ridge | 1     | 0.1      | 0.2   | 2, 2                 | "
        "       |             | does not apply: C is not known",
        "Lemma 4.3       |            | wine  | 1     | nan      | 0.2   | nan, nan             | "
        "       |             | violated",
        "Proposition 4.2 |            | far   | 1     | 0.4      | 0.2   | 0.5, 0.5             | "
        "       |             | fails without its premise: not close, expansion accurate to 10 % "
        "for the first 6 % of the way",
    ]
    assert_reads(result.text(), expected)


def test_verify_lists_what_is_violated_with_the_command_that_tries_it_again():
    case = ("Theorem 4.4", "as printed", "wine, n = 50", 0.3, 0.2)
    printed = (case, {"provable": False})
    result = verify_result((case, {"command": "--n 50"}), printed)
    assert result.conclusion.splitlines()[:2] == [
        "1 of 1 checks of true statements failed:",
        "violated: Theorem 4.4 (as printed; wine, n = 50): python -m probes.verify --n 50",
    ]
    assert result.status == 1
    assert verify_result(printed).status == 0


def test_verify_tells_what_is_false_from_what_needs_a_premise():
    case = ("Theorem 4.4", "as printed", "wine, n = 50", 0.3, 0.2)
    result = verify_result(
        ((*case[:3], 0.1, 0.2), {}),
        (case, {"provable": False, "command": "--n 50"}),
        (case, {"failed": "not close", "command": "--n 50"}),
        ((*case[:3], 0.4, 0.2), {"failed": "not close", "command": "--n 9"}),
    )
    assert result.conclusion.splitlines() == [
        "The 1 check of a true statement passed; as printed, Theorem 4.4 fails in 1 case.",
        "Fails as printed, though every printed premise is met:",
        "  Theorem 4.4 (as printed): 0.3 against a bound of 0.2 in wine, n = 50: "
        "python -m probes.verify --n 50",
        "Fails where a premise is not met, so that the premise is needed:",
        "  Theorem 4.4 (as printed; not close): 2 cases, worst: 0.4 against a bound of 0.2 in "
        "wine, n = 50: python -m probes.verify --n 9",
    ]
    assert result.status == 0


def test_comparison():
    """At the largest n that was drawn; a bound that is not a number is vacuous."""
    result = comparison_result(
        {
            "Theorem 4.4": {50: 3.0, 100: 2.0, 1778: 0.5},
            "test set": {50: 0.5, 100: 0.25, 1778: 0.1},
            "Feldman & Vondrák": {50: NAN, 100: NAN, 1778: INFINITE},
        }
    )
    expected = [
        "statement | reference | on the gap of | n | train loss | bound | measured | coverage | "
        "stability | not vacuous from n",
        "Theorem 4.4 | arXiv 2404.09610 | minimiser | 100 | 0.25 | 2 | 1 | 75% | | 1.78e+03",
        "test set | Hoeffding, JASA 58, 1963 | minimiser | 100 | 0.25 | 0.25 | 0.125 | 75% | | 50",
        "Feldman & Vondrák | arXiv 1812.09859, 2018 | minimiser | 100 | 0.25 | nan | nan | 75% | | "
        "none up to 1.78e+03",
    ]
    assert_reads(result.text(), expected)


def test_finetune():
    """At the end of training, and the least of both evaluations."""
    losses = {
        ("lora", 0.0, "no masks", 0): (0.40, 0.50), ("lora", 0.0, "no masks", 1): (0.42, 0.52),
        ("adalora", 0.3, "ensemble", 0): (0.9, 0.75), ("adalora", 0.3, "ensemble", 1): (0.9, NAN),
    }  # fmt: skip
    same = "0.7500 ± 0.0000 | 0.0625 ± 0.0000 | 0.031 | 12 | 346"
    expected = [
        "method  | p   | inference       | train loss | test loss       | best            | "
        "gap             | accuracy | ECE | its floor | seconds | peak MiB",
        f"lora    | 0   | no masks        | 0.2500     | 0.5100 ± 0.1271 | 0.4100 ± 0.1271 | "
        f"0.2600 ± 0.1271 | {same}",
        f"adalora | 0.3 | ensemble, N = 4 | 0.2500     | 0.7500 (1 of 2) | 0.8250 ± 0.9530 | "
        f"0.5000 (1 of 2) | {same}",
    ]
    assert_reads(finetune_result(losses).text(), expected)


def finetune_runs():
    """Two runs of 40 steps, one of them with an ensemble of 2, and one of 20 steps."""
    losses = {
        ("lora", 0.0, "no masks", 0): (0.9, 0.5), ("early", 0.0, "no masks", 0): (0.7, 0.75),
        ("two", 0.3, "ensemble", 0): (0.6, 0.4), ("sixteen", 0.3, "ensemble", 0): (0.6, 0.3),
    }  # fmt: skip
    rows = finetune_result(losses, ensemble=16, samples=4).rows
    rows.loc[rows["method"] == "two", ["ensemble", "samples"]] = 2
    rows.loc[rows["method"] == "early", ["steps", "rank"]] = 20, 1
    return rows[(rows["step"] <= rows["steps"]) & (rows["p"].eq(0) | rows["step"].eq(40))]


def test_runs_of_other_sizes_are_called_by_their_own():
    result = FinetuneResult(finetune_runs())
    assert result.text()["inference"].tolist() == [
        "no masks", "no masks", "ensemble, N = 2", "ensemble, N = 16",
    ]  # fmt: skip
    assert result.setting.endswith("rank 2 or 1, 40 or 20 steps, N = 4 or 2 in training, 1 seed")
    assert "optimistic but for what was evaluated at the end alone" in result.note
    twice = result.rows[result.rows["method"].eq("lora")]
    assert "optimistic for all alike" in FinetuneResult(twice).note


def test_curves_of_fine_tuning_end_where_each_run_ends():
    curves = FinetuneResult(finetune_runs()).curves()
    assert curves.answer == (
        "At the end of training the test loss is 0.5 (lora, p = 0) to 0.7 (early, p = 0)."
    )
    assert "rank 2 or 1, 40 or 20 steps, " in curves.setting


def test_finetune_without_classes_has_no_columns_for_them():
    rows = finetune_result({("lora", 0.0, "no masks", 0): (0.4, 0.5)}).rows
    result = type(finetune_result({("lora", 0.0, "no masks", 0): (0.4, 0.5)}))(
        rows.drop(columns=["ece", "test_score"])
    )
    assert list(result.text()) == [
        "method", "p", "inference", "train loss", "test loss", "best", "gap", "seconds",
        "peak MiB",
    ]  # fmt: skip


def test_matched():
    """Beta is 0.3 and 0.322 for one control, below dropout's for another, one was not reached.

    All that was compared is tested together: of three differences two are 100 and 200 standard
    errors away from 0, which is told of two draws.
    """
    result = matched_result(
        {0.1: [(0.5, 0.10), (0.5, 0.12)], 0.5: [(0.5, 0.10), (NAN, NAN)]},
        {
            "early stopping": [(0.2, 0.4), (0.2, 0.444)],
            "weight decay": [(0.0, 0.1), (0.0, 0.138)],
            "learning rate": [(0.0, 0.18), (0.0, 0.26)],
            "shrunk update": [(NAN, NAN), (NAN, NAN)],
        },
    )
    expected = [
        "n | p | control        | draws | diverged | train loss | dropout | p = 0 | difference | "
        "verdict",
        "10 | 0.1 | early stopping | 2 | 0 | 0.5000 | 0.1100 | 0.3110 | 0.2010 ± 0.0127 * | "
        "dropout has less",
        "10 | 0.1 | weight decay   | 2 | 0 | 0.5000 | 0.1100 | 0.0595 | -0.0505 ± 0.0064 * | "
        "control has less",
        "10 | 0.1 | learning rate  | 2 | 0 | 0.5000 | 0.1100 | 0.1100 | 0.0000 ± 0.1271 | "
        "not told apart",
        "10 | 0.1 | shrunk update  | 0 | 0 | nan    | nan    | nan    | nan | not reached",
        "10 | 0.5 | early stopping | 1 | 1 | 0.5000 | 0.1000 | 0.3000 | 0.2000 | not reached",
        "10 | 0.5 | weight decay   | 1 | 1 | 0.5000 | 0.1000 | 0.0500 | -0.0500 | not reached",
        "10 | 0.5 | learning rate  | 1 | 1 | 0.5000 | 0.1000 | 0.0900 | -0.0100 | not reached",
        "10 | 0.5 | shrunk update  | 0 | 1 | nan    | nan    | nan    | nan | not reached",
    ]
    assert_reads(result.text(), expected)
    assert result.caption.endswith("not reached: in fewer than two draws")
    assert ", n = 10, " in result.setting


def test_matched_compares_every_size_by_itself():
    result = matched_result(
        {0.1: [(0.5, 0.10), (0.5, 0.12)]},
        {"early stopping": [(0.2, 0.4), (0.2, 0.444)]},
        n=(10, 20),
    )
    table = result.text()
    assert table["n"].tolist() == ["10", "20"]
    assert table["control"].tolist() == ["early stopping"] * 2  # the only one that was measured
    assert table["difference"].tolist() == ["0.2010 ± 0.0127 *"] * 2
    # Once the first of the sizes stood above the table of all.
    assert "n = " not in result.setting
    assert "not reached" not in result.caption


def test_stability():
    """Changes of the loss of two examples; of one replica, and of one whole draw, nothing is known.

    The diverged replica is left out of beta; the draw is left out of all means.
    """
    result = stability_result(
        *stability_cells(0.0, (0.50, (0.25, -0.75)), (0.52, (0.25, -0.75))),
        *stability_cells(0.5, (0.50, (0.25, NAN)), (NAN, (NAN, NAN))),
        *stability_cells(
            0.5, (0.40, (0.0, 0.5)), (0.42, (0.0, 0.5)), ensemble=4, inference="ensemble"
        ),
    )
    expected = [
        "p   | inference       | β               | median | top tenth | train loss | test loss | "
        "gap | gap without test set | test accuracy",
        "0   | expected weight | 0.5000 ± 0.0000 | 0.5000 | 75%       | 0.2500     | 0.5100    | "
        "0.2600 ± 0.1271 | -0.2500 ± 0.0000 | 0.750",
        "0.5 | expected weight | 0.2500 (1 of 2) | 0.2500 (1 of 2) | 100%      | 0.2500     | "
        "0.5000 (1 of 2) | 0.2500 (1 of 2) | 0.2500 (1 of 2) | 0.750",
        "0.5 | ensemble, N = 4 | 0.2500 ± 0.0000 | 0.2500 | 100%      | 0.2500     | 0.4100    | "
        "0.1600 ± 0.1271 | 0.2500 ± 0.0000 | 0.750",
    ]
    assert_reads(result.text(), expected)
    assert result.diverged == 3
    assert "8 leave-one-out replicas; diverged: 3;" in result.text_tables()[0].caption
    lost = stability_result(*stability_cells(0.5, (NAN, (NAN, NAN)), train_loss=NAN))
    assert "2 leave-one-out replicas; diverged: 2, and 1 of S;" in lost.text_tables()[0].caption


@pytest.mark.parametrize(("strength", "words"), [(NAN, "for comparison"), (0.1, "is judged")])
def test_bounds_with_and_without_a_strength_are_told_apart(strength, words):
    result = stability_result(*stability_cells(0.5, (0.5, (0.25, 0.5)), strength=strength))
    (bounds,) = (one for one in result.text_tables() if one.title.startswith("Bounds:"))
    assert words in bounds.caption


@pytest.mark.parametrize(("rates", "draws", "lines"), [(3, 2, 2), (2, 2, 0), (3, 1, 0)])
def test_a_best_rate_is_sought_among_three_in_two_draws(rates, draws, lines):
    cells = [
        cell
        for rate in range(rates)
        for cell in stability_cells(0.1 * rate, *[(0.5 + 0.1 * rate, (0.25, 0.5))] * draws)
    ]
    assert len(stability_result(*cells).conclusion.splitlines()) == lines


def test_stability_says_how_its_estimates_did():
    """Eight examples of each of two draws, all estimated 5 % too large."""
    again = tuple(0.1 * number for number in range(1, 9))
    known = {
        "method": "influence", "validate": 8, "effect_how": "one step, damping 0.05, 9 products",
        "retrained": again,
    }  # fmt: skip
    estimated = tuple(1.05 * change for change in again)
    cells = stability_cells(0.1, (0.50, estimated), (0.52, estimated), **known)
    cells[1]["effect_how"] = "one step, damping 0.05, 12 products, which did not converge"
    result = stability_result(*cells)
    titles = [table.title for table in result.text_tables()]
    assert "leaving out is estimated by one step" in titles[0]
    assert "NOT CHECKED" not in titles[0]
    expected = [
        "p | inference | checked a draw | rank correlation | linear correlation | β estimated | "
        "β retrained | bias | β of S, corrected | verdict",
        "0.1 | expected weight | 8 | 1.0000 ± 0.0000 | 1.0000 ± 0.0000 | 0.4725 | 0.4500 | +5% | "
        "0.4500 ± 0.0000 | order and size",
    ]
    assert_reads(result.text_tables()[1].table, expected)
    how = "; one step, damping 0.05, 9 to 12 products, which did not converge in 1 of 2 cells; "
    assert how in result.text_tables()[1].caption
    alone = stability_result(cells[0] | {"effect_how": "one step by EK-FAC, damping 0.05"})
    assert "; one step by EK-FAC, damping 0.05; " in alone.text_tables()[1].caption
    unchecked = stability_cells(
        0.1, (0.5, estimated), **(known | {"validate": 0, "retrained": (NAN,) * 8})
    )
    tables = stability_result(*unchecked).text_tables()
    assert "NOT CHECKED" in tables[0].title
    assert not any("Estimated effects" in table.title for table in tables)


def test_gap():
    """The least bound over lambda: at p = 0.5 two of three outweigh the saddle, at p = 0 none."""
    result = gap_result(
        *stability_cells(0.5, (0.50, (0.25, -0.75)), (0.52, (0.25, -0.75)), curvature=-0.1),
        *stability_cells(0.0, (0.50, (0.25, -0.75)), (NAN, (NAN, NAN)), curvature=-0.1),
        *stability_cells(
            0.0, (0.40, (0.0, 0.5)), (0.42, (0.0, 0.5)), ensemble=4, inference="ensemble"
        ),
        n=1000,
    )
    expected = [
        "n    | p   | inference       | N | train loss | test loss | gap | without test set | "
        "Theorem 4.4 | C",
        "1000 | 0.5 | expected weight |   | 0.2500     | 0.5100    | 0.2600 ± 0.1271 | "
        "-0.2500 ± 0.0000 | 0.4259 | 1",
        "1000 | 0   | expected weight |   | 0.2500     | 0.5000 (1 of 2) | 0.2500 (1 of 2) | "
        "-0.2500 (1 of 2) | – | 1",
        "1000 | 0   | ensemble        | 4 | 0.2500     | 0.4100    | 0.1600 ± 0.1271 | "
        "0.2500 ± 0.0000 | 0.5 | 1",
    ]
    assert_reads(result.text(), expected)
    assert result.text_tables()[0].caption.startswith(
        "means over draws, 95 % intervals (Student); the least bound over λ = 0.01, 0.1, 1, "
    )


def test_own_model():
    records = [
        {"p": p, "ensemble": size, "draw": draw, "train_loss": 0.25, "test_loss": loss,
         "gap": loss - 0.25, "beta": 0.125}
        for (p, size), losses in {(0.0, 0): (0.50, 0.52), (0.3, 4): (0.40, NAN)}.items()
        for draw, loss in enumerate(losses)
    ]  # fmt: skip
    expected = [
        "p   | inference       | train loss | test loss       | gap             | β",
        "0   | expected weight | 0.2500     | 0.5100 ± 0.1271 | 0.2600 ± 0.1271 | 0.1250 ± 0.0000",
        "0.3 | ensemble, N = 4 | 0.2500     | 0.4000 (1 of 2) | 0.1500 (1 of 2) | 0.1250 ± 0.0000",
    ]
    assert_reads(OwnModelResult(made(records)).text(), expected)
    scored = OwnModelResult(made(records, test_score=0.75)).text()
    assert scored["test score"].tolist() == ["0.750", "0.750"]
    # The gap that is told is that of a network without masks.
    told = OwnModelResult(made(records, n=8)).finding
    assert told.endswith("Test loss less train loss is 0.26 ± 0.13 (p = 0).")


def test_recommend():
    """Two draws that tell; one method lost one of them, one is the best by far.

    Of two equal differences no gain would follow.
    """
    risks = {
        "LoRA": (1.00, 1.02), "weight decay": (0.80, NAN),
        "LoRA Dropout, ensemble of 16": (0.50, 0.53),
    }  # fmt: skip
    result = recommend_result(risks)
    lost = "0.8000 (1 of 2) | 0.3000 (1 of 2) | 0.750 (1 of 2) | 0.125 (1 of 2) | 0.062 (1 of 2)"
    same = "0.750 | 0.125 | 0.062"
    expected = [
        " | method | strength | lr | stop | loss | behind | accuracy | gap | β | ECE | passes",
        "* | LoRA Dropout, ensemble of 16 | 0.1 | 0.001 | 20 | 0.5150 ± 0.1906 | 0.0000 ± 0.0000 | "
        f"{same} | 0.250 (0.125) | 20",
        f" | weight decay | 0.1 | 0.001 | 20 | {lost} | 0.250 (0.125) | 20",
        f" | LoRA |  | 0.001 | 20 | 1.0100 ± 0.1271 | 0.4950 ± 0.0635 | {same} |  | 20",
        " | best constant prediction |  |  |  | 2.0000 ± 0.0000 | 1.4850 ± 0.1906 | 0.125 |  |  | "
        " | ",
    ]
    assert_reads(result.text(), expected)
    assert result.choice.reason == (
        "Use LoRA Dropout, ensemble of 16 with strength 0.1, learning rate 0.001, stopped after 20 "
        "steps (20 passes over the data, 16 passes a prediction): loss 0.5150 ± 0.1906 over 2 "
        "draws of S that had no part in the choice; the best constant prediction has 2.0000. "
        "Against LoRA, tuned alike, it gains 0.4950 ± 0.0635. Diverged, and therefore not to be "
        "chosen: weight decay (0.1) (1 of 4 draws)."
    )
    assert "by 2 draws of S" in result.note


def test_attribution():
    expected = [
        "quantity | mean | 95 %, this S alone | draws | held-out examples | networks",
        "leave-one-out correlation | 1.000 | 1.000 to 1.000 | 1 | 8 | 4",
        "linear datamodeling score | 1.000 | 1.000 to 1.000 | 1 | 8 | 6",
    ]
    assert_reads(attribution_result([EFFECTS] * 8).text(), expected)


def test_attribution_of_scores_in_reverse_or_all_alike():
    """Right for four held-out examples, reversed for three; the last one's scores are constant."""
    reverse = tuple(-effect for effect in EFFECTS)
    table = attribution_result([EFFECTS] * 4 + [reverse] * 3 + [(0.5,) * 4]).text()
    assert table["mean"].tolist() == ["0.143", "0.143"]
    assert table["held-out examples"].tolist() == ["7", "7"]
    for interval in table["95 %, this S alone"]:
        low, high = map(float, interval.split(" to "))
        assert -1 <= low < 0 < high <= 1

"""The first screen: a sentence with numbers, one table within 80 columns, the way to the rest."""

import re

import pytest

from tests.probes.tables import (
    EFFECTS,
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
    matched_result,
    sensitivity_result,
    stability_cells,
    stability_result,
    verify_result,
)

CELLS = [
    cell
    for p in (0.1, 0.5)
    for more in ({}, {"inference": "ensemble", "ensemble": 16})
    for cell in stability_cells(p, (0.50, (0.25, -0.75)), (0.52, (0.25, -0.25)), **more)
]
BOTH = {(0.1, 0): (0.50, 0.52), (0.1, 16): (0.40, 0.44)}
RESULTS = {
    "stability": stability_result(*CELLS),
    "generalization": gap_result(*CELLS),
    "matched": matched_result(
        {0.1: [(0.5, 0.10), (0.5, 0.12)]}, {"early stopping": [(0.2, 0.4), (0.2, 0.44)]}
    ),
    "ensemble": ensemble_result(BOTH),
    "ablation": ablation_result(
        {("dropout when", name, 0.3): (0.5, 0.52) for name in ("never", "training alone")}
    ),
    "curves": curves_result(
        {(method, 0.3, d): (1.0, 0.9, 0.5, 0.6 + d / 9) for d in (0, 1)
         for method in ("LoRA", "AdaLoRA")}
    ),
    "calibration": calibration_result(
        {(p, "expected weight", d): [(10, 0.4, 0.5, 0.9, 0.9, 0.1 + d / 9)]
         for d in (0, 1) for p in (0.1, 0.3)}
    ),
    "sensitivity": sensitivity_result(
        {(p, 16, "expected weight"): (0.5 + p, 0.52) for p in (0.1, 0.5)}
    ),
    "cost": cost_result({("training", "one grouped pass", 8): ((5.0, 5.1), 1.25)}),
    "attribution": attribution_result([EFFECTS] * 8),
    "comparison": comparison_result({"Theorem 4.4": {50: 3.0, 100: 0.5}}),
    "finetune": finetune_result(
        {("adalora", p, "expected weight", d): (0.4, 0.5 + d) for p in (0.0, 0.3) for d in (0, 1)}
    ),
    "verify": verify_result((("Theorem 4.4", "as printed", "wine, n = 50", 0.1, 0.4), {})),
    "diverged": stability_result(*stability_cells(0.5, (NAN, (NAN, NAN)), (NAN, (NAN, NAN)))),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_the_first_line_answers_and_one_table_fits(name, capsys):
    result = RESULTS[name]
    result.show()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    before = " ".join(lines[: next(i for i, line in enumerate(lines) if "┏" in line)])
    assert " ".join(result.first_line.split()) in " ".join(before.split())
    # Numbers, and no question.
    assert name == "diverged" or re.search(r"\d", result.answer)
    assert result.answer[-1] in ".:"
    assert sum("┏" in line for line in lines) == 1
    assert "--details" in "".join(lines).replace("\n", "")
    # No cell is broken: what a number is, is one word group in one line.
    for cell in result.brief().iloc[:, 1]:
        assert any(str(cell) in line for line in lines) or cell in "".join(lines)


def test_where_all_networks_diverged_that_is_the_answer(capsys):
    result = RESULTS["diverged"]
    result.show()
    assert capsys.readouterr().out.startswith("Nothing is known: every network diverged.")
    assert repr(result).startswith("Nothing is known")


def test_one_draw_has_no_intervals_and_says_so(capsys):
    curves_result({("LoRA", 0.0, 0): (1.0, 0.5, 0.4, 0.6)}).show()
    said = capsys.readouterr().out
    assert "one draw: no intervals" in said
    assert "±" not in said


def test_a_bound_is_not_compared_with_a_change_of_0():
    still = stability_result(*stability_cells(0.5, (0.25, (0.0, 0.0)), (0.5, (0.0, 0.0))))
    assert "changes its loss by 0 " in still.answer
    assert "it cannot be compared, as the measured value is 0" in still.answer


def test_the_details_have_every_table_and_the_same_answer(capsys):
    result = RESULTS["stability"]
    result.show(details=True)
    said = capsys.readouterr().out
    assert said.count("┏") == len(result.text_tables())
    assert "Lemma 4.3" in said
    assert " ".join(said.split()).startswith(result.answer)


def test_stability_says_what_one_example_does_and_what_the_bound_is_worth():
    """The three bounds are 2 η² / (n (Λ_min + 2 λ (2p - p²))), of which the last is finite."""
    result = RESULTS["stability"]
    (row,) = result.bound_summary.query(
        "statement == 'Proposition 4.2' and strength == 1 and p == 0.5 and ensemble == 0"
    ).to_dict("records")
    assert result.answer.startswith("Leaving out one of 10 examples changes its loss by ")
    assert "at p = 0.1 and" in result.answer
    assert "Nothing here supports the bound of Proposition 4.2: " in result.answer
    ratio = row["bound"] / row["measured"]
    said = float(re.search(r"at λ = 1 .* (\S+) times", result.answer)[1].replace(",", ""))
    assert said == pytest.approx(max(ratio, 1 / ratio), rel=0.05)

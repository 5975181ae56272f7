"""The first screen: a sentence with numbers, one table within 80 columns, the way to the rest."""

import re

import pytest

from probes.results import first_screen
from probes.results.first_screen import MOST_ROWS
from tests.probes.report.tables import rivals_result
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
    said = f"{result.answer} {result.setting}"
    assert " ".join(before.split()).startswith(" ".join(said.split()))
    after = " ".join(lines[next(i for i, line in enumerate(lines) if "└" in line) + 1 :])
    assert " ".join(after.split()).startswith(result.said_of_numbers)
    # Numbers, and no question.
    assert name == "diverged" or re.search(r"\d", result.answer)
    assert result.answer[-1] in ".:"
    assert sum("┏" in line for line in lines) == 1
    assert "--details" in "".join(lines).replace("\n", "")
    # No cell is broken: what a number is, is one word group in one line.
    for cell in result.brief().iloc[:, 1]:
        assert any(str(cell) in line for line in lines) or cell in "".join(lines)


@pytest.mark.parametrize("name", RESULTS)
def test_no_line_of_words_is_broken_beside_a_sign(name, capsys):
    RESULTS[name].show()
    lines = [one for one in capsys.readouterr().out.splitlines() if "│" not in one]
    assert not [one for one in lines if re.search(r" [=±≤≥]$|^[=±≤≥] ", one)]


@pytest.mark.parametrize(("terminal", "most"), [(200, 80), (60, 60)])
def test_a_narrow_terminal_has_lines_of_its_width_and_a_wide_one_of_80(
    terminal, most, monkeypatch, capsys
):
    monkeypatch.setattr(first_screen, "output_width", lambda otherwise: terminal)
    RESULTS["stability"].show()
    assert most - 15 < max(map(len, capsys.readouterr().out.splitlines())) <= most


def test_an_ensemble_has_one_row_a_rate_with_the_difference_that_the_answer_cites():
    sizes = {(p, size): (0.5 + size / 1000, 0.52) for p in (0.1, 0.3) for size in (0, 1, 2, 4, 64)}
    result = ensemble_result(sizes)
    brief = result.brief()
    assert brief["p"].tolist() == ["0.1", "0.3"]
    assert list(brief) == ["p", "expected weight", "N = 64", "difference", "N = 1"]
    most = result.text().query("inference == 'ensemble, N = 64'")
    assert brief["difference"].tolist() == most["less expected weight"].tolist()
    assert brief["N = 64"].tolist() == most["test loss"].tolist()


def test_of_many_ensembles_the_first_screen_of_stability_has_the_largest():
    cells = [
        cell
        for p in (0.1, 0.3, 0.5, 0.7)
        for size in (0, 1, 2, 4)
        for cell in stability_cells(
            p, (0.5, (0.25, -0.75)), (0.5, (0.25, -0.25)),
            **({"inference": "ensemble", "ensemble": size} if size else {}),
        )
    ]  # fmt: skip
    result = stability_result(*cells)
    assert len(result.text()) == 16
    assert result.brief()["inference"].tolist() == ["expected weight", "ensemble of 4"] * 4
    assert result.said_of_brief == "of the ensembles the largest alone"


def test_of_many_rows_twelve_are_printed_over_all_rates_and_it_is_said(capsys):
    cells = [
        cell
        for place in range(15)
        for cell in stability_cells(place / 20, (0.5, (0.25, -0.75)), (0.5, (0.25, -0.25)))
    ]
    gap_result(*cells).show()
    printed = capsys.readouterr().out
    rows = [line.split("│") for line in printed.splitlines() if line.startswith("│")]
    assert len(rows) == MOST_ROWS == 12
    assert [rows[0][1].strip(), rows[-1][1].strip()] == ["0", "0.7"]
    assert "12 of 15 rows" in printed


def test_of_many_controls_the_first_screen_has_the_stablest_at_each_n_and_p():
    ends = {"early stopping": 0.4, "weight decay": 0.3, "learning rate": 0.5, "shrunk update": 0.6}
    controls = {name: [(0.2, end), (0.2, end + 0.04)] for name, end in ends.items()}
    dropout = {p: [(0.5, 0.1), (0.5, 0.12)] for p in (0.1, 0.3, 0.5, 0.7)}
    result = matched_result(dropout, controls)
    assert len(result.text()) == 16
    assert result.brief()["p"].tolist() == ["0.1", "0.3", "0.5", "0.7"]
    assert set(result.brief()["control"]) == {"weight decay"}
    assert result.said_of_brief == "of the controls the one with the smallest β"


def test_a_notebook_shows_what_the_command_line_prints(capsys):
    result = RESULTS["comparison"]
    result.show()
    printed = capsys.readouterr().out
    first, *folded = result._repr_html_().split("<details>")
    assert first.count("<table") == 1
    for name in ("statement", "bound", "measured", "not vacuous from n"):
        assert f"<th>{name}</th>" in first
    assert [cell for cell in result.brief().iloc[0] if cell not in printed] == []
    assert [cell for cell in result.brief().iloc[0] if f"<td>{cell}</td>" not in first] == []
    assert len(folded) == len(result.text_tables())


def test_a_grid_of_n_and_p_is_shown_by_its_ends():
    grid = {(p, N, "expected weight"): (0.5 + p + N, 0.52) for p in (0.1, 0.5) for N in (1, 2, 8)}
    brief = sensitivity_result(grid).brief()
    assert list(brief) == ["p", "test loss, N = 1", "test loss, N = 8", "gap, N = 1", "gap, N = 8"]
    assert len(brief) == 2


def test_of_every_part_of_the_ablation_the_ends_are_shown():
    losses = {"never": 0.5, "training alone": 0.4, "ensemble alone": 0.7,
              "training and ensemble": 0.6}  # fmt: skip
    result = ablation_result(
        {("dropout when", name, 0.3): (loss, loss + 0.02) for name, loss in losses.items()}
    )
    assert result.brief()["variant"].tolist() == ["training alone", "ensemble alone"]


def test_where_all_networks_diverged_that_is_the_answer(capsys):
    result = RESULTS["diverged"]
    result.show()
    assert capsys.readouterr().out.startswith("Nothing is known: every network diverged.")
    assert repr(result).startswith("Nothing is known")
    assert result.answer.startswith("Nothing is known")
    assert result.plot().get_suptitle().startswith("Nothing is known")


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


def test_the_first_screen_says_how_rivals_of_the_ensemble_compare_with_it():
    rivals = {(0.3, "masks"): [(0.1, 0.2, 0.5)] * 3, (0.3, "starts"): [(0.2, 0.3, 0.6)] * 3}
    said = rivals_result(rivals).said_of_brief
    assert "; rivals: of 1 comparison with the mask ensemble" in said
    assert "rivals" not in ensemble_result(BOTH).said_of_brief


@pytest.mark.parametrize("itself", ["one network", "masks, outputs averaged"])
@pytest.mark.parametrize(("p", "said"), [(0.0, "1 comparison"), (0.3, "2 comparisons")])
def test_without_masks_the_mask_ensemble_is_not_compared_with_itself(itself, p, said):
    masks = [(0.1, 0.2, 0.5)] * 3
    rivals = {(p, "masks"): masks, (p, itself): masks, (p, "starts"): [(0.2, 0.3, 0.6)] * 3}
    assert rivals_result(rivals).rivals_answer.startswith(f"Of {said} with the mask ensemble")


def test_comparisons_of_ensembles_that_a_single_draw_knows_do_not_count_as_equal():
    once, twice = [(0.1, 0.2, 0.5)], [(0.1, 0.2, 0.5), (0.2, 0.3, 0.7)]
    single = rivals_result({(0.3, "masks"): once, (0.3, "starts"): [(0.2, 0.3, 0.6)]})
    few = "comparison with the mask ensemble is known in fewer than two draws, which tells nothing"
    assert single.rivals_answer == f"1 {few}."
    more = rivals_result(
        {(0.3, "masks"): twice, (0.3, "starts"): [(0.2, 0.3, 0.6)], (0.3, "many halves"): twice}
    )
    assert more.rivals_answer.startswith("Of 1 comparison with")
    assert more.rivals_answer.endswith(f"larger. 1 {few}.")


def test_the_answer_on_ensembles_is_of_rates_with_masks():
    """Without masks the ensemble is the one network, which differs by 0 from itself."""
    without, masked = {(0.0, 0): (0.5, 0.6), (0.0, 4): (0.5, 0.6)}, {(0.3, 0): (0.5, 0.7)}
    said = ensemble_result(without | masked | {(0.3, 4): (0.55, 0.76)}).answer
    assert said.endswith("weight's is 0.06 ± 0.06 (p = 0.3).")
    assert ensemble_result(without).answer.endswith("is 0 (p = 0).")


def test_the_ablation_s_first_screen_says_what_differences_are_from():
    said = RESULTS["ablation"].said_of_brief
    assert said.endswith("difference: test loss less that of “never”")

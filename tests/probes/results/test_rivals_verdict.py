"""What is said of made-up losses: who wins, who is as good and cheaper, and at which n."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from probes.jobs.job import TableKind
from probes.rivals import END, RivalsResult, choose, labelled
from tests.probes.tables import tuned_result


def test_the_verdict_says_who_wins_and_who_is_cheaper():
    losses = {"LoRA": 1.0, "LoRA Dropout": 0.9, "LoRA Dropout, N = 4": 0.8, "weight decay": 0.7,
              "smaller rank": 1.2}  # fmt: skip
    said = tuned_result(losses).conclusion
    assert "tuned LoRA Dropout, N = 4 (strength 0.1)" in said
    assert "the difference is -0.2000 ± 0.0018 * over 8 fresh draws of S" in said
    assert "so LoRA Dropout wins" in said
    assert "as good or better and cheaper: weight decay (-0.1000 ± 0.0000 *, 0.25 times" in said
    assert "smaller rank" not in said
    assert "no rival is shown" not in said
    assert "Other n were not measured" in said


def test_three_rivals_of_a_kind_are_named_and_the_others_counted():
    four = {"LoRA": 1.0, "LoRA Dropout, N = 4": 0.8}
    rivals = ("weight decay", "smaller rank", "shrinking", "CoTo", "DropLoRA")
    said = tuned_result(four | dict(zip(rivals, (0.3, 0.4, 0.5, 0.6, 0.7), strict=True))).conclusion
    cheaper = (
        "Against it, as good or better and cheaper: weight decay (-0.5000 ± 0.0000 *, 0.25 times "
        "the passes); smaller rank (-0.4000 ± 0.0000 *, 0.25 times the passes); shrinking "
        "(-0.3000 ± 0.0000 *, 0.25 times the passes)"
    )
    assert f"{cheaper}; 2 more. " in said
    said = tuned_result(four | {"weight decay": 0.3, "smaller rank": 0.4, "shrinking": 0.5})
    assert f"{cheaper}. " in said.conclusion


def test_a_rival_that_is_better_for_more_passes_is_not_cheaper():
    said = tuned_result({"LoRA": 1.0, "LoRA Dropout": 0.9, "subbag of 4": 0.5}).conclusion
    assert (
        "Against it, no rival is shown to be as good for fewer passes; better but not cheaper: "
        "subbag of 4 (-0.4000 ± 0.0000 *, 4 times the passes)." in said
    )


def test_a_cheaper_rival_that_is_not_told_apart_is_named():
    made = tuned_result({"LoRA": 1.0, "LoRA Dropout, N = 4": 0.8, "weight decay": 0.8})
    rows = made.rows.copy()
    apart = rows["method"].eq("weight decay")
    rows.loc[apart, "test_loss"] += 0.1 * np.cos(np.arange(apart.sum()))
    said = replace(made, rows=rows.drop(columns="beta")).conclusion
    assert "for fewer passes; not told apart and cheaper: weight decay (" in said
    assert "*" not in said.partition("not told apart and cheaper")[2]
    assert "β" not in said


def test_as_good_for_as_many_passes_is_not_cheaper():
    said = tuned_result({"LoRA": 1.0, "LoRA Dropout": 0.9, "weight decay": 0.9}).conclusion
    assert "No rival is shown to be as good as it for fewer passes." in said


@pytest.mark.parametrize(
    ("loss", "words"), [(1.2, "LoRA Dropout loses"), (1.0, "the two are equal within 2%")]
)
def test_the_verdict_says_so_where_it_does_not_win(loss, words):
    said = tuned_result({"LoRA": 1.0, "LoRA Dropout": loss, "smaller rank": 2.0}).conclusion
    assert words in said
    assert "No rival is shown to be as good as it for fewer passes" in said


def test_a_small_margin_is_told_as_it_was_given():
    small = replace(
        tuned_result({"LoRA": 1.0, "LoRA Dropout": 1.0, "weight decay": 2.0}), margin=0.005
    )
    assert "the two are equal within 0.5%" in small.conclusion
    assert "equal: within 0.5% of LoRA's test loss" in small.note


def test_the_form_of_lora_dropout_is_chosen_by_the_draws_that_tune():
    losses = {"LoRA": 1.0, "LoRA Dropout": 0.9, "LoRA Dropout, N = 4": 0.5}
    tuned = losses | {"LoRA Dropout": 0.1}
    assert tuned_result(losses, tuned).contender == {16: "LoRA Dropout"}


def test_without_lora_dropout_the_rival_that_tuning_prefers_is_told():
    losses = {"LoRA": 1.0, "smaller rank": 0.9, "weight decay": 0.7}
    result = tuned_result(losses, n=(16, 32))
    assert result.contender == {16: "weight decay", 32: "weight decay"}
    said = result.conclusion
    assert "tuned weight decay (strength 0.1)" in said
    assert "-0.3000 ± 0.0018 * over 8 fresh draws of S, so weight decay wins" in said
    assert "wins at n = 16 (weight decay, -0.3000 ± 0.0018 *), 32 (weight decay, -0.3000" in said
    assert "LoRA Dropout" not in said
    assert "weight decay less LoRA: -0.300" in result.answer_counted


def test_lora_alone_is_said_to_be_alone():
    assert "LoRA alone was measured" in tuned_result({"LoRA": 1.0}).conclusion


def test_losses_of_networks_that_diverged_are_not_written_out():
    """They once had thirty digits in a sentence."""
    result = tuned_result({"LoRA": 1.0, "LoRA Dropout": 0.5})
    rows = result.rows.assign(test_loss=1e29 * result.rows["test_loss"], beta=np.nan)
    said = RivalsResult(rows, result.more).conclusion
    assert "has the test loss 5.0" in said
    assert "the difference is -5e+28 ± " in said
    assert "its β is not known, and the difference not known" in said
    assert max(map(len, said.split())) < 20


def test_what_diverged_once_does_not_win():
    result = tuned_result({"LoRA": 1.0, "LoRA Dropout": 0.5, "weight decay": 0.9})
    rows = result.rows.copy()
    rows.loc[(rows["method"] == "LoRA Dropout") & (rows["draw"] == 3), "test_loss"] = np.nan
    broken = RivalsResult(rows, result.more)
    assert "over 7 of 8 fresh draws of S, so LoRA Dropout diverged" in broken.conclusion
    assert "cheaper" not in broken.conclusion
    assert "diverged in 1" in broken.answer_counted
    assert "in 7 of 8 draws, diverged" in broken.answer_counted


def test_nothing_is_compared_with_a_reference_that_diverged():
    broken = tuned_result({"LoRA": np.nan, "LoRA Dropout": 0.5}, {"LoRA": 1.0, "LoRA Dropout": 0.5})
    assert "0 of 8 fresh draws of S, so the two are not compared: LoRA" in broken.conclusion
    assert "told apart" not in broken.conclusion


def test_a_win_above_the_best_constant_prediction_is_none():
    result = tuned_result({"LoRA": 1.0, "LoRA Dropout": 0.9}, n=(16, 32))
    for chance, words in ((2.0, "so LoRA Dropout wins"), (0.7, "nothing was learned")):
        told = RivalsResult(result.rows.assign(chance_risk=chance), result.more)
        assert words in told.conclusion
        assert ("wins at n = 16" in told.conclusion) == (chance > 1)
        assert told.answer_counted.endswith("nothing was learned.") == (chance < 1)


def test_over_n_every_size_is_told():
    said = tuned_result({"LoRA": 1.0, "LoRA Dropout": 0.9}, n=(16, 32)).conclusion
    assert said.startswith("On made up, n = 16, tuned LoRA Dropout")
    assert "LoRA Dropout wins at n = 16 (-0.1000 ± 0.0018 *), 32 (-0.1000 ± 0.0018 *)." in said


def test_of_every_size_it_is_told_whether_anything_was_learned():
    made = tuned_result({"LoRA": 1.0, "LoRA Dropout": 0.9}, n=(16, 32))
    rows = made.rows.assign(chance_risk=np.where(made.rows["n"] == 16, 2.0, 0.7))
    said = replace(made, rows=rows).conclusion
    assert (
        "wins at n = 16 (-0.1000 ± 0.0018 *); it learned nothing, nor did LoRA, at n = 32" in said
    )


def test_sizes_for_which_the_part_that_tunes_is_too_small_are_told():
    """Of 50 examples at most 49 are drawn, and cross validation trains on three quarters."""
    losses = {"LoRA": 1.0, "LoRA Dropout": 0.9}
    assert "with n examples to train on, on 1 draw from" in tuned_result(losses, n=(16, 36)).note
    told = tuned_result(losses, n=(16, 36, 40, 49)).note
    assert "to train on (37 at n = 40, 37 at n = 49: there are no more), on" in told


def test_settings_at_an_end_of_what_was_tried_are_told():
    made = tuned_result({"LoRA": 1.0, "weight decay": 0.5})
    tuning = made.more[TableKind.TUNING]
    worse = tuning.assign(validation_loss=9.0)
    grid = [
        tuning, worse.assign(lr=0.02), worse.assign(lr=0.005, share=0.5),
        worse[worse["method"] == "weight decay"].assign(strength=0.0),
    ]  # fmt: skip
    there = replace(made, more={TableKind.TUNING: pd.concat(grid, ignore_index=True)})
    assert there.note.endswith(
        "tuned to an end of what was tried: the largest strength (weight decay)"
    )
    inside = [*grid, worse[worse["method"] == "weight decay"].assign(strength=9.0)]
    there = replace(made, more={TableKind.TUNING: pd.concat(inside, ignore_index=True)})
    assert "an end" not in there.note


def test_settings_are_found_by_their_names():
    tuning = tuned_result({"LoRA": 1.0, "weight decay": 0.5}).more[TableKind.TUNING]
    found = labelled(tuning, choose(tuning))
    assert found["method"].tolist() == ["LoRA", "weight decay", END]


def tuned_on(losses):
    """Made-up losses on fresh draws, and the given ones on the draws that tuned, by method."""
    made = tuned_result({"LoRA": 1.0, "weight decay": 0.5})
    first = made.more[TableKind.TUNING].set_index("method", drop=False).to_dict("index")
    tuning = [
        first[method] | {"draw": draw, "validation_loss": loss}
        for method, values in losses.items()
        for draw, loss in enumerate(values)
    ]
    return replace(made, more={TableKind.TUNING: pd.DataFrame(tuning)})


def test_where_lora_was_tuned_badly_it_is_said_before_any_verdict():
    result = tuned_on({"LoRA": [0.1, 0.2, 0.15], "weight decay": [0.5, 0.6, 0.52]})
    said = result.conclusion
    assert said.startswith(
        "LoRA may be tuned badly at n = 16: its loss less the median of the other methods' was "
        "-0.3900 on the 3 draws that tuned and is 0.5000 on fresh ones. What is better"
    )
    assert "On made up, n = 16, tuned weight decay" in said
    title = " ".join(result.plot().get_suptitle().split())
    assert title == f"LoRA may be tuned badly. {result.answer_counted}"


@pytest.mark.parametrize(
    "losses",
    [
        {"LoRA": [0.9, 1.2, 1.0], "weight decay": [0.4, 0.7, 0.52]},
        # All methods have less loss on the examples that tune: these are easier.
        {"LoRA": [0.51, 0.62, 0.55], "weight decay": [0.0, 0.1, 0.07]},
        {"LoRA": [0.1], "weight decay": [0.5]},
        {"LoRA": [0.1, 0.2, 0.15], "weight decay": [np.inf] * 3},
    ],
)
def test_where_lora_is_as_it_was_beside_the_others_nothing_is_said(losses):
    assert tuned_on(losses).doubt == ""

"""What is recommended where the numbers are known: of made-up losses, the choice and its words."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from probes.jobs.job import TableKind
from probes.recommend import RecommendResult, RecommendSettings
from probes.results.recommendation import CONSTANT
from probes.tasks.packaged import packaged
from probes.tasks.tweets import MODEL
from tests.probes.tables import recommend_result


def made_up(losses, choosing=None, draws=6, noise=0.01, chance=2.0):
    """A result whose methods have the given mean losses, with a noise that is not shared.

    Args:
        losses: by method, mean loss on the draws that tell.
        choosing: likewise on those that choose, four; the same if left out.
        draws: that tell.
        noise: standard deviation.
        chance: loss of the constant prediction.
    """
    generator = np.random.default_rng(0)

    def drawn(means, size):
        return {
            method: mean + noise * generator.normal(size=size) for method, mean in means.items()
        }

    return recommend_result(drawn(losses, draws), drawn(choosing or losses, 4), chance)


def chosen(losses, **more):
    return made_up(losses, **more).choice.recommended.method


PAIR = {"LoRA": 1.0, "LoRA Dropout": 0.5}


def test_the_clearly_best_is_chosen_whatever_it_costs():
    assert chosen(PAIR | {"LoRA Dropout, ensemble of 16": 0.2}) == "LoRA Dropout, ensemble of 16"


def test_of_those_that_cannot_be_told_apart_the_cheapest_is_chosen():
    losses = {"LoRA": 1.0, "LoRA Dropout, N = 4": 0.5, "LoRA Dropout, ensemble of 16": 0.5,
              "weight decay": 0.5}  # fmt: skip
    assert chosen(losses, noise=0) == "weight decay"


def test_lora_dropout_is_recommended_only_where_it_wins():
    choice = made_up({"LoRA": 0.5, "LoRA Dropout": 0.8}).choice
    assert choice.recommended.method == "LoRA"
    assert choice.reason.startswith("Use LoRA with learning rate 0.001, stopped after 20 steps")
    assert "No gain is shown: LoRA Dropout (0.1)" in choice.reason
    assert choice.gain_high < 0


def test_a_gain_of_the_draws_that_chose_is_none():
    """It wins by far where it was chosen, and not where it is told."""
    result = made_up({"LoRA": 1.0, "LoRA Dropout": 1.0}, choosing=PAIR)
    choice = result.choice
    assert (choice.recommended.method, choice.rival.method) == ("LoRA", "LoRA Dropout")
    assert not choice.gains


def test_numbers_are_of_the_draws_that_did_not_choose():
    result = made_up(PAIR, noise=0.05)
    by_draw = result.rows.pivot_table(index="draw", columns="method", values="risk")
    choice = result.choice
    assert choice.gain == pytest.approx((by_draw["LoRA"] - by_draw["LoRA Dropout"]).mean())
    assert choice.risk == pytest.approx(by_draw["LoRA Dropout"].mean())
    assert (choice.choosing_draws, choice.telling_draws) == (4, 6)
    assert choice.gain_low > 0
    assert choice.equals == ("LoRA Dropout",)


def test_what_is_recommended_can_be_fine_tuned_with():
    said = made_up(PAIR).conclusion
    assert (
        'python -m probes.finetune --regularizer "LoRA Dropout" --strength 0.1 --rank 2 --alpha 2 '
        "--learning_rate 0.001 --max_steps 20 --per_device_train_batch_size 10" in said
    )


@pytest.mark.parametrize(("task", "named"), [("text", "FILE"), ("tweets", "tweets")])
def test_texts_are_fine_tuned_with_as_they_were_tuned(task, named):
    """Without a task the command would train on GLUE."""
    result = made_up(PAIR)
    rows = result.rows.assign(task=task)
    said = replace(result, rows=rows).conclusion
    assert f"probes.finetune --task {named} --n {rows['n'].iloc[0]} --regularizer" in said


def test_the_command_names_the_file_the_columns_and_the_model_that_were_given():
    """With a placeholder, and the usual columns and model, it failed or trained another model."""
    asked = RecommendSettings(
        data="my texts.csv", text_column="message", label_column="kind", model="mine", layers=2
    )
    made = made_up(PAIR)
    result = replace(made, rows=made.rows.assign(task="text"), texts=asked.given_texts)
    command = result.conclusion.partition("python -m probes.finetune ")[2]
    given = from_words(shlex.split(command))
    assert given["task"] == "my texts.csv"
    assert (given["text-column"], given["label-column"]) == ("message", "kind")
    assert (given["model"], given["n"]) == ("mine", str(made.rows["n"].iloc[0]))
    assert not {"data", "layers", "encoding"} & set(given)


def test_the_command_names_the_model_that_was_tuned_where_none_was_given():
    """Fine-tuning takes DeBERTa for a file, for which the learning rate was not tuned."""
    made = made_up(PAIR)
    rows = made.rows.assign(task="text")
    result = replace(made, rows=rows, texts=RecommendSettings(data="mine.csv").given_texts)
    command = result.conclusion.partition("python -m probes.finetune ")[2]
    assert from_words(shlex.split(command))["model"] == str(packaged(MODEL))


def from_words(words):
    """Values of a command line of which every flag has one."""
    return {
        flag.removeprefix("--"): value for flag, value in zip(words[::2], words[1::2], strict=True)
    }


def test_the_command_trains_as_the_files_say():
    """In batches of all n, for which the learning rate was tuned."""
    result = made_up(PAIR)
    said = from_words(shlex.split(result.conclusion.partition("python -m probes.finetune ")[2]))
    written = json.loads(result.documents()["training_arguments.json"])
    assert {name: said[name] for name in written} == {
        name: str(value) for name, value in written.items()
    }


@pytest.mark.parametrize(("share", "said"), [(0.5, False), (1.0, True)])
def test_a_choice_at_the_end_of_the_grid_is_said_to_be_one(share, said):
    result = made_up(PAIR)
    tables = [table.assign(share=share) for table in (result.rows, result.more[TableKind.TUNING])]
    moved = RecommendResult(tables[0], {TableKind.TUNING: tables[1]})
    assert ("give more --steps" in moved.conclusion) == said


@pytest.mark.parametrize(("share", "said"), [(0.5, False), (1.0, True)])
def test_where_nothing_was_learned_more_steps_are_named_if_the_last_were_taken(share, said):
    result = made_up({"LoRA": 2.4, "LoRA Dropout": 2.1})
    tables = [table.assign(share=share) for table in (result.rows, result.more[TableKind.TUNING])]
    conclusion = RecommendResult(tables[0], {TableKind.TUNING: tables[1]}).conclusion
    assert conclusion.startswith("Nothing was learned: ")
    assert conclusion.endswith("tried: give more --steps or --minutes.") == said


def test_what_is_no_better_than_a_constant_is_not_recommended():
    result = made_up({"LoRA": 2.4, "LoRA Dropout": 2.1})
    choice = result.choice
    assert (choice.recommended.method, choice.nothing_learned) == (CONSTANT, True)
    assert (choice.risk, choice.chance) == (2.0, 2.0)
    assert choice.reason.startswith(
        "Nothing was learned: the best constant prediction has loss 2.0"
    )
    assert "finetune" not in result.conclusion
    assert result.text()[["", "method"]].iloc[0].tolist() == ["*", CONSTANT]
    written = json.loads(result.to_json())
    assert written["choice"]["nothing_learned"] is True
    assert written["choice"]["recommended"]["strength"] is None
    assert [one["chosen"] for one in written["candidates"]] == [True, False, False]


def test_what_is_as_good_as_a_constant_is_not_called_worse():
    reason = recommend_result({"LoRA": [1.5, 2.0, 2.5]}, chance=2.0).choice.reason
    assert reason.endswith("2.0000 over 3 draws of S, and that of LoRA is the same.")


def test_what_may_be_better_than_a_constant_is_said_not_to_be_shown():
    reason = made_up(PAIR, draws=2, noise=0.5, chance=1.5).choice.reason
    assert reason.startswith("Nothing was learned that 2 draws of S can show")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["risk", "beta", "train_loss"])
def test_a_run_that_diverged_spoils_nothing_else(name, value):
    """Not even where it is the best, or where only a network without an example diverged."""
    made = made_up(PAIR | {"weight decay": 0.1})
    rows = made.rows.copy()
    rows.loc[(rows["method"] == "weight decay") & (rows["draw"] == 1003), name] = value
    broken = RecommendResult(rows, made.more)
    sound = RecommendResult(
        rows[rows["method"] != "weight decay"],
        {TableKind.TUNING: made.more[TableKind.TUNING].query("method != 'weight decay'")},
    )
    assert broken.choice.diverged == {"weight decay (0.1)": 1}
    assert "(1 of 10 draws)" in broken.choice.reason
    pd.testing.assert_frame_equal(broken.summary[:-1], sound.summary)
    last = broken.summary.iloc[-1]
    assert (last["draws"], last["diverged"], last["risk_draws"]) == (6, 1, 5)
    for field in ("recommended", "gain", "gain_low", "margin", "risk"):
        assert getattr(broken.choice, field) == getattr(sound.choice, field)


def test_a_constant_without_a_finite_loss_is_said_to_have_none():
    choice = made_up({"LoRA": 0.7, "LoRA Dropout": 0.5}, chance=np.inf).choice
    assert choice.learned is None
    assert choice.reason.endswith("so nothing says whether it learned.")


def test_where_everything_diverged_it_is_said():
    made = made_up(PAIR)
    choice = RecommendResult(made.rows.assign(risk=np.nan), made.more).choice
    assert choice.nothing_learned
    assert choice.reason.startswith("Nothing was learned: every candidate diverged.")

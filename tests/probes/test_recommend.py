"""The recommendation: what it chooses from numbers that are known, and how it spends its time."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from probes import recommend
from probes.recommend import RecommendResult, RecommendSettings
from probes.results.recommendation import Candidate
from probes.tasks import TASKS
from tests.probes.commands import assert_refused, run_here
from tests.probes.encoders import save_bert, write_reviews

SMALL = {"task": "breast_cancer", "n": 8, "steps": 5, "minutes": 1e-6}
EXPECTED, ENSEMBLE = "expected weight", "ensemble"


def made_up(losses, draws=9, noise=0.01, chance=2.0):
    """A result whose candidates have the given mean losses, with a noise that is not shared."""
    generator = np.random.default_rng(0)
    rows = [
        {
            "p": p, "samples": samples, "inference": inference, "draw": draw,
            "risk": loss + noise * generator.standard_normal(), "score": 0.5, "gap": 0.1,
            "beta": 0.1, "ece": 0.1, "train_loss": 0.1, "test_loss": loss, "loo_loss": loss,
            "task": "made up", "n": 9, "rank": 2, "steps": 3, "ensemble": 16, "held_out": True,
            "score_name": "accuracy", "chance_risk": chance, "chance_score": 0.2,
        }
        for (p, samples, inference), loss in losses.items()
        for draw in range(draws)
    ]  # fmt: skip
    return RecommendResult(pd.DataFrame(rows))


def chosen(losses, **more):
    choice = made_up(losses, **more).choice
    return choice.p, choice.samples, choice.inference


PAIR = {(0.0, 1, "no masks"): 1.0, (0.3, 1, EXPECTED): 0.5}
#: Two draws of the third of the draws that choose.
FIRST, SECOND = 2, 5


def test_the_clearly_best_is_chosen_whatever_it_costs():
    losses = {(0.0, 1, "no masks"): 1.0, (0.3, 1, EXPECTED): 0.8, (0.3, 4, ENSEMBLE): 0.5}
    assert chosen(losses) == (0.3, 4, ENSEMBLE)


def test_of_those_that_cannot_be_told_apart_the_cheapest_is_chosen():
    losses = {
        (0.0, 1, "no masks"): 1.0, (0.3, 1, EXPECTED): 0.5, (0.3, 4, EXPECTED): 0.5,
        (0.3, 1, ENSEMBLE): 0.5,
    }  # fmt: skip
    result = made_up(losses, noise=0)
    assert result.choice.recommended == Candidate(0.3, 1, EXPECTED)


def test_one_draw_chooses_nothing_and_claims_nothing():
    choice = made_up({(0.0, 1, "no masks"): 1.0, (0.3, 4, ENSEMBLE): 0.5}, draws=1).choice
    assert choice.recommended == Candidate(0.0, 1, "no masks")
    assert (choice.learned, choice.nothing_learned, choice.gains) == (None, False, False)
    assert "says nothing about the uncertainty" in choice.reason
    assert np.isnan(choice.low)


def test_two_draws_choose_nothing():
    choice = made_up(PAIR, draws=2).choice
    assert (choice.p, choice.learned, choice.rival) == (0, True, None)
    assert "Fewer than three draws choose nothing else" in choice.reason


def test_no_dropout_is_recommended_where_dropout_hurts():
    choice = made_up({(0.0, 1, "no masks"): 0.5, (0.3, 1, EXPECTED): 0.8}).choice
    assert choice.p == 0
    assert choice.reason.startswith("Use p = 0: loss")
    assert "No gain is shown: p = 0.3" in choice.reason
    assert choice.gain_high < 0


def test_numbers_are_of_the_draws_that_did_not_choose():
    result = made_up(PAIR, noise=0.05)
    told = result.rows[result.rows["draw"] % 3 != 2]
    by_draw = told.pivot_table(index="draw", columns="p", values="risk")
    choice = result.choice
    assert choice.gain == pytest.approx((by_draw[0.0] - by_draw[0.3]).mean())
    assert choice.risk == pytest.approx(by_draw[0.3].mean())
    assert (choice.choosing_draws, choice.telling_draws) == (3, 6)
    assert choice.gain_low > 0
    assert choice.equals == (0.3,)


def test_what_is_no_better_than_a_constant_is_not_recommended():
    result = made_up({(0.0, 1, "no masks"): 2.4, (0.3, 1, EXPECTED): 2.1})
    choice = result.choice
    assert (choice.inference, choice.samples, choice.nothing_learned) == ("constant", 0, True)
    assert np.isnan(choice.p)
    assert (choice.risk, choice.chance) == (2.0, 2.0)
    assert choice.reason.startswith(
        "Nothing was learned: the best constant prediction has loss 2.0"
    )
    assert result.text()[""].tolist() == ["*", "", ""]
    written = json.loads(result.to_json())
    assert written["choice"]["nothing_learned"] is True
    assert written["choice"]["p"] is None
    assert [one["chosen"] for one in written["candidates"]] == [True, False, False]


def test_what_may_be_better_than_a_constant_is_said_not_to_be_shown():
    reason = made_up(PAIR, draws=2, noise=0.5, chance=1.5).choice.reason
    assert reason.startswith("Nothing was learned that 2 draws of S can show")


@pytest.mark.parametrize("draw", [0, FIRST, SECOND])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["risk", "beta", "train_loss"])
def test_a_run_that_diverged_spoils_nothing_else(name, value, draw):
    """Not even where it is the best, or where only a network without an example diverged."""
    losses = PAIR | {(0.5, 4, EXPECTED): 0.1}
    sound = made_up(PAIR)
    rows = made_up(losses).rows
    rows.loc[(rows["p"] == 0.5) & (rows["draw"] == draw), name] = value
    broken = RecommendResult(rows)
    assert broken.choice.diverged == {"p = 0.5, 4 mask pairs a step, expected weight inference": 1}
    assert "(1 of 9 draws)" in broken.choice.reason
    pd.testing.assert_frame_equal(broken.summary[:-1], sound.summary)
    last = broken.summary.iloc[-1]
    assert (last["draws"], last["diverged"]) == (6, 1)
    assert (last[["risk_draws", "score_draws", "beta_draws"]] == 6 - (draw == 0)).all()
    for field in ("p", "samples", "inference", "gain", "gain_low", "margin", "risk", "equals"):
        assert getattr(broken.choice, field) == getattr(sound.choice, field)


def test_where_everything_diverged_it_is_said():
    rows = made_up(PAIR).rows.assign(risk=np.nan)
    choice = RecommendResult(rows).choice
    assert choice.nothing_learned
    assert choice.reason.startswith("Nothing was learned: every candidate diverged.")


def test_networks_that_diverge_are_measured():
    result = recommend.measure(p=[0, 0.3], samples=1, ensemble=2, lr=1e30, **SMALL)
    assert result.choice.nothing_learned
    assert set(result.choice.diverged.values()) == {1}
    assert np.isfinite(result.choice.risk)


@pytest.mark.parametrize("task", ["breast_cancer", "digits", "ridge"])
@pytest.mark.parametrize("order", [0, 1])
def test_of_permuted_labels_nothing_is_learned(task, order, monkeypatch):
    """And of the true ones something is."""
    true = TASKS[task]()
    permutation = torch.randperm(len(true), generator=torch.Generator().manual_seed(order))
    settings = {
        "task": task, "n": 24, "steps": 60, "lr": 1e-2, "p": [0, 0.3], "samples": 1, "ensemble": 2,
        "minutes": 10, "seed": order,
    }  # fmt: skip
    monkeypatch.setattr(recommend, "MOST_DRAWS", 9)
    assert recommend.measure(**settings).choice.learned
    permuted = replace(true, targets=true.targets[permutation])
    monkeypatch.setitem(TASKS, task, lambda: permuted)
    choice = recommend.measure(**settings).choice
    assert choice.nothing_learned
    assert choice.reason.startswith("Nothing was learned")


def test_one_pass_over_the_grid_is_made_however_short_the_time():
    result = recommend.measure(p=[0, 0.3], samples=[1, 2], ensemble=2, **SMALL)
    assert result.rows["draw"].unique().tolist() == [0]
    counts = result.rows.groupby(["p", "samples"]).size()
    assert counts.to_dict() == {(0.0, 1): 1, (0.3, 1): 2, (0.3, 2): 2}


def test_more_time_is_more_draws_and_the_first_ones_are_the_same():
    short = recommend.measure(p=0.3, samples=1, ensemble=2, **SMALL)
    long = recommend.measure(p=0.3, samples=1, ensemble=2, **(SMALL | {"minutes": 0.05}))
    assert long.rows["draw"].nunique() > 1
    first = long.rows[long.rows["draw"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, short.rows)


def test_without_held_out_data_the_replicas_judge(tmp_path):
    data = write_reviews(tmp_path / "reviews.csv")
    result = recommend.measure(
        data=data, text_column="review", label_column="liked", model=save_bert(tmp_path / "m"),
        tokens=8, n=20, p=[0, 0.3], samples=1, ensemble=2, steps=2, minutes=1e-6,
    )  # fmt: skip
    rows = result.rows
    assert not rows["held_out"].any()
    assert rows["risk"].tolist() == pytest.approx(rows["loo_loss"].tolist())
    assert (rows["loo_loss"] - rows["train_loss"]).tolist() == pytest.approx(
        rows["beta_signed"].tolist()
    )
    assert "leave-one-out replicas" in result.note
    # Of as many who liked it as did not, in S.
    assert (rows["chance_risk"] <= np.log(2)).all()


def test_the_figure_marks_the_choice():
    result = made_up(PAIR | {(0.5, 1, EXPECTED): 0.7})
    axes = result.plot().axes[0]
    rings = [line for line in axes.get_lines() if line.get_label() == "recommended"]
    assert rings[0].get_xdata().tolist() == [0.3]
    assert rings[0].get_ydata().tolist() == [result.choice.risk]


def test_the_command_line_answers(tmp_path):
    flags = ["--task", "breast_cancer", "--n", "24", "--steps", "60", "--lr", "1e-2", "--p", "0",
             "0.3", "--samples", "1", "--minutes", "0.02"]  # fmt: skip
    done = run_here("recommend", *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Use p = " in done.stdout
    assert (tmp_path / "runs/recommend/recommend.png").exists()
    content = json.loads(run_here("recommend", *flags, "--json", cwd=tmp_path).stdout)
    assert content["choice"]["p"] in (0, 0.3)
    assert len(content["candidates"]) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0"], ["minutes must be positive", "0.0"]),
        (["--p", "1.5"], ["p must be in [0, 1)"]),
        (["--data", "nowhere.csv"], ["nowhere.csv"]),
        (["--task", "chess"], ["task must be one of"]),
    ],
)
def test_bad_values_are_refused(arguments, words, tmp_path):
    assert_refused("recommend", arguments, words, tmp_path)


def test_own_data_mean_the_task_text():
    with pytest.raises(ValueError, match=r"nowhere\.csv, which is not there"):
        RecommendSettings(data="nowhere.csv").cells()

"""The recommendation: what it chooses from numbers that are known, and how it spends its time."""

import json

import numpy as np
import pandas as pd
import pytest

from probes import recommend
from probes.recommend import RecommendResult, RecommendSettings
from tests.probes.commands import assert_refused, run_here
from tests.probes.encoders import save_bert, write_reviews

SMALL = {"task": "breast_cancer", "n": 8, "steps": 5, "minutes": 1e-6}


def made_up(losses, draws=6, noise=0.01, held_out=True):
    """A result whose candidates have the given mean losses, with a noise that is not shared."""
    generator = np.random.default_rng(0)
    rows = [
        {
            "p": p, "samples": samples, "inference": inference, "draw": draw,
            "risk": loss + noise * generator.standard_normal(), "score": 0.5, "gap": 0.1,
            "beta": 0.1, "ece": 0.1, "train_loss": 0.1, "test_loss": loss, "loo_loss": loss,
            "task": "made up", "n": 9, "rank": 2, "steps": 3, "ensemble": 16,
            "held_out": held_out, "score_name": "accuracy",
        }
        for (p, samples, inference), loss in losses.items()
        for draw in range(draws)
    ]  # fmt: skip
    return RecommendResult(pd.DataFrame(rows))


EXPECTED, ENSEMBLE = "expected weight", "ensemble"


def chosen(losses, **more):
    choice = made_up(losses, **more).choice
    return choice.p, choice.samples, choice.inference


def test_the_clearly_best_is_chosen_whatever_it_costs():
    losses = {(0.0, 1, "no masks"): 1.0, (0.3, 1, EXPECTED): 0.8, (0.3, 4, ENSEMBLE): 0.5}
    assert chosen(losses) == (0.3, 4, ENSEMBLE)


def test_of_those_that_cannot_be_told_apart_the_cheapest_is_chosen():
    losses = {
        (0.0, 1, "no masks"): 1.0, (0.3, 1, EXPECTED): 0.502, (0.3, 4, EXPECTED): 0.501,
        (0.3, 1, ENSEMBLE): 0.5,
    }  # fmt: skip
    assert chosen(losses, noise=0.05) == (0.3, 1, EXPECTED)


def test_with_one_draw_the_least_loss_is_chosen_and_nothing_is_claimed():
    result = made_up({(0.0, 1, "no masks"): 1.0, (0.3, 4, ENSEMBLE): 0.5}, draws=1)
    assert result.choice.inference == ENSEMBLE
    assert "says nothing about the uncertainty" in result.choice.reason
    assert np.isnan(result.choice.low)


def test_no_dropout_is_recommended_where_dropout_hurts():
    choice = made_up({(0.0, 1, "no masks"): 0.5, (0.3, 1, EXPECTED): 0.8}).choice
    assert choice.p == 0
    assert choice.reason.startswith("Use p = 0: loss")
    assert np.isnan(choice.gain)


def test_the_gain_is_paired_with_no_dropout():
    result = made_up({(0.0, 1, "no masks"): 1.0, (0.3, 1, EXPECTED): 0.5})
    by_draw = result.rows.pivot_table(index="draw", columns="p", values="risk")
    assert result.choice.gain == pytest.approx((by_draw[0.0] - by_draw[0.3]).mean())
    assert result.choice.gain_low > 0
    assert result.choice.equals == (0.3,)


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


def test_the_figure_marks_the_choice():
    result = made_up({(0.0, 1, "no masks"): 1.0, (0.3, 1, EXPECTED): 0.5, (0.5, 1, EXPECTED): 0.7})
    axes = result.plot().axes[0]
    rings = [line for line in axes.get_lines() if line.get_label() == "recommended"]
    assert rings[0].get_xdata().tolist() == [0.3]
    assert rings[0].get_ydata().tolist() == [result.choice.risk]


def test_the_command_line_answers(tmp_path):
    flags = ["--task", "breast_cancer", "--n", "8", "--steps", "5", "--p", "0", "0.3",
             "--samples", "1", "--minutes", "0.02"]  # fmt: skip
    done = run_here("recommend", *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Use p = " in done.stdout
    assert (tmp_path / "runs/recommend/recommend.png").exists()
    content = json.loads(run_here("recommend", *flags, "--json", cwd=tmp_path).stdout)
    assert content["choice"]["p"] in (0, 0.3)
    assert len(content["candidates"]) == 3


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

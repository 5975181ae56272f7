"""The recommendation: what it chooses from numbers that are known, and how it spends its time."""

import json
import time
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from probes import recommend
from probes.cells.tuning_plan import Grid
from probes.jobs.job import TableKind
from probes.jobs.store import Store
from probes.jobs.sweep import Sweep
from probes.jobs.time_limit import TimeLimit
from probes.recommend import METHODS, RecommendResult, RecommendSettings
from probes.results.recommendation import CONSTANT
from probes.tasks import TASKS
from probes.tasks.own_model import OwnModel
from probes.training.rivals import RIVALS
from tests.probes.commands import assert_refused, run_here
from tests.probes.encoders import save_bert, write_reviews

pytestmark = pytest.mark.slow

SMALL = {
    "task": "breast_cancer", "n": 12, "steps": 20, "method": ["LoRA Dropout"], "trainings": 2,
    "minutes": 5,
}  # fmt: skip


@pytest.fixture
def few(monkeypatch):
    """Few draws, however much time there is."""
    monkeypatch.setattr(recommend, "MOST_CHOOSING", 2)
    monkeypatch.setattr(recommend, "MOST_TELLING", 3)


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
    tuning, rows = [], []
    for method, loss in losses.items():
        setting = {"method": method, "strength": RIVALS[method].strengths[0], "lr": 0.01,
                   "share": 0.5}  # fmt: skip
        for draw in range(4):
            mean = (choosing or losses)[method]
            tuning.append(
                setting | {"draw": draw, "validation_loss": mean + noise * generator.normal()}
            )
        for draw in range(1000, 1000 + draws):
            rows.append(
                setting
                | {
                    "draw": draw, "risk": loss + noise * generator.normal(), "score": 0.5,
                    "gap": 0.1, "beta": 0.1, "ece": 0.1, "ece_floor": 0.05, "train_loss": 0.1,
                    "test_loss": loss, "task": "made up", "n": 9, "rank": 2, "steps": 6, "stop": 3,
                    "passes": 3 * RIVALS[method].passes, "judge": "test set",
                    "test_passes": RIVALS[method].test_passes, "score_name": "accuracy",
                    "chance_risk": chance, "chance_score": 0.2,
                }
            )  # fmt: skip
    return RecommendResult(pd.DataFrame(rows), {TableKind.TUNING: pd.DataFrame(tuning)})


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
    assert choice.reason.startswith("Use LoRA with learning rate 0.01, stopped after 3 steps")
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
        "--learning_rate 0.01 --max_steps 3" in said
    )


@pytest.mark.parametrize(("task", "named"), [("text", "FILE"), ("tweets", "tweets")])
def test_texts_are_fine_tuned_with_as_they_were_tuned(task, named):
    """Without a task the command would train on GLUE."""
    result = made_up(PAIR)
    rows = result.rows.assign(task=task)
    said = replace(result, rows=rows).conclusion
    assert f"probes.finetune --task {named} --n {rows['n'].iloc[0]} --regularizer" in said


def test_few_texts_are_too_few_whatever_n_is(tmp_path):
    """It once asked for an n of at least 8, and then for one of at most 3."""
    table = pd.DataFrame({"text": ["good", "bad", "fine", "awful"], "label": list("abab")})
    table.to_csv(tmp_path / "four.csv", index=False)
    for question in ("recommend", "rivals"):
        task = ["--task", "text", "--data", "four.csv", "--n", "2"]
        done = run_here(question, *task, cwd=tmp_path)
        assert done.returncode == 2
        assert "number of examples must be" in done.stderr
        assert done.stderr.strip().endswith("got 4")


@pytest.mark.parametrize(("share", "said"), [(0.5, False), (1.0, True)])
def test_a_choice_at_the_end_of_the_grid_is_said_to_be_one(share, said):
    result = made_up(PAIR)
    tables = [table.assign(share=share) for table in (result.rows, result.more[TableKind.TUNING])]
    moved = RecommendResult(tables[0], {TableKind.TUNING: tables[1]})
    assert ("give more --steps" in moved.conclusion) == said


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


def test_networks_that_diverge_are_measured(few):
    result = recommend.measure(**SMALL | {"lr": 1e30})
    assert result.choice.nothing_learned
    assert result.choice.recommended.method == CONSTANT
    assert np.isfinite(result.choice.risk)


@pytest.mark.parametrize("task", ["breast_cancer", "digits", "ridge"])
def test_of_permuted_labels_nothing_is_learned(task, monkeypatch):
    """And of the true ones something is."""
    true = TASKS[task]()
    permutation = torch.randperm(len(true), generator=torch.Generator().manual_seed(0))
    settings = {"task": task, "n": 24, "steps": 60, "method": "LoRA Dropout", "trainings": 4,
                "minutes": 5}  # fmt: skip
    monkeypatch.setattr(recommend, "MOST_CHOOSING", 2)
    monkeypatch.setattr(recommend, "MOST_TELLING", 6)
    monkeypatch.setattr(recommend, "_beside", lambda *known: "none")
    assert recommend.measure(**settings).choice.learned
    permuted = replace(true, targets=true.targets[permutation])
    monkeypatch.setitem(TASKS, task, lambda: permuted)
    choice = recommend.measure(**settings).choice
    assert choice.nothing_learned
    assert choice.reason.startswith("Nothing was learned")


def test_where_not_even_the_least_fits_it_is_said_what_it_takes_and_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match=r"minutes must be at least about .* one training takes"):
        recommend.measure(**SMALL | {"minutes": 1e-6, "out": tmp_path / "new"})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("minutes", [0.05, 0.15])
def test_it_ends_in_time(minutes):
    start = time.perf_counter()
    result = recommend.measure(**SMALL | {"minutes": minutes, "trainings": 16})
    # A draw is begun if one as long as the longest fits: half as much again is a slow machine.
    assert time.perf_counter() - start <= 1.5 * 60 * minutes
    assert result.choice.telling_draws >= 2


def test_draws_that_tell_have_no_start_and_no_masks_of_those_that_choose(few):
    result = recommend.measure(**SMALL)
    assert not {*result.rows["draw"]} & {*result.more[TableKind.TUNING]["draw"]}


def test_without_held_out_data_networks_that_did_not_see_an_example_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(recommend, "MOST_CHOOSING", 1)
    monkeypatch.setattr(recommend, "MOST_TELLING", 2)
    data = write_reviews(tmp_path / "reviews.csv")
    result = recommend.measure(
        data=data, text_column="review", label_column="liked", model=save_bert(tmp_path / "m"),
        tokens=8, n=20, method="LoRA Dropout", trainings=1, steps=2, minutes=1,
    )  # fmt: skip
    rows = result.rows
    assert {*rows["judge"]} == {"unseen"}
    assert "did not see it" in result.note
    # Of as many who liked it as did not, in S.
    assert (rows["chance_risk"] <= np.log(2)).all()
    if "beta_signed" in rows:
        assert (rows["risk"] - rows["train_loss"]).tolist() == pytest.approx(
            rows["beta_signed"].tolist()
        )


def test_the_command_line_answers_and_writes_a_config_of_peft(tmp_path):
    flags = ["--task", "breast_cancer", "--n", "24", "--steps", "60", "--method", "LoRA Dropout",
             "--minutes", "0.1"]  # fmt: skip
    done = run_here("recommend", *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Use LoRA" in done.stdout
    folder = tmp_path / "runs/recommend"
    assert (folder / "recommend.png").exists()
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 1)
    assert json.loads((folder / "training_arguments.json").read_text())["max_steps"] <= 60
    written = {"adapter_config.json", "training_arguments.json", "method.json"}
    assert written <= {*json.loads((folder / "manifest.json").read_text())["files"]}
    assert written <= {*done.stdout.splitlines()[-1].partition("/: ")[2].split(", ")}


def own_model(**changes):
    """Whether a number is positive, from it and two others; the smaller sides are 3 and 4."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(140, 3, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
    settings = {"rank": 4, "steps": 60, "lr": 3e-3} | changes
    return OwnModel(
        model, features, (features[:, 0] > 0).long(),
        lambda z, y: nn.functional.cross_entropy(z, y, reduction="none"), **settings,
    )  # fmt: skip


def test_a_model_of_ones_own_is_tuned_and_written(few, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(recommend, "_beside", lambda *known: "none")
    result = recommend.measure(
        own=own_model(), n=32, method="weight decay", trainings=1, minutes=5, out=tmp_path
    )
    assert {*result.rows["method"]} == {"LoRA", "weight decay"}
    assert result.choice.telling_draws == 3
    assert result.choice.learned
    assert {*result.rows["rank"]} == {4}
    # It has no score, and no column of it.
    assert not {"score", "accuracy"} & {*result.text()}
    assert "rank 4 is cut to 3 in 0" in capsys.readouterr().err
    # There is no probes.finetune for it, but a config for its layers.
    assert "finetune" not in result.conclusion
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {*config["target_modules"]} == {"0", "2"}
    assert (config["r"], config["rank_pattern"]) == (4, {"0": 3})
    assert "adapter_config.json" in json.loads((tmp_path / "manifest.json").read_text())["files"]


@pytest.mark.parametrize(("seconds", "beside"), [(157, "examples"), (156, "none")])
def test_one_training_of_ones_own_model_tells_whether_there_is_time_for_beta(seconds, beside):
    """A training takes a second: 6 draws of 13 take half of 156, and that one came before them."""
    (plan,) = RecommendSettings(own=own_model(), n=12, method=("LoRA Dropout",)).cells()
    tuned = pd.DataFrame({"method": ["LoRA"], "strength": 0.0, "lr": 0.01, "share": 1.0})
    swept = []
    limit = TimeLimit(seconds, lambda: sum(job.replica_steps for job in swept))
    with patch.object(Sweep, "__call__", lambda self, jobs: swept.extend(jobs)):
        assert recommend._beside(plan, Grid(("LoRA",), 1), tuned, limit, Sweep(None)) == beside
    assert [job.beside for job in swept] == ["none"]


@pytest.mark.parametrize(("seconds", "beside"), [(1e9, "examples"), (6 * 65 * 2, "none")])
def test_what_is_kept_does_not_count_as_done_in_no_time(seconds, beside, tmp_path):
    """A run that is resumed once planned networks for β that it had no time for."""
    (plan,) = RecommendSettings(task="ridge", n=64, steps=2, method=("LoRA Dropout",)).cells()
    tuned = pd.DataFrame({"method": ["LoRA"], "strength": 0.0, "lr": 0.01, "share": 1.0})
    work = []

    def run(cell, progress):
        work.append(cell.replica_steps)
        return {TableKind.ROWS: pd.DataFrame({"draw": [cell.base.draw]})}

    def decided():
        work.clear()
        limit = TimeLimit(seconds, lambda: sum(work))
        swept = Sweep(run, Store(tmp_path, "code"))
        return recommend._beside(plan, Grid(("LoRA", "LoRA Dropout"), 1), tuned, limit, swept)

    assert (decided(), decided()) == (beside, beside)


def test_what_cannot_be_done_with_a_model_of_ones_own_is_said(capsys):
    (plan,) = RecommendSettings(own=own_model(lr=2e-3), n=12, rank=2, steps=7).cells()
    assert (plan.base.own.rank, plan.base.lr, plan.base.steps) == (2, 2e-3, 7)
    assert {*METHODS} - {*plan.grid.methods} == {"PEFT lora_dropout", "label smoothing"}
    assert "methods left out: PEFT lora_dropout needs layers of PEFT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "digits"}, "task must be left out where own is given"),
        ({"workers": 2}, "workers must be left out where own is given"),
        ({"method": ("label smoothing",)}, "method must be one that applies here"),
        ({"n": 140}, "n must be from 2 to 139"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
)
def test_what_does_not_go_with_a_model_of_ones_own_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RecommendSettings(own=own_model(), **settings).cells()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--own", "nowhere.py:own"], ["own must be an OwnModel, or FILE.py:NAME", "nowhere.py"]),
        (["--minutes", "0"], ["minutes must be positive", "0.0"]),
        (["--method", "magic"], ["method must be one of LoRA;"]),
        (["--method", "CoTo"], ["method must be one of LoRA;"]),
        (["--task", "ridge", "--method", "label smoothing"], ["applies here", "squared"]),
        (["--data", "nowhere.csv"], ["nowhere.csv"]),
        (["--task", "chess"], ["task must be one of"]),
    ],
)
def test_bad_values_are_refused(arguments, words, tmp_path):
    assert_refused("recommend", arguments, words, tmp_path)


def test_own_data_mean_the_task_text():
    with pytest.raises(ValueError, match=r"there is no nowhere\.csv"):
        RecommendSettings(data="nowhere.csv").cells()

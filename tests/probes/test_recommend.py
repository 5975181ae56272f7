"""The recommendation: how it spends its time, what it writes, and which settings it refuses."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
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
from probes.recommend import METHODS, RecommendSettings
from probes.results.recommendation import CONSTANT
from probes.tasks import TASKS
from probes.tasks.own_model import OwnModel
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


@pytest.fixture
def clock(monkeypatch):
    """Seconds, by a clock that only trainings move: 5 ms for each of their replicas' steps."""
    seconds = [0.0]

    def run(cell, progress):
        seconds[0] += cell.replica_steps / 200
        return run_rival_cell(cell, progress)

    run_rival_cell = recommend.run_rival_cell
    monkeypatch.setattr(recommend, "run_rival_cell", run)
    monkeypatch.setattr(recommend, "TimeLimit", partial(TimeLimit, clock=lambda: seconds[0]))
    monkeypatch.setattr(recommend, "time", SimpleNamespace(perf_counter=lambda: seconds[0]))
    return seconds


@pytest.mark.parametrize("minutes", [0.05, 0.15])
def test_it_ends_in_time(minutes, clock):
    result = recommend.measure(**SMALL | {"minutes": minutes, "trainings": 16})
    assert 30 * minutes < clock[0] <= 60 * minutes
    assert 2 <= result.choice.telling_draws < recommend.MOST_TELLING


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


def test_fine_tuning_is_told_how_many_tokens_were_read(tmp_path):
    """By itself it reads up to 128, for which nothing was tuned. This model takes 16."""
    asked = RecommendSettings(
        data=write_reviews(tmp_path / "reviews.csv"), text_column="review", label_column="liked",
        model=save_bert(tmp_path / "m"),
    )  # fmt: skip
    assert asked.tuned_texts == asked.given_texts | {"tokens": 16}
    assert RecommendSettings(task="digits").tuned_texts == {}


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
    assert "rank 4 is cut to 3 in layer 0" in capsys.readouterr().err
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

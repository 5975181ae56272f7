"""Instruction tuning by TRL from its command line to its table, and on from where it was killed."""

import json
import math
import shutil
from dataclasses import fields

import pandas as pd
import pytest
from safetensors.torch import load_file

from probes.metrics.confidence_intervals import mean_interval
from recipes.sft import SftSettings, loss_and_accuracy, summary
from tests.recipes.shell import run_module
from tests.recipes.tiny import save_llama, write_alpaca_clean

pytestmark = [
    pytest.mark.slow,
    # TRL 1.16 asks transformers 5.23 by older names.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
QUICK = ["--use_cpu", "--per_device_train_batch_size", "4", "--max_steps", "2", "--rank", "2",
         "--tokens", "40", "--disable_tqdm", "true", "--save_strategy", "steps", "--save_steps",
         "1"]  # fmt: skip
#: With these every flag of ours is given: seeds and several samples in one pass, on from a kill.
OTHERS = ["--p", "0", "0.5", "--samples", "3", "--grouped", "--ensemble", "2", "--alpha", "4",
          "--target", "v_proj", "--n", "14"]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Arguments that name a tiny model, and data in the hub's layout."""
    folder = tmp_path_factory.mktemp("sft")
    data = folder / "hub"
    write_alpaca_clean(data).rename(data / "train.json")
    for extra in data.glob("data/*"):
        extra.unlink()
    return ["--model", save_llama(folder / "llama"), "--data", str(data)]


@pytest.fixture(autouse=True)
def _no_telemetry(monkeypatch):
    monkeypatch.setenv("CI", "1")


def test_both_rates_are_trained_evaluated_and_told(base, tmp_path):
    out = tmp_path / "runs"
    asked = ["recipes.sft", *base, "--out", str(out), "--draws", "2", *QUICK, *OTHERS]
    assert {f"--{one.name}" for one in fields(SftSettings)} <= set(asked)
    status, said, complaint = run_module(tmp_path, asked)
    assert status == 0, complaint
    rows = pd.read_parquet(out / "rows.parquet")
    assert rows[["draw", "p", "inference", "samples"]].to_numpy().tolist() == [
        [seed, *one] for seed in (1, 2)
        for one in ([0.0, "no masks", 1], [0.5, "expected weight", 3], [0.5, "ensemble", 3])
    ]  # fmt: skip
    assert (rows["steps"] == 2).all()
    assert set(rows["ensemble"]) == {0, 2}
    config = json.loads((out / "p0.5-seed2/adapter/adapter_config.json").read_text())
    assert config["target_modules"] == ["v_proj"]
    assert rows["loss"].nunique() == 6
    assert "expected weight" in said
    adapter = out / "p0.5-seed2" / "adapter" / "adapter_model.safetensors"
    straight = load_file(adapter)
    # As if killed after the first step, and one before its first: the same command goes on.
    for last in out.glob("p*/checkpoint-2"):
        shutil.rmtree(last)
    shutil.rmtree(out / "p0-seed1")
    status, _, complaint = run_module(tmp_path, asked)
    assert status == 0, complaint
    again = load_file(adapter)
    assert all((again[name] == value).all() for name, value in straight.items())
    pd.testing.assert_frame_equal(pd.read_parquet(out / "rows.parquet"), rows)
    status, _, complaint = run_module(tmp_path, [*asked, "--learning_rate", "0.1"])
    assert status == 2
    assert f"{out}, which holds another (learning_rate)" in complaint


def test_means_have_the_interval_of_their_seeds_and_differences_are_paired():
    rows = pd.DataFrame([
        {"draw": seed, "p": p, "inference": "no masks" if p == 0 else "ensemble",
         "loss": loss - 0.25 * (p > 0), "accuracy": 0.5}
        for p in (0.0, 0.5) for seed, loss in ((1, 1.0), (2, 1.5), (3, 1.125))
    ])  # fmt: skip
    mean, low, _ = mean_interval([1.0, 1.5, 1.125])
    told = summary(rows)
    assert told["loss"].iloc[0] == f"{mean:.4f} ± {mean - low:.4f}"
    assert told["difference"].tolist() == ["", "-0.2500 ± 0.0000"]
    assert told["seeds"].tolist() == ["3", "3"]
    diverged = summary(rows.assign(loss=rows["loss"].mask(rows.index == 4)))
    assert diverged["seeds"].tolist() == ["3", "2 (1 diverged)"]
    assert diverged["difference"].tolist() == ["", "-0.2500 ± 0.0000"]
    one = summary(rows[rows["draw"] == 1])
    assert one["difference"].tolist() == ["", "-0.2500"]


def test_a_model_that_has_diverged_has_no_accuracy():
    found = {"eval_loss": 1.0, "eval_mean_token_accuracy": 0.25}
    assert loss_and_accuracy(found) == {"loss": 1.0, "accuracy": 0.25}
    assert math.isnan(loss_and_accuracy(found | {"eval_loss": math.nan})["accuracy"])


@pytest.mark.parametrize(
    ("flags", "reason"),
    [(["--p", "1"], "p must be"), (["--draws", "0"], "draws must be"),
     (["--no-such-flag"], "unknown arguments"),
     (["--num_train_epochs", "many"], "num_train_epochs"),
     (["--max_step", "2"], "unknown arguments: --max_step"),
     (["--output_dir", "elsewhere"], "output_dir must be left to --out")],
)  # fmt: skip
def test_bad_values_are_one_line(flags, reason, base, tmp_path):
    status, _, complaint = run_module(tmp_path, ["recipes.sft", *base, *flags])
    assert status == 2
    assert reason in complaint
    assert len(complaint.strip().splitlines()) == 1

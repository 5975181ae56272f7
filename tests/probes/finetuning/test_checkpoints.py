"""A killed run goes on exactly where its last whole checkpoint is."""

import json
import shutil
import signal
import subprocess
import sys
from functools import cache

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.finetuning.checkpoints import last_checkpoint
from probes.finetuning.evaluation import FinetuneTrainer
from probes.finetuning.state_file import read_state
from tests.probes.commands import run_here
from tests.probes.finetuning.corpora import write_glue
from tests.probes.finetuning.tuning import QUICK, tuned

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]


@pytest.fixture(scope="module")
def task(models, tmp_path_factory):
    """A task and its model, and settings with its data."""
    data = write_glue("rte", tmp_path_factory.mktemp("data"), 2)
    return ("glue/rte", models["classifier"]), {"data": data}


@pytest.fixture(scope="module")
def whole(task):
    """Rows of runs that nothing disturbed, each of which runs once."""
    name, settings = task

    @cache
    def rows(method, **training):
        return tuned(*name, **settings, method=method, training=QUICK | training).rows

    return rows


def assert_same_rows(resumed, whole):
    """Number for number, but for what the machine took."""
    one, other = (rows.drop(columns=["seconds", "peak_mib"]) for rows in (resumed, whole))
    pd.testing.assert_frame_equal(one, other, check_exact=True)


#: Kills itself while it writes its second checkpoint: who waits for the first may come too late.
KILLED = """
import os, runpy, signal, sys

written = []

def kill(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("training.safetensors"):
        written.append(arguments)
        if len(written) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
runpy.run_module("probes.finetune", run_name="__main__", alter_sys=True)
"""


def test_a_killed_run_goes_on_from_its_checkpoint(models, tmp_path):
    data = write_glue("rte", tmp_path / "data", 2)
    asked = [
        "--task", "glue/rte", "--data", data, "--model", models["classifier"], "--p", "0.3",
        "--rank", "2", "--tokens", "24", "--json", "--max_steps", "40", "--eval_steps", "5",
        "--save_steps", "5", "--use_cpu", "--per_device_train_batch_size", "4",
    ]  # fmt: skip
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *asked, "--out", "killed"], cwd=tmp_path,
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for folder in ("killed", "whole"):
        done = run_here("finetune", *asked, "--out", folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["p"] == 0.3
    resumed, whole = (
        pd.read_parquet(tmp_path / folder / "rows.parquet") for folder in ("killed", "whole")
    )
    assert_same_rows(resumed, whole)


class KilledError(Exception):
    pass


@pytest.fixture
def killed_at(monkeypatch):
    """Run ``tuned``, but end it before an optimizer step."""

    def run(step, *task, **settings):
        def die(trainer, *rest, **more):
            if trainer.state.global_step == step:
                raise KilledError
            return training_step(trainer, *rest, **more)

        training_step = FinetuneTrainer.training_step
        with monkeypatch.context() as patched:
            patched.setattr(FinetuneTrainer, "training_step", die)
            with pytest.raises(KilledError):
                tuned(*task, **settings)

    return run


def forbidden(*args, **kwargs):
    raise AssertionError("unpickles")


#: Checkpoints are at even steps; an epoch has 4 steps; AdaLoRA begins to give ranks up after step 2
#: and ends it 4 steps before the last.
@pytest.mark.parametrize(
    ("method", "step", "damaged"),
    [
        ("lora", 6, False), ("lora", 9, False), ("lora", 9, True), ("adalora", 6, False),
        ("adalora", 11, False), ("adalora", 19, False),
    ],
)  # fmt: skip
def test_a_run_goes_on_exactly_where_its_last_checkpoint_is(
    method, step, damaged, task, whole, tmp_path, monkeypatch, killed_at
):
    """Model with dropout of its own; Adam; a falling learning rate; AdaLoRA's budget."""
    monkeypatch.setattr(torch, "load", forbidden)
    name, settings = task
    training = {"max_steps": 20, "eval_steps": 4}
    settings = settings | {"method": method, "training": QUICK | training, "out": tmp_path}
    killed_at(step, *name, **settings)
    newest = next(tmp_path.glob(f"checkpoints/*/checkpoint-{step // 2 * 2}"))
    state = newest / "training.safetensors"
    before = read_state(state)["seconds"]
    if damaged:
        state.write_bytes(state.read_bytes()[:-1])
    resumed = tuned(*name, **settings).rows
    assert_same_rows(resumed, whole(method, **training))
    assert damaged or resumed["seconds"].min() > before > 0


@pytest.mark.parametrize(
    ("step", "training"),
    [
        # transformers draws the order from PyTorch's generator where an epoch begins.
        (7, {"train_sampling_strategy": "group_by_length"}),
        # An epoch of 4 steps is evaluated after its last one is saved.
        (5, {"eval_strategy": "epoch", "save_steps": 4}),
    ],
)  # fmt: skip
def test_what_is_done_where_an_epoch_begins_or_ends_is_done_once(
    step, training, models, tmp_path, killed_at
):
    task, settings = ("glue/rte", models["classifier"]), {
        "data": write_glue("rte", tmp_path / "data", 2), "ensemble": 0,
        "training": QUICK | {"max_steps": 8} | training,
    }  # fmt: skip
    killed_at(step, *task, **settings, out=tmp_path / "killed")
    resumed = tuned(*task, **settings, out=tmp_path / "killed").rows
    assert_same_rows(resumed, tuned(*task, **settings).rows)


def test_a_run_that_was_killed_after_its_last_step_takes_no_other(models, tmp_path):
    """The last checkpoint is within an epoch of 4 steps."""
    task, settings = ("glue/rte", models["classifier"]), {
        "data": write_glue("rte", tmp_path / "data", 2), "training": QUICK | {"max_steps": 6},
        "out": tmp_path / "out",
    }  # fmt: skip
    whole = tuned(*task, **settings).rows
    shutil.rmtree(tmp_path / "out/cells")
    assert_same_rows(tuned(*task, **settings).rows, whole)


@pytest.fixture(scope="module")
def checkpoint(models, tmp_path_factory):
    """Folder of a finished run's last checkpoint, and what the run reads of it."""
    folder = tmp_path_factory.mktemp("run")
    settings = {"data": write_glue("rte", folder / "data", 2), "method": "adalora"}
    tuned("glue/rte", models["classifier"], **settings, training=QUICK, out=folder / "out")
    place = next((folder / "out").glob("checkpoints/*/checkpoint-4"))
    shutil.rmtree(place.parent / "checkpoint-2")
    return place, ["training.safetensors", "random-0.safetensors", "trainer_state.json"]


@given(name=st.integers(0, 2), share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=150)
def test_no_flipped_bit_of_a_checkpoint_goes_unnoticed(checkpoint, name, share, bit):
    place, names = checkpoint
    file = place / names[name]
    content = file.read_bytes()
    assert last_checkpoint(place.parent) == place
    damaged = bytearray(content)
    damaged[int(share * len(content))] ^= 1 << bit
    try:
        file.write_bytes(damaged)
        assert last_checkpoint(place.parent) is None
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize("free", [30, 54, 60, 72, 76])
def test_a_full_disk_is_said_and_the_run_goes_on(free, task, whole, small_disk):
    """Each of these sizes is too small for another of the files of a checkpoint."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes((128 - free) * 1024))
    name, settings = task
    with pytest.raises(ValueError, match=r"cannot be written .* the same command goes on"):
        tuned(*name, **settings, out=small_disk / "out")
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    resumed = tuned(*name, **settings, out=small_disk / "out").rows
    assert_same_rows(resumed, whole("lora"))

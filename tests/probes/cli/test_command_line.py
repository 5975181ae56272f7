"""``python -m probes.stability`` as a user runs it: a process of its own."""

import importlib.metadata
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest

from probes.jobs.store import Store
from probes.metrics.change_statistics import SATURATED
from tests.probes.commands import assert_refused, run_here, run_probe, start_sweep

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "probes.stability"]
QUICK = ["--task", "ridge", "--n", "8", "--draws", "2", "--steps", "20"]


def test_default_job(tmp_path):
    done = run_probe("stability", "--p", "0.1", "--details", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Leaving out one of 64 examples changes its loss by 0.5")
    assert done.stdout.splitlines()[-1] == (
        "written to runs/stability/: rows.parquet, table.csv, stability.png, gap.png, manifest.json"
    )
    for words in (
        "digits, n = 64, 8 draws", "Lemma 4.3", "Proposition 4.2", "Theorem 4.4", "diverged: 0",
        "Λ_min", "largest observed loss", "not defined for dropout",
    ):  # fmt: skip
        assert words in done.stdout
    out = tmp_path / "runs" / "stability"
    rows = pd.read_parquet(out / "rows.parquet")
    assert len(rows) == 8 * 64
    # Dropout at p = 0.1 fits these 64 digits and generalizes: far from guessing, whose loss is 2.3,
    # and the train loss stays away from 0.
    assert rows["train_loss"].min() > SATURATED
    assert rows["train_loss"].mean() < 0.6
    assert rows["test_score"].mean() > 0.7
    assert (out / "stability.png").read_bytes().startswith(b"\x89PNG")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"]["p"] == [0.1]
    assert {"torch", "numpy"} <= set(manifest["versions"])
    assert len(manifest["cells"]) == 8
    assert not list(out.rglob(".*"))


def test_small_sweep_prints_json_and_is_reused(tmp_path, undrawn):
    sweep = ["--p", "0", "0.5", "--ensemble", "1", "4", *QUICK, "--out", "here", "--json"]
    first = run_here("stability", *sweep, cwd=tmp_path)
    content = json.loads(first.stdout)
    assert [(row["p"], row["ensemble"]) for row in content["summary"]] == [
        (p, size) for p in (0, 0.5) for size in (0, 1, 4)
    ]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "here/cells").iterdir()}
    assert len(files) == 4
    second = run_here("stability", *sweep, cwd=tmp_path)
    assert second.stdout == first.stdout
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "here/cells").iterdir()}


def test_a_damaged_cell_is_named_set_aside_and_computed_again(tmp_path, undrawn):
    arguments = ["--p", "0.5", *QUICK, "--out", "here", "--json"]
    first = run_here("stability", *arguments, cwd=tmp_path)
    victim = sorted((tmp_path / "here/cells").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:100])
    second = run_here("stability", *arguments, cwd=tmp_path)
    assert victim.name in second.stderr
    assert second.stdout == first.stdout
    assert victim.with_suffix(".damaged").exists()
    assert len(pd.read_parquet(victim)) == 8


def test_matrix_is_kept_on_demand(tmp_path, undrawn):
    done = run_here("stability", "--p", "0.5", *QUICK, "--matrix", "--out", ".", cwd=tmp_path)
    assert done.returncode == 0
    assert len(pd.read_parquet(tmp_path / "matrix.parquet")) == 2 * 9 * 442


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--p", "1"], ["p must be in [0, 1)", "1.0"]),
        (["--p", "0.1", "-0.5"], ["p must", "-0.5"]),
        (["--p", "0.1", "abc"], ["p must be a number; got 'abc'"]),
        (["--p", "nan"], ["p must", "nan"]),
        (["--ensemble", "0"], ["ensemble must be at least 1"]),
        (["--n", "5000"], ["n must be from 2 to 1796", "5000"]),
        (["--n", "1"], ["n must", "got 1"]), (["--workers", "0"], ["workers must be at least 1"]),
        (["--rank", "11"], ["rank must be from 1 to 10", "11"]),
        (["--task", "mnist"], ["task must be one of digits", "mnist"]),
        (["--device", "tpu"], ["device must be one of cpu", "tpu"]),
        (["--dtype", "float8"], ["dtype must be one of", "float8"]),
        (["--objective", "penalty"], ["strength must be given"]),
        (["--wrong", "1"], ["--wrong"]), (["--steps"], ["steps must have a value; got none"]),
        (["--steps", "x"], ["steps must be a whole number; got 'x'"]),
        (["--out", ""], ["out must not be empty"]), (["--task="], ["task must not be empty"]),
        (["--rescale", "True"], ["rescale must be given without a value; got True"]),
        (["--n", "8", "9"], ["n must be one value; got 8 9"]),
        (["--p", "0.1", "--p", "0.3"], ["p must be given once, with all its values"]),
        (["--out", "/proc/nowhere"], ["out must be a folder", "/proc/nowhere"]),
        (["--out", "file"], ["out must be a folder", "file"]),
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(arguments, words, tmp_path):
    (tmp_path / "file").write_text("a file")
    assert_refused("stability", arguments, words, tmp_path)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("stability", ["--p", "1"], ["p must be in [0, 1)"]),
        ("finetune", ["--task", "no such task"], ["task"]),
    ],
)
def test_it_is_so_in_a_process_of_its_own(name, arguments, words, tmp_path):
    assert_refused(name, arguments, words, tmp_path, run=run_probe)


def test_workers_give_the_same_numbers_as_one_process_of_one_thread(tmp_path, monkeypatch, undrawn):
    # Where more threads share a product, its sums may be taken in another order.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for workers in ("1", "2"):
        done = run_here("stability", "--p", "0.3", "0.5", *QUICK, "--workers", workers, "--matrix",
                        "--out", workers, cwd=tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stderr
    for name in ("rows.parquet", "matrix.parquet"):
        alone, together = (pd.read_parquet(tmp_path / workers / name) for workers in ("1", "2"))
        pd.testing.assert_frame_equal(alone, together, check_exact=True)


HALF_SENT = """
import signal, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from probes.jobs.local_engine import run_in_workers

def large(cell, progress):
    if cell == 1:
        time.sleep(600)
    return {"": bytes(300_000_000)}

def interrupted(name):
    method = getattr(ProcessPoolExecutor, name)

    def once(pool, *arguments, **more):
        setattr(ProcessPoolExecutor, name, method)
        signal.raise_signal(signal.SIGINT)
        return method(pool, *arguments, **more)

    setattr(ProcessPoolExecutor, name, once)

if __name__ == "__main__":
    mine = get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
    mine.start()
    interrupted("submit")
    try:
        next(run_in_workers(2, range(6), large, print))
    except KeyboardInterrupt:
        print("not begun,", end=" ")
    found = run_in_workers(2, range(6), large, print)
    next(found)
    interrupted("shutdown")
    try:
        found.throw(ValueError)
    except ValueError:
        print("stopped,", "mine runs" if mine.exitcode is None else "mine, too")
"""


def test_a_worker_that_ends_while_it_works_or_sends_keeps_nobody_waiting(tmp_path):
    """Not even where Ctrl-C comes then, or when it begins; and others' processes go on."""
    script = tmp_path / "half_sent.py"
    script.write_text(HALF_SENT)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "not begun, stopped, mine runs\n"), done.stderr


def test_interrupt_keeps_finished_cells_and_the_same_command_goes_on(tmp_path, undrawn):
    arguments = [
        "--p", "0.1", "0.2", "--task", "ridge", "--n", "60", "--draws", "15", "--steps", "400",
        "--json",
    ]  # fmt: skip
    kept = {}
    for how, workers in ((signal.SIGINT, "1"), (signal.SIGINT, "2"), (signal.SIGTERM, "2")):
        process = start_sweep(
            "here", *arguments, "--workers", workers, cwd=tmp_path, signalled=(1, how)
        )
        _, error = process.communicate(timeout=300)
        assert process.returncode == 128 + how
        before, kept = kept, {
            path: path.stat().st_mtime_ns for path in tmp_path.glob("here/cells/*.parquet")
        }  # fmt: skip
        assert error == (
            f"interrupted: {len(kept)} of 30 cells are done and kept; the same command goes on "
            "from there\n"
        )
        assert len(before) < len(kept) < 30
        assert before.items() <= kept.items()
        assert not list(tmp_path.glob("here/cells/.*"))
    done = run_here("stability", *arguments, "--out", "here", cwd=tmp_path)
    assert done.returncode == 0
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_cells_of_two_machines_make_one_sweep(tmp_path, undrawn):
    whole = [*QUICK, "--p", "0", "0.1"]
    for p, out in (("0", "one"), ("0.1", "other")):
        assert run_here("stability", *QUICK, "--p", p, "--out", out, cwd=tmp_path).returncode == 0
    cells = tmp_path / "both/cells"
    cells.mkdir(parents=True)
    for path in tmp_path.glob("o*/cells/*"):
        shutil.copy2(path, cells)
    kept = {path.name: path.stat().st_mtime_ns for path in cells.iterdir()}
    for out in ("both", "at_once"):
        assert run_here("stability", *whole, "--out", out, cwd=tmp_path).returncode == 0
    assert {path.name: path.stat().st_mtime_ns for path in cells.iterdir()} == kept
    rows = [pd.read_parquet(tmp_path / out / "rows.parquet") for out in ("both", "at_once")]
    pd.testing.assert_frame_equal(*rows)


IMPORTING = """
import os, runpy, signal, sys

def interrupt(event, arguments):
    if event == "import" and arguments[0] == "torch._C":
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(interrupt)
runpy.run_module("probes.stability", run_name="__main__", alter_sys=True)
"""


def test_interrupt_while_importing_is_one_line_and_status_130(tmp_path):
    done = subprocess.run([sys.executable, "-c", IMPORTING], cwd=tmp_path, capture_output=True,
                          text=True, timeout=300)  # fmt: skip
    # One that was running would say how many cells are done.
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


FORK = """
import os, signal, time
from probes.cli.early_interrupt import be_normal
be_normal()
ready, say = os.pipe()
child = os.fork()
if not child:
    os.write(say, b"here")
    time.sleep(60)
    os._exit(0)
os.read(ready, 4)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_is_ended_without_words():
    """As of a library that loads or maps data in processes of its own."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("143\n", "")


@pytest.mark.parametrize(
    ("late", "status"),
    [
        ("pass", 3), ("raise RuntimeError", 1), ("os.close(1)", 120),
        # A second Ctrl-C, as where a program sends it to a process and to its group.
        ("signal.raise_signal(signal.SIGINT)", 3), ("signal.raise_signal(signal.SIGTERM)", 3),
    ],
)  # fmt: skip
def test_what_goes_wrong_after_the_answer_decides_the_status(late, status):
    code = f"""
import os, signal
from probes.cli.early_interrupt import be_brief, be_normal, finish
be_brief()
be_normal()
try:
    print("said")
    finish(3)
finally:
    {late}
"""
    # What is said waits in a buffer, as where a pipe or a file reads it.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=buffered)
    assert done.returncode == status


def test_a_pipe_that_closes_is_no_error(tmp_path):
    """The first line is read, as by ``head -1``, and the files are written all the same."""
    command = shlex.join([*COMMAND, "--p", "0.5", *QUICK, "--out", "here"])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -1"], cwd=tmp_path,
        capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Leaving out one of 8 examples changes its loss by ")
    assert (tmp_path / "here/manifest.json").exists()


def test_messages_that_nobody_reads_are_no_success(tmp_path, monkeypatch):
    """What is measured is not done then."""

    def unread(*arguments):
        raise BrokenPipeError

    monkeypatch.setattr(Store, "save", unread)
    done = run_here("stability", *QUICK, cwd=tmp_path)
    said = "error: standard error is a pipe that nobody reads\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_the_version_is_that_of_the_package(tmp_path):
    done = run_here("stability", "--p", "7", "--version", cwd=tmp_path)
    said = f"lora-dropout {importlib.metadata.version('lora-dropout')}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "a\nb"], "got 'a\\nb'"), (["--out", "a\nb/\udcff"], "out must be a path"),
        (["a\nb", "\udcff"], "unknown arguments: a b \\udcff (see --help)"),
        (["--", "--p", "0.1"], "unknown arguments: --p 0.1 (see --help)"),
        (["-p", "0.1", "--pp=3"], "unknown arguments: -p 0.1 --pp=3, did you mean --p?"),
    ],
)  # fmt: skip
def test_whatever_a_word_holds_it_is_said_in_one_line(words, said, tmp_path):
    assert_refused("stability", words, [said], tmp_path)


def test_help_names_the_flags(tmp_path):
    done = run_here("stability", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for flag in (
        "p", "ensemble", "task", "n", "draws", "rank", "alpha", "steps", "lr", "objective",
        "strength", "seed", "device", "dtype", "out", "json",
    ):  # fmt: skip
        assert f"--{flag} " in done.stdout

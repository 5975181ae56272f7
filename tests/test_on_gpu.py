"""What one run on a GPU machine finds is kept, whatever becomes of its parts."""

import json
import os
import subprocess
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from benchmarks import captured_step, jax_peer, launches, loo, on_gpu
from benchmarks.layer import take_turns
from benchmarks.loo import make_cell
from probes.training import fused_training

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "on_gpu.sh"


def run_script(folder, out="out", **environment):
    """Run the script from another folder, with an interpreter that does nothing."""
    environment = os.environ | {"PYTHON": "true"} | environment
    return subprocess.run(["bash", SCRIPT, out], cwd=folder, env=environment, text=True,
                          capture_output=True)  # fmt: skip


@pytest.mark.parametrize(("given", "unknown"), [("rows sweeep", "sweeep"), ("rows,sweep",) * 2])
def test_an_unknown_part_is_refused_before_anything_runs(tmp_path, given, unknown):
    run = run_script(tmp_path, PARTS=given)
    assert run.returncode == 2
    assert run.stderr.startswith("error: PARTS must be of machine imports tests rows ")
    assert run.stderr.endswith(f"; got {unknown}\n")
    assert not list(tmp_path.iterdir())


def test_parts_that_are_chosen_run_and_no_others(tmp_path):
    run = run_script(tmp_path, PARTS=" rows \n step-llama")
    assert run.stdout == "== rows\n== step-llama\n"
    parts = (tmp_path / "out" / "parts.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in parts] == [["rows", "0"], ["step-llama", "0"]]
    assert run_script(tmp_path, PARTS="rows").returncode == 0, "an earlier run is replaced"


def test_launches_run_only_where_they_are_named(tmp_path):
    assert "launches" not in run_script(tmp_path).stdout
    assert run_script(tmp_path, "named", PARTS="launches").stdout == "== launches\n"


def test_every_launch_is_timed_and_compared_with_float64(monkeypatch, tmp_path):
    monkeypatch.setattr(launches, "MOST_EXAMPLES", 2 * 5 * 4)
    launches.main(tmp_path / "a.json", n=(4,), steps=2, repetitions=1, device="cpu")
    found = pd.read_json(tmp_path / "a.json").query("variant != 'JAX'")
    assert found.groupby("cells")["variant"].apply(list).to_dict() == {
        cells: list(launches.LAUNCHES) for cells in (1, 2)
    }
    assert (found["microseconds a step"] > 0).all()
    assert found["largest error"].between(1e-9, 1e-4).all()


def test_a_launch_is_made_as_its_variant_says(monkeypatch):
    used = []

    def train(*cells):
        used.append(fused_training.LAUNCH)
        return torch.zeros(1)

    monkeypatch.setattr(launches, "run_together", train)
    for run in launches.runs_of(make_cell(4, 2, torch.float32)).values():
        run()
    assert used == list(launches.LAUNCHES.values())


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    run = run_script(tmp_path, ".", PARTS="rows")
    assert run.returncode == 2
    assert "OUT must be a new folder, or that of an earlier run; got ." in run.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: loo.main(n=(8, 1797)), "n must be from 2 to 1796; got 1797"),
        (lambda: loo.main(steps=(2, 0)), "steps must be at least 1; got 0"),
        (lambda: loo.main(n=(64, 8), peft_replicas=9), "peft_replicas must be at most 8; got 9"),
        (lambda: captured_step.main(n=(8, 1)), "n must be from 2 to 1796; got 1"),
        (lambda: captured_step.main(repetitions=0), "repetitions must be at least 1; got 0"),
        (lambda: on_gpu.retraining(Path("a.json"), n=(8, 1797)), "got 1797"),
        (lambda: launches.main(Path("a.json"), steps=0, device="cpu"), "steps must be at least 1"),
        (lambda: on_gpu.rows(Path(), device="cpu"), "json must be a file in a folder"),
        (lambda: on_gpu.sweep(Path("a.json"), workers=0, device="cpu"), "workers must be at least"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_measured(monkeypatch, tmp_path, run, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        run()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "parts.tsv").write_text("rows\t0\t12\ntests\t124\t110\nlayer\t1\t3\n")
    rows = [{"task": "digits", "column": f"column {number}"} for number in range(20)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "tests.txt").write_text("one PASSED\ntwo FAILED\n")
    return tmp_path


def test_the_summary_holds_tables_and_texts_of_all_parts(parts, capsys):
    on_gpu.summary(parts)
    gathered = json.loads((parts / "summary.json").read_text())
    assert [part["result"] for part in gathered["parts"]] == ["done", "out of time", "failed"]
    assert gathered["rows"][0]["task"] == "digits"
    assert gathered["texts"] == {"rows": "", "tests": "one PASSED\ntwo FAILED\n", "layer": ""}
    said = capsys.readouterr().out
    assert "tests ended with\none PASSED\ntwo FAILED" in said
    assert "rows ended with" not in said
    assert "column 14" in said
    assert "column 15" not in said
    assert "5 more rows in" in said


def test_a_table_of_which_half_is_there_is_left_out(parts, capsys):
    (parts / "sweep.json").write_text('[{"part": "prep')
    on_gpu.summary(parts)
    assert "sweep.json is left out: Unterminated string" in capsys.readouterr().out
    gathered = json.loads((parts / "summary.json").read_text())
    assert "sweep" not in gathered
    assert len(gathered["rows"]) == 20


def test_a_library_that_is_missing_is_named_and_the_others_are_imported(monkeypatch, capsys):
    monkeypatch.setattr(on_gpu, "LIBRARIES", ("scipy.stats", "no_such_library"))
    on_gpu.imports(device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("scipy.stats 1.")
    assert "No module named 'no_such_library'" in lines[1]
    assert "cpu: 1.34218e+08" in lines[2]


def test_a_jax_that_does_not_fit_its_driver_is_left_out_and_the_other_runs(monkeypatch, capsys):
    def no_kernel():
        raise RuntimeError("no kernel image")

    jax = SimpleNamespace(default_device=nullcontext, devices=lambda platform: [platform])
    monkeypatch.setattr(jax_peer, "find_spec", lambda name: name)
    monkeypatch.setattr(jax_peer, "import_module", lambda name: jax)
    assert not jax_peer.peer_variant("JAX there", no_kernel, 9)
    (found,) = jax_peer.peer_variant("JAX here", lambda: lambda: torch.zeros(1), 9, "cpu")
    assert found.name == "JAX here"
    assert capsys.readouterr().out == "JAX there is left out: RuntimeError('no kernel image')\n"


def test_a_variant_that_does_not_fit_is_left_out_and_the_others_are_timed(capsys):
    def large():
        raise torch.OutOfMemoryError("CUDA out of memory")

    turns = take_turns({"small": lambda: torch.ones(9).sum(), "large": large}, "cpu", 2)
    assert list(turns.seconds) == list(turns.bytes) == ["small"]
    assert "large: left out" in capsys.readouterr().out

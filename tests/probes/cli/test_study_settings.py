"""The questions of the study on the command line: kept, gone on with, refused."""

import pytest

from tests.probes.commands import assert_refused, run_here

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["curves", "ablation", "calibration", "sensitivity"])
def test_a_probe_prints_keeps_and_goes_on(name, tmp_path):
    flags = ["--task", "breast_cancer", "--n", "8", "--draws", "2", "--steps", "5", "--p", "0.4"]
    done = run_here(name, *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "breast_cancer, n = 8" in done.stdout
    out = tmp_path / "runs" / name
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert {"rows.parquet", "manifest.json"} <= {path.name for path in out.iterdir()}
    cells = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert run_here(name, *flags, "--json", cwd=tmp_path).returncode == 0
    assert cells == {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("curves", ["--methods", "DoRA"], ["methods must be LoRA or AdaLoRA", "DoRA"]),
        ("curves", ["--p", "1"], ["p must be in [0, 1)"]),
        ("ablation", ["--p", "0"], ["p must be in (0, 1)"]),
        ("ablation", ["--ensemble", "0"], ["ensemble must be at least 1"]),
        ("ablation", ["--part", "where"], ["part must be one of dropout when", "'where'"]),
        ("ablation", ["--samples", "1"], ["samples must be at least 2"]),
        ("ablation", ["--margin", "1"], ["margin must be in (0, 1); got 1"]),
        ("calibration", ["--task", "ridge"], ["task must be one with classes"]),
        ("sensitivity", ["--samples", "0"], ["samples must be at least 1"]),
        ("cost", ["--width", "100", "--heads", "7"], ["width must be a multiple of heads = 7"]),
        ("cost", ["--seed", "-1"], ["seed must be from 0 to 2**63 - 1"]),
        ("cost", ["--device", "cuda:99"], ["device must be one of cpu"]),
        ("curves", ["--workers", "9" * 9], ["workers must be at most 10000; got"]),
        ("stability", ["--draws", "1000000"], ["draws must be at most 10000; got 1000000"]),
        ("information", ["--selections", "1000000"], ["selections must be at most 10000"]),
        ("rivals", ["--seed", "-1"], ["seed must be from 0 to 2**63 - 1; got -1"]),
        ("attribution", ["--n", "-1"], ["n must be from 2 to", "got -1"]),
        ("comparison", ["--bits", "5"], ["bits must be left out for minimisers; got 5"]),
        ("comparison", ["--n", "9" * 9], ["n must be at most 1000000; got"]),
        ("comparison", ["--model", "network", "--strength", "2"], ["left out for networks; got 2"]),
        ("finetune", ["--delta-t", "5"], ["delta_t must be left out without --method adalora"]),
        ("finetune", ["--ensemble-along"], ["ensemble_along must be left out without --ensemble"]),
        ("finetune", ["--draws", "9" * 9], ["draws must be at most 10000; got"]),
        ("finetune", ["--rank", "1000000"], ["rank must be at most 16384; got 1000000"]),
        ("curves", ["--json", "--details"], ["details must be left out where json is given"]),
        ("verify", ["--statement"], ["statement must have a value; got none"]),
        ("finetune", ["--max_steps", "0"], ["max_steps must be at least 1, or -1 for none; got 0"]),
        ("finetune", ["--learning_rat", "1"], ["did you mean --learning_rate?"]),
        ("finetune", ["--ensembl", "1"], ["did you mean --ensemble?"]),
        ("finetune", ["--lr", "1e-3"], ["did you mean --learning_rate?"]),
        ("finetune", ["--batch", "8"], ["did you mean --per_device_train_batch_size?"]),
        ("stability", ["--learning_rate", "1e-3"], ["did you mean --lr?"]),
        ("stability", ["--dropout-rate", "0.3"], ["did you mean --p?"]),
        ("stability", ["--p", "0,0.1"], ["a number; got '0,0.1', but several have blanks between"]),
        ("generalization", ["--n=8,16"], ["number; got '8,16', but several have blanks between"]),
        ("stability", ["--n", "8,16"], ["n must be a whole number; got '8,16' (see --help)"]),
    ],
)
def test_bad_values_are_refused(name, arguments, words, tmp_path):
    assert_refused(name, arguments, words, tmp_path)

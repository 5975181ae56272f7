"""Every question is used the same way: from Python, on the command line, by one console script."""

import dataclasses
import inspect
import json
import os
import pickle
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import probes
from probes.__main__ import questions
from probes.cli.probe import Probe, from_keywords
from probes.finetune import FinetuneSettings
from probes.stability import StabilitySettings
from tests.probes.commands import question, run_here

pytestmark = pytest.mark.slow

PLACE = Path(probes.__file__).parent
QUESTIONS = sorted(path.stem for path in PLACE.glob("[a-z]*.py"))
SCRIPT = Path(sys.executable).with_name("lora-dropout")


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_a_probe_with_one_verb(name):
    module = import_module(f"probes.{name}")
    assert isinstance(module.PROBE, Probe)
    assert module.PROBE.name == name
    parameters = inspect.signature(module.measure).parameters
    assert list(parameters) == [one.name for one in dataclasses.fields(module.PROBE.settings)]
    assert "Raises:" in module.measure.__doc__
    assert pickle.loads(pickle.dumps(module.measure)) is module.measure


@pytest.mark.parametrize("name", [*QUESTIONS, "report"])
def test_help_is_told_and_nothing_is_written(name, tmp_path):
    done = run_here(name, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"python -m probes.{name}" in done.stdout
    assert "--out" in done.stdout
    assert not list(tmp_path.iterdir())


def test_what_lies_in_the_folder_are_questions_and_rooms():
    files = {path.stem for path in PLACE.glob("*.py") if not path.stem.startswith("_")}
    assert files == set(QUESTIONS)
    for name in files:
        assert hasattr(question(name), "main")


def test_the_questions_are_listed_a_line_each(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "probes"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    listed = [line.split()[0] for line in done.stdout.splitlines()[2:]]
    assert listed == sorted([*QUESTIONS, "report"]) == list(questions())
    for name, asked in questions().items():
        assert asked[-1] in "?.", name


def run_script(*arguments, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [SCRIPT, *arguments], cwd=cwd, capture_output=True, text=True, check=False, env=environment
    )


def test_the_console_script_runs_where_folders_of_the_same_names_lie_in_the_way(tmp_path):
    for name in ("probes", "theory"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    quick = ["--task", "ridge", "--n", "6", "--draws", "2", "--steps", "3", "--p", "0.5"]
    done = run_script("stability", *quick, "--json", "--workers", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"][0]["p"] == 0.5
    assert (tmp_path / "runs/stability/rows.parquet").exists()


def test_a_question_that_is_not_there_is_refused_with_the_nearest(tmp_path):
    done = run_script("stabilty", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "error: there is no question 'stabilty': did you mean stability?"
    ]


def test_the_manifest_names_the_files_and_cells_of_the_run(tmp_path):
    quick = ["--task", "ridge", "--n", "6", "--draws", "2", "--steps", "3", "--p", "0.5"]
    done = run_here("sensitivity", *quick, "--samples", "1", "2", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "here/manifest.json").read_text())
    there = {path.name for path in (tmp_path / "here").iterdir()} - {"cells", "manifest.json"}
    assert set(manifest["files"]) == there == {
        "rows.parquet", "table.csv", "sensitivity.png",
    }  # fmt: skip
    assert done.stdout.splitlines()[-1] == (
        "written to here/: rows.parquet, table.csv, sensitivity.png, manifest.json"
    )
    cells = {path.name for path in (tmp_path / "here/cells").iterdir()}
    assert set(manifest["cells"]) == cells
    assert manifest["settings"]["samples"] == [1, 2]
    assert "json" not in manifest["settings"]
    assert 0 < manifest["seconds"] < 300


def test_one_value_stands_for_several():
    made = from_keywords(StabilitySettings, {"p": 0.3, "ensemble": [4, 8], "out": "there"})
    assert (made.p, made.ensemble, made.out) == ((0.3,), (4, 8), Path("there"))
    assert from_keywords(StabilitySettings, {"ensemble": 4}).ensemble == (4,)
    assert from_keywords(StabilitySettings, {"p": np.linspace(0, 0.5, 2)}).p == (0.0, 0.5)


def test_a_whole_number_is_told_as_it_was_written():
    made = from_keywords(StabilitySettings, {"lr": 1, "p": np.float32(0.5), "n": np.array(8)})
    assert [repr(one) for one in (made.lr, made.p, made.n)] == ["1", "(0.5,)", "8"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"colour": "red"}, "there is no setting 'colour'"),
        ({"ensembel": 4}, "did you mean ensemble?"),
        ({"learning_rate": 1e-3}, "no setting 'learning_rate', did you mean lr?"),
        ({"P": 0.1}, "did you mean p?"),
        ({"N": 4}, "did you mean samples?"),
        ({"n": "8"}, "n must be a whole number; got '8'"),
        ({"p": b"x"}, "p must be a number; got b'x'"),
        ({"n": 8.5}, "n must be a whole number; got 8.5"),
        ({"n": True}, "n must be a whole number; got True"),
        ({"n": np.array([8])}, "n must be a whole number; got array([8])"),
        ({"p": ["0.1"]}, "p must be a number; got '0.1'"),
        ({"p": None}, "p must be a number; got None"),
        ({"task": 3}, "task must be a text; got 3"),
        ({"rescale": 1}, "rescale must be True or False; got 1"),
    ],
)
def test_a_setting_of_another_name_or_type_is_refused_by_name(setting, said):
    with pytest.raises(TypeError, match=re.escape(said)):
        from_keywords(StabilitySettings, setting)


@pytest.mark.parametrize("value", [None, [], "lr", 1.5])
def test_arguments_of_the_trainer_are_a_dictionary(value):
    with pytest.raises(TypeError, match="training must be a dictionary; got"):
        from_keywords(FinetuneSettings, {"training": value})


@pytest.mark.parametrize("name", ["out", "task"])
def test_an_empty_text_is_refused_as_on_the_command_line(name):
    with pytest.raises(ValueError, match=f"{name} must not be empty; got ''"):
        from_keywords(StabilitySettings, {name: ""})


def test_a_setting_that_is_needed_is_named():
    with pytest.raises(TypeError, match="own must be given"):
        question("own_model").measure()


#: What takes long to import and the main job does not use.
UNUSED = {
    "sklearn", "scipy.stats", "seaborn", "torchmetrics", "transformers", "peft", "ray", "sympy",
    "jinja2", "jax", "datasets", "accelerate",
}  # fmt: skip


#: Prints what is imported when help was asked for, and after the main job.
IMPORTED = """
import json, sys
from contextlib import suppress
from probes.stability import PROBE, measure

def imported():
    return sorted({*sys.modules, *(name.partition(".")[0] for name in sys.modules)})

with suppress(SystemExit):
    PROBE.main(["--help"])
asked = imported()
measure(p=0.1, draws=1, out=sys.argv[1])
print(json.dumps([asked, imported()]))
"""


def test_help_imports_no_drawing_and_no_data_and_the_main_job_only_what_it_uses(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    asked, measured = map(set, json.loads(done.stdout.splitlines()[-1]))
    assert "probes.stability" in asked
    assert not asked & (UNUSED | {"matplotlib"})
    assert "matplotlib" in measured
    assert not measured & UNUSED

"""A kept cell depends on the code that its numbers come from, and on no other."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from probes import ensemble, finetune, stability, verify
from probes.jobs import fingerprint
from probes.jobs.fingerprint import code_fingerprint, entries_from_outside, job_key, reached_code
from probes.statements.case import HOLDS, VIOLATED, Case
from probes.tasks import TASKS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
#: Changes one file after the other and prints, a line each, which of two fingerprints change: that
#: of a run that has no theory in its rows, and of one that has.
SCRIPT = """
import json, sys
from pathlib import Path
from probes import ensemble, stability
from probes.jobs import fingerprint

def of_text(read):
    # Reads a file anew where its text has changed.
    kept = {}

    def remembered(path):
        known = path, path.read_text(encoding="utf-8")
        if known not in kept:
            kept[known] = read.__wrapped__(path)
        return kept[known]

    return remembered

fingerprint._tree, fingerprint._whole = map(of_text, (fingerprint._tree, fingerprint._whole))

def both():
    probes = (stability.PROBE, ensemble.PROBE)
    return [fingerprint.code_fingerprint(one.run(one.settings())) for one in probes]

before = both()
for file, old, new in json.load(sys.stdin):
    path, text = Path(file), Path(file).read_text(encoding="utf-8")
    assert old in text, (file, old)
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    print(json.dumps([one != other for one, other in zip(before, both(), strict=True)]))
    path.write_text(text, encoding="utf-8")
"""
NEITHER, BOTH, ENSEMBLE_ALONE = [False, False], [True, True], [False, True]
CHANGES = [
    ("probes/training/retrain.py", "done = 0", "done = 0 + 0", BOTH),
    ("probes/tasks/digits.py", "lr=1e-3", "lr=2e-3", BOTH),
    ("lora_dropout/masks.py", "uniform >= p", "uniform > p", BOTH),
    # What only a GPU imports, and by its name.
    ("lora_dropout/mask_kernel.py", "tl.constexpr(8)", "tl.constexpr(4)", BOTH),
    ("probes/training/fused_kernel.py", "tl.", "tl.math.", BOTH),
    ("theory/ensemble.py", "limit) + Wide(", "limit) - Wide(", ENSEMBLE_ALONE),
    ("theory/generalization.py", "    return ", "    return 2 * ", NEITHER),
    ("probes/ensemble.py", "centred * bent", "centred * bent * 1", ENSEMBLE_ALONE),
    ("probes/ensemble.py", '"less expected weight"', '"minus"', NEITHER),
    ("probes/results/stability_text.py", '"median"', '"middle"', NEITHER),
    ("probes/report/findings.py", "best = ", "found = best = ", NEITHER),
    ("figures/stability.py", "figsize=(10.5, 7.2)", "figsize=(10.5, 7.3)", NEITHER),
    ("probes/jobs/sweep.py", "PROGRESS_DELAY = 2", "PROGRESS_DELAY = 3", NEITHER),
    ("probes/training/retrain.py", "done = 0", "done = 0  # none yet", NEITHER),
    ("probes/training/retrain.py", '"""Train every', '"""Train each and every', NEITHER),
]


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """Which fingerprints change, for all of ``CHANGES``, in a copy of the packages."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in ("theory", "lora_dropout", "figures", "probes"):
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.png")
        )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=folder, capture_output=True, text=True, check=False,
        input=json.dumps([change[:3] for change in CHANGES]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "number", range(len(CHANGES)), ids=[f"{file}: {new}" for file, _, new, _ in CHANGES]
)
def test_a_fingerprint_changes_with_what_makes_numbers_and_with_nothing_else(number, changed):
    assert changed[number] == CHANGES[number][3]


def test_of_the_runs_own_file_only_what_it_uses_counts():
    reached = reached_code(ensemble.measure_cell)
    assert "_spread" in reached[""]
    assert "EnsembleResult" not in reached[""]
    assert "EnsembleSettings" not in reached[""]
    assert "probes/results/result.py" not in reached


def test_a_partial_and_a_callable_object_are_what_is_behind_them():
    assert code_fingerprint(partial(ensemble.measure_cell)) == code_fingerprint(
        ensemble.measure_cell
    )
    run = stability.PROBE.run(stability.PROBE.settings())
    assert code_fingerprint(run) != code_fingerprint(ensemble.measure_cell)


def test_fine_tuning_depends_on_the_layers_that_peft_is_given():
    reached = reached_code(finetune.PROBE.run(finetune.PROBE.settings()))
    layers = {f"lora_dropout/peft/{name}.py" for name in ("lora", "adalora", "registration")}
    assert layers <= set(reached)


#: Lines of a run's own file, and one of them that changes what the run computes.
OWN_FILES = [
    ("RATES = {}\nRATES.update(p=1)\ndef run():\n    return RATES", "p=1", "p=2"),
    ("SIZE = 1\nSIZE = SIZE + 1\ndef run():\n    return SIZE", "SIZE = 1", "SIZE = 2"),
    ("SIZE = 1\nSIZE += 1\ndef run():\n    return SIZE", "+= 1", "+= 2"),
    ("if True:\n    def half():\n        return 2\ndef run():\n    return half()", "n 2", "n 3"),
    ("try:\n    SIZE = 1\nexcept OSError:\n    pass\ndef run():\n    return SIZE", "= 1", "= 2"),
    ("class Pair:\n    size = 1\ndef run(pair: 'list[Pair]'):\n    return pair", "= 1", "= 2"),
]


def module_of(file, source):
    """Write a file and import it."""
    file.write_text(source)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("source", "old", "new"), OWN_FILES, ids=[one[0] for one in OWN_FILES])
def test_what_changes_a_name_that_the_run_uses_counts(source, old, new, tmp_path):
    file = tmp_path / "own_file.py"
    run = module_of(file, f"{source}\n\nUNUSED = 0\n").run
    before = code_fingerprint(run)
    for changed, same in ((source.replace(old, new), False), (source, True)):
        file.write_text(f"{changed}\n\nUNUSED = 1\n")
        fingerprint._tree.cache_clear()
        assert (code_fingerprint(run) == before) is same


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("import probes.metrics.inference_names", "probes"),
        ("import probes.metrics.inference_names as names", "names"),
        ("from probes.metrics import inference_names", "inference_names"),
        ("from probes.metrics.inference_names import inference_label", "inference_label"),
        ("import probes.tasks\nimport probes.metrics.inference_names", "probes"),
    ],
)
def test_a_file_is_reached_however_it_is_imported(line, name, tmp_path):
    run = module_of(tmp_path / "own_file.py", f"{line}\ndef run():\n    return {name}\n").run
    assert "probes/metrics/inference_names.py" in reached_code(run)


@pytest.mark.parametrize(
    ("line", "name"), [("import probes.tasks", "probes"), ("from probes import tasks", "tasks")]
)
def test_a_package_imported_as_such_is_reached_whole(line, name, tmp_path):
    run = module_of(tmp_path / "own_file.py", f"{line}\ndef run():\n    return {name}\n").run
    assert {"probes/tasks/__init__.py", "probes/tasks/ridge.py"} <= set(reached_code(run))


def test_a_run_that_cannot_be_found_again_is_refused():
    with pytest.raises(ValueError, match="defined at the top of a file"):
        code_fingerprint(lambda job, progress: {})


@dataclass(frozen=True)
class Thing:
    size: int
    libraries: tuple[str, ...] = ("numpy",)


def test_a_key_depends_on_settings_code_and_versions(monkeypatch):
    key = job_key(Thing(1), "code")
    assert key == job_key(Thing(1), "code")
    assert key != job_key(Thing(2), "code")
    assert key != job_key(Thing(1), "other code")
    monkeypatch.setattr(fingerprint, "versions_of", lambda names: {"numpy": "99"})
    assert key != job_key(Thing(1), "code")


@dataclass(frozen=True)
class Numbers:
    lr: float
    rates: tuple[float, ...] = ()
    strength: float | None = None
    thing: Thing | None = None
    named: tuple[tuple[str, Any], ...] = ()
    libraries: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Numbers(1), Numbers(1.0)),
        (Numbers(0.5, (0, 1)), Numbers(0.5, (0.0, 1.0))),
        (Numbers(0.5, (-0.0,), 2), Numbers(0.5, (0.0,), 2.0)),
    ],
)
def test_equal_jobs_have_one_key(one, other):
    """A notebook says 1 where the command line says 1.0: finished cells serve both."""
    assert one == other
    assert job_key(one, "code") == job_key(other, "code")


def test_a_key_is_of_what_a_job_holds_however_deep():
    job = Numbers(0.5, (0.1,), 2.0, Thing(3), (("steps", 4), ("rate", 0.5)))
    known = json.dumps([["Numbers", asdict(job)], "code", {}], sort_keys=True)
    assert job_key(job, "code") == hashlib.sha256(known.encode()).hexdigest()[:24]


def test_cells_name_the_libraries_that_compute_them():
    (cell,) = stability.StabilitySettings(draws=1).cells()
    assert {"torch", "numpy", "scipy"} <= set(cell.libraries)
    assert "transformers" not in cell.libraries


def test_what_is_put_into_a_table_while_it_runs_is_found(monkeypatch):
    assert entries_from_outside() == []
    monkeypatch.setitem(TASKS, "mine", TASKS["ridge"])
    assert entries_from_outside() == ["TASKS['mine']"]


def test_cells_of_what_stands_in_no_file_are_not_kept(monkeypatch, tmp_path, capsys):
    """A statement of a notebook may be another one at the next run."""
    for measured, verdict in ((0.5, HOLDS), (2.0, VIOLATED)):
        case = Case("mine", "", "", measured=measured, bound=1.0)
        monkeypatch.setitem(verify.STATEMENTS, "mine", lambda grid, case=case: [lambda: [case]])
        result = verify.measure(statement="mine", out=tmp_path)
        assert result.rows["verdict"].tolist() == [verdict]
        line = "cells are not kept: STATEMENTS['mine'] stands in no file of this project\n"
        assert capsys.readouterr().err == line
    assert (tmp_path / "table.csv").exists()
    assert not list(tmp_path.glob("cells/*"))

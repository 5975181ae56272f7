"""What is in the checkout is what is installed, and stands in the contract of the layers."""

import ast
import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import lora_dropout

ROOT = Path(__file__).parent.parent
PACKAGES = ("theory", "lora_dropout", "probes", "figures")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed():
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for name in PACKAGES
        for init in (ROOT / name).rglob("__init__.py")
    }
    assert listed == found


def test_every_room_and_every_question_stands_in_the_contract():
    (contract,) = (
        one for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers"
    )
    named = [name.strip() for layer in contract["layers"] for name in layer.split("|")]
    here = ROOT / "probes"
    rooms = {path.parent.name for path in here.glob("*/__init__.py")}
    questions = {path.stem for path in here.glob("*.py") if not path.stem.startswith("_")}
    expected = {f"probes.{name}" for name in rooms | questions}
    assert sorted(named) == sorted(expected | {"figures", "lora_dropout", "theory"})


def test_every_file_of_the_layer_stands_in_its_contract():
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (named,) = (one["source_modules"] for one in contracts if one["name"].startswith("the layer"))
    files = {path.stem for path in (ROOT / "lora_dropout").glob("*.py")} - {"__init__"}
    assert set(named) == {f"lora_dropout.{name}" for name in files}


def test_the_layer_and_the_theory_need_pytorch_and_numpy_alone():
    needed = {re.split(r"[<>=]", one)[0] for one in PROJECT["project"]["dependencies"]}
    assert needed == {"torch", "numpy"}


def test_the_version_is_that_of_the_distribution():
    assert lora_dropout.__version__ == version("lora-dropout") == PROJECT["project"]["version"]
    assert f"version: {lora_dropout.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_the_packages_say_that_they_are_typed():
    assert all((ROOT / name / "py.typed").is_file() for name in PACKAGES)


@pytest.mark.parametrize(
    ("release", "taken"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)]
)
def test_make_asks_for_the_python_that_the_project_asks_for(release, taken, monkeypatch):
    """Before it fetches PyTorch, where pip would refuse the project alone after it."""
    (asked,) = re.findall(r"PYTHON\) -c '(.*)'", (ROOT / "Makefile").read_text())
    monkeypatch.setattr(sys, "version_info", (*release, 1, "final", 0))
    with pytest.raises(SystemExit) as stop:
        exec(asked)
    assert (not stop.value.code) == taken
    required = SpecifierSet(PROJECT["project"]["requires-python"])
    assert required.contains("{}.{}.1".format(*release)) == taken


@pytest.mark.parametrize("name", PACKAGES)
def test_help_names_the_types_of_arrays_as_the_code_does(name):
    """What ``ArrayLike`` stands for is 300 letters, which ``help`` showed for every argument."""
    for path in sorted((ROOT / name).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        public = [one for one in functions if not one.name.startswith("_")]
        if any("ArrayLike" in ast.unparse(one.args) for one in public):
            assert "from __future__ import annotations" in path.read_text(encoding="utf-8"), path

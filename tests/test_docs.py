"""README and pages: short, their commands are taken, their links lead somewhere, all is shown."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import tyro

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: In the text between backticks, and in a block a line of its own.
QUOTED = re.compile(r"(?:`|^\.venv/bin/)python -m probes\.(\w+) ?([^`\n#]*)", re.MULTILINE)
#: Words in capitals and files of the reader's stand for something else.
STANDS_FOR = re.compile(r"\b[A-Z]{2,}\b|mine\.|--address|runs/|glue/|--engine")
COMMANDS = {
    f"{page.relative_to(ROOT)}: {name} {flags}": (name, flags)
    for page in PAGES
    for name, flags in QUOTED.findall(page.read_text(encoding="utf-8"))
    # The report has no flags of a probe, and a fine-tune takes those of transformers too.
    if name not in ("report", "finetune") and not STANDS_FOR.search(flags)
}
LINKS = {
    f"{page.relative_to(ROOT)}: {link}": page.parent / link
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
}


def test_the_readme_fits_on_two_screens():
    assert len(README.splitlines()) <= 120
    assert len(README.split()) <= 900


@pytest.mark.parametrize(("name", "flags"), COMMANDS.values(), ids=COMMANDS)
def test_every_quoted_command_has_flags_and_values_that_are_taken(name, flags):
    kind = importlib.import_module(f"probes.{name}").PROBE.settings
    settings = tyro.cli(kind, args=shlex.split(flags))
    # A text task would read its files and its model.
    if hasattr(settings, "cells") and "tweets" not in flags:
        assert settings.cells()


@pytest.mark.parametrize("place", LINKS.values(), ids=LINKS)
def test_every_link_leads_to_a_file(place):
    assert place.exists()


def test_the_readmes_python_runs_as_it_stands(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    short = (
        code.replace("steps=100", "steps=2").replace("n=16", "n=4").replace("draws=6", "draws=2")
    )
    assert short.count("=2") == 2
    exec(compile(short, "README.md", "exec"), {})
    assert "Leaving out one of 4 examples" in capsys.readouterr().out


def test_every_statement_has_a_page():
    shown = "\n".join(page.read_text() for page in (ROOT / "docs/theory").glob("*.md"))
    #: How arguments are checked and numbers kept is no statement.
    machinery = {"domain", "wide", "bisection"}
    for module in sorted((ROOT / "theory").glob("*.py")):
        if module.stem in machinery | {"__init__"}:
            continue
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                assert f".. autofunction:: theory.{module.stem}.{node.name}\n" in shown


@pytest.mark.parametrize("room", ["probes", "figures"])
def test_every_question_and_figure_is_in_the_reference(room):
    named = (ROOT / "docs/reference/api.md").read_text()
    files = (path.stem for path in (ROOT / room).glob("*.py") if not path.stem.startswith("_"))
    assert [name for name in files if f"   {room}.{name}\n" not in named] == []

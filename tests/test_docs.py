"""README and pages: short, their commands are taken, their links lead somewhere, all is shown."""

import ast
import importlib
import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tyro
from tyro.extras import subcommand_cli_from_dict

from probes.cli.command_line import _later
from probes.finetune import FinetuneSettings
from probes.finetuning.arguments import trainer_arguments
from probes.report.sections import ReportSettings
from probes.stability import measure as stability
from probes.training.rival_training import TRAINERS
from probes.training.rivals import RIVALS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Pages that the build copies into ``docs``, where they may stand or not.
COPIED = {"benchmarks.md", "changelog.md", "recipes.md"}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "recipes")),
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in COPIED),
]
#: A block of code with its language, and what stands between backticks outside of blocks.
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
#: A command, or the rest of one whose ``python -m`` stands before it on the page.
COMMAND = re.compile(
    r"(?:[A-Z]+=\S+ )?(?:(?:\.venv/bin/)?python -m )?(probes|benchmarks)\.(\w+) (.*)"
)
#: Words in capitals and files of the reader's stand for something else.
STANDS_FOR = re.compile(r"\b[A-Z]{2,}\b|mine\.|--address|runs/|--engine|\.xml")
#: A heading's link as Markdown makes it, of its words alone.
NO_ANCHOR = re.compile(r"[^\w\- ]")


def text(page):
    return page.read_text(encoding="utf-8")


def commands(page):
    """Of a page: those of its blocks, a line each, and those between backticks."""
    said = BLOCK.sub("", text(page))
    lines = [line for _, block in BLOCK.findall(text(page)) for line in block.splitlines()]
    spans = [" ".join(span.split()) for span in SPAN.findall(said)]
    indented = re.findall(r"^    (python .*)$", said, re.MULTILINE)
    for one in (*lines, *spans, *indented):
        command = COMMAND.fullmatch(re.sub(r"\s+#.*", "", one) + " ")
        if command:
            yield command.groups()


COMMANDS = {
    f"{page.relative_to(ROOT)}: {room}.{name} {flags}": (room, name, flags)
    for page in PAGES
    for room, name, flags in commands(page)
    # What a change had is past, and the name of a flag or of a part is no command.
    if page.name != "CHANGELOG.md" and len(flags.split()) != 1 and not STANDS_FOR.search(flags)
}
LINKS = {
    f"{page.relative_to(ROOT)}: {link}": (page, link)
    for page in PAGES
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", BLOCK.sub("", text(page)))
}


def test_the_readme_fits_on_two_screens():
    assert len(README.splitlines()) <= 120
    assert len(README.split()) <= 900


@pytest.mark.parametrize(("room", "name", "flags"), COMMANDS.values(), ids=COMMANDS)
def test_every_quoted_command_has_flags_and_values_that_are_taken(room, name, flags):
    words = [word for word in shlex.split(flags) if word != "--details"]
    if room == "benchmarks":
        check_benchmark(name, words)
    elif name == "report":
        tyro.cli(ReportSettings, args=words)
    elif name == "finetune":
        _, rest = tyro.cli(FinetuneSettings, args=words, return_unknown_args=True)
        trainer_arguments(rest)
    else:
        settings = tyro.cli(importlib.import_module(f"probes.{name}").PROBE.settings, args=words)
        # A text task would read its files and its model.
        if hasattr(settings, "cells") and not {"tweets", "text", "cuda"} & {*words}:
            assert settings.cells()


def check_benchmark(name, words):
    """Of one that is a function, or several by name, the parser reads them and calls nothing."""
    module = importlib.import_module(f"benchmarks.{name}")
    asked = re.findall(r"run_functions\((.*)\)", text(Path(module.__file__)))
    if asked:
        functions = [getattr(module, one.strip()) for one in asked[0].split(",")]
        named = {one.__name__: _later(one) for one in functions}
        parse = partial(subcommand_cli_from_dict, named)
        (parse if len(named) > 1 else partial(tyro.cli, *named.values()))(args=words)


@pytest.mark.parametrize(("page", "link"), LINKS.values(), ids=LINKS)
def test_every_link_leads_to_a_file_of_the_checkout_and_to_a_heading_of_it(page, link):
    place, _, heading = link.partition("#")
    target = (page.parent / place).resolve() if place else page
    assert target.exists()
    # What the build copies is not there before it.
    assert target.parent != ROOT / "docs" or target.name not in COPIED
    assert target.suffix != ".ipynb" or target.parent == ROOT / "notebooks"
    if heading:
        titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", text(target)), re.MULTILINE)
        assert heading in [NO_ANCHOR.sub("", one.lower()).replace(" ", "-") for one in titles]


def test_the_readmes_python_runs_as_it_stands(capsys):
    (code,) = python_of("README.md")
    short = (
        code.replace("steps=100", "steps=2").replace("n=16", "n=4").replace("draws=6", "draws=2")
    )
    assert short.count("=2") == 2
    exec(compile(short, "README.md", "exec"), {})
    assert "Leaving out one of 4 examples" in capsys.readouterr().out


def python_of(page):
    return [code for language, code in BLOCK.findall(text(ROOT / page)) if language == "python"]


@pytest.mark.parametrize(
    ("page", "count"),
    [("start-here", 1), ("how-to/run-a-measurement", 3), ("how-to/add-a-method", 2),
     ("how-to/check-a-theorem", 1), ("how-to/extend", 3), ("how-to/own-model", 1),
     ("how-to/score-attributions", 1)],
)  # fmt: skip
def test_python_of_a_page_runs_as_it_stands(page, count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for methods in (RIVALS, TRAINERS):
        # What a page adds is taken away again.
        monkeypatch.setitem(methods, "slower", None)
    names: dict = {}
    blocks = python_of(f"docs/{page}.md")
    assert len(blocks) == count
    for code in blocks:
        small = re.sub(r"\bn=(32|64)", "n=4", code).replace("draws=4", "draws=2")
        small = small.replace("], n=4", "], steps=2, n=4").replace("steps=100", "steps=2")
        exec(compile(small, page, "exec"), names)


def test_the_pages_recipe_makes_beta_and_its_interval_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = python_of("docs/how-to/run-a-measurement.md")[1]
    result = stability(p=[0, 0.3], ensemble=[4, 1], n=6, steps=2, draws=3)
    names = {"result": result}
    exec(compile(recipe, "run-a-measurement", "exec"), names)
    table = result.summary.set_index(["p", "inference", "ensemble"])
    found = pd.DataFrame({"beta": names["of_draws"].mean(axis=1), "half": names["half"]})
    table = table.loc[found.index]
    np.testing.assert_allclose(found["beta"], table["beta"], rtol=1e-12)
    np.testing.assert_allclose(found["half"], table["beta_high"] - table["beta"], rtol=1e-9)


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


def test_the_list_of_findings_says_what_their_pages_begin_with():
    listed = text(ROOT / "docs/findings/index.md")
    pages = [page for page in (ROOT / "docs/findings").glob("*.md") if page.stem != "index"]
    assert len(pages) == listed.count(".md) |")
    for page in pages:
        title, said = re.match(r"# (.*?)\n\n\*\*(.*?)\*\*", text(page), re.DOTALL).groups()
        answer = " ".join(re.sub(r"\[(.*?)\]\(.*?\)", r"\1", said, flags=re.DOTALL).split())
        assert f"| [{title}]({page.name}) | {answer} |\n" in listed


@pytest.mark.parametrize("room", ["probes", "figures"])
def test_every_question_and_figure_is_in_the_reference(room):
    named = (ROOT / "docs/reference/api.md").read_text()
    files = (path.stem for path in (ROOT / room).glob("*.py") if not path.stem.startswith("_"))
    assert [name for name in files if f"   {room}.{name}\n" not in named] == []

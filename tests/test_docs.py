"""Commands that the pages in docs quote are commands of the probes."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import tyro

COMMANDS = {
    f"{page.stem}: {name} {flags}": (name, flags)
    for page in sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
    for name, flags in re.findall(r"`python -m probes\.(\w+) ?([^`]*)`", page.read_text())
}


@pytest.mark.parametrize(("name", "flags"), COMMANDS.values(), ids=COMMANDS)
def test_every_quoted_command_has_flags_and_values_that_are_taken(name, flags):
    kind = importlib.import_module(f"probes.{name}").PROBE.settings
    settings = tyro.cli(kind, args=shlex.split(flags))
    if hasattr(settings, "cells"):
        assert settings.cells()

"""Commands that the pages in docs quote are commands of the probes."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import tyro

PAGES = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_quoted_command_has_flags_and_values_that_are_taken(page):
    commands = re.findall(r"`python -m probes\.(\w+) ?([^`]*)`", page.read_text())
    assert commands
    for name, flags in commands:
        kind = importlib.import_module(f"probes.{name}").PROBE.settings
        settings = tyro.cli(kind, args=shlex.split(flags))
        if hasattr(settings, "cells"):
            assert settings.cells()

"""Help: what matters first, every flag with what it is, nothing that only a programmer reads."""

from dataclasses import fields

import pytest

from probes.__main__ import questions
from probes.cli.help_text import documentation, help_text
from tests.probes.commands import question

NAMES = [name for name in questions() if name != "report"]


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_is_described_in_80_columns(name):
    settings = question(name)._command_line
    said = help_text(settings, f"probes.{name}")
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80 or all(
        "python -m" in line for line in lines if len(line) > 80
    )
    for field in fields(settings):
        assert f"  --{field.name.replace('_', '-')}" in said
    known = documentation(question(name).settings)
    assert {field.name for field in fields(question(name).settings)} == known.keys()
    assert "None}" not in said
    assert "site-packages" not in said


@pytest.mark.parametrize("name", NAMES)
def test_at_most_ten_flags_stand_first_and_examples_last(name):
    lines = help_text(question(name)._command_line, f"probes.{name}").splitlines()
    first = lines[lines.index("what matters most:") + 1 :]
    first = first[: first.index("")]
    flags = [line.split()[0] for line in first if line.startswith("  --")]
    assert 1 <= len(flags) <= 10
    assert "--out" in flags
    examples = lines[lines.index("examples:") + 1 :]
    assert examples
    assert all(line.startswith(f"  python -m probes.{name}") for line in examples)

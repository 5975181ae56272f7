"""Help: what matters first, every flag with what it is, nothing that only a programmer reads."""

import sys
from dataclasses import dataclass, field, fields
from importlib import import_module

import pytest
import tyro

from probes.__main__ import questions
from probes.cli.help_text import documentation, examples, help_text


def probe(name):
    return import_module(f"probes.{name}").PROBE


NAMES = [name for name in questions() if name != "report"]


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_is_described_in_80_columns(name):
    settings = probe(name)._command_line
    said = help_text(settings, f"probes.{name}")
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80 or all(
        "python -m" in line for line in lines if len(line) > 80
    )
    for one in fields(settings):
        # What is for Python alone, as a dictionary is, is no flag.
        hidden = tyro.conf.Suppress in getattr(one.type, "__metadata__", ())
        assert (f"  --{one.name.replace('_', '-')} " in said.replace("\n", " ")) is not hidden
    assert "``" not in said
    known = documentation(probe(name).settings)
    assert {field.name for field in fields(probe(name).settings)} == known.keys()
    assert "None}" not in said
    assert "site-packages" not in said


@dataclass(frozen=True)
class Asked:
    """Settings of every kind of default."""

    wanted: int
    """A number. (once)"""
    several: tuple[float, ...] = (0.1, 0.3)
    """Rates."""
    made: tuple[str, ...] = field(default_factory=tuple)
    """Words."""
    quiet: bool = False
    """Says less."""
    found: int | None = None
    """Steps. Default: the task's."""
    with_15_letters: int = 3
    """As wide as fits."""
    with_sixteen_letters: int = 3
    """Wider."""


def test_a_default_is_told_once_and_what_has_none_is_needed():
    lines = help_text(Asked, "probes.asked").splitlines()
    first = lines.index("more settings:") + 1
    assert lines[first : lines.index("", first)] == [
        "  --wanted INT          A number. (once) (needed)",
        "  --several FLOAT ...   Rates. (default: 0.1 0.3)",
        "  --made TEXT ...       Words.",
        "  --quiet               Says less.",
        "  --found INT           Steps. Default: the task's.",
        "  --with-15-letters INT As wide as fits. (default: 3)",
        "  --with-sixteen-letters INT",
        "                        Wider. (default: 3)",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_at_most_ten_flags_stand_first_and_examples_last(name):
    lines = help_text(probe(name)._command_line, f"probes.{name}").splitlines()
    first = lines[lines.index("what matters most:") + 1 :]
    first = first[: first.index("")]
    flags = [line.split()[0] for line in first if line.startswith("  --")]
    assert 1 <= len(flags) <= 10
    assert "--out" in flags
    examples = lines[lines.index("examples:") + 1 :]
    assert examples
    assert all(line.startswith(f"  python -m probes.{name}") for line in examples)


def test_the_report_has_examples_where_it_is_run(monkeypatch):
    """``python -m probes.report`` imports the package, which has no commands, before its main."""
    import probes.report.__main__ as report

    monkeypatch.setitem(sys.modules, "__main__", report)
    assert examples("probes.report")[0].startswith("python -m probes.report --out")

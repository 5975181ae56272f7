"""What ``--help`` prints: the flags that matter first, the others in groups, and examples."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any, get_type_hints

import tyro

from probes.cli.setting_types import kind_of_values
from probes.cli.text_options import TextOptions
from probes.jobs.engine_options import EngineOptions

#: The flags that stand first, where a question has them.
FIRST = (
    "own", "statement", "sections", "task", "p", "n", "draws", "ensemble", "steps", "lr",
    "rank", "minutes", "out", "seed",
)  # fmt: skip
#: How many of them.
MOST = 10
#: Flags that say what is printed.
SHOWN = ("json", "details")
WIDTH = 80
#: Columns that a flag's name takes, beside its description.
NAMES = 22
METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", bool: ""}


def help_text(settings: type[Any], program: str) -> str:
    """Describe a command line.

    Args:
        settings: dataclass of its flags; their docstrings describe them.
        program: its module, whose docstring has examples.

    Returns:
        Lines of at most 80 characters.
    """
    asked = inspect.cleandoc(settings.__doc__ or "").partition("\n\n")[0]
    lines = [f"usage: python -m {program} [flags]", "", *textwrap.wrap(asked, WIDTH)]
    documented = documentation(settings)
    hints = get_type_hints(settings)
    for title, group in _groups(settings):
        lines += ["", f"{title}:"]
        for field in group:
            described = documented.get(field.name) or _metadata(field, "help")
            lines += _flag(field, hints[field.name], described)
    lines += ["", "other:", *_columns("--version", "Print the version and exit.")]
    lines += _columns("-h, --help", "Print this and exit.")
    lines += ["", "examples:", *(f"  {line}" for line in examples(program))]
    return "\n".join(lines)


def documentation(settings: type[Any]) -> dict[str, str]:
    """Return the docstrings of a dataclass's fields, by name.

    Args:
        settings: the dataclass; those of its bases count.
    """
    found: dict[str, str] = {}
    for kind in reversed(settings.__mro__):
        if "__dataclass_fields__" in vars(kind):
            found |= _own_documentation(kind)
    return found


@cache
def _own_documentation(kind: type[Any]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return {}  # A class that was made, as the one with --json.
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        before.target.id: inspect.cleandoc(after.value.value)
        for before, after in zip(body.body, body.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }


def examples(program: str) -> list[str]:
    """The commands in the docstring of a module."""
    # Of a package that runs, the docstring with the commands is that of its ``__main__``.
    modules = (sys.modules.get(program), sys.modules["__main__"])
    texts = [inspect.getdoc(module) or "" for module in modules]
    found = [
        [line.strip() for line in text.splitlines() if line.startswith("python -m")]
        for text in texts
    ]
    return found[0] or found[1]


def _groups(settings: type[Any]) -> Iterator[tuple[str, list["Field[Any]"]]]:
    known = {field.name: field for field in fields(settings) if not _is_hidden(field)}
    first = [known.pop(name) for name in [name for name in FIRST if name in known][:MOST]]
    yield "what matters most", first
    shown = [known.pop(name) for name in SHOWN if name in known]
    text = [known.pop(field.name) for field in fields(TextOptions) if field.name in known]
    engine = [known.pop(field.name) for field in fields(EngineOptions) if field.name in known]
    for title, group in (
        ("more settings", list(known.values())), ("what is printed", shown),
        ("texts of your own, and their model", text), ("where cells run", engine),
    ):  # fmt: skip
        if group:
            yield title, group


def _is_hidden(field: "Field[Any]") -> bool:
    """Whether a setting is none of the command line."""
    return tyro.conf.Suppress in getattr(field.type, "__metadata__", ())


def _flag(field: "Field[Any]", hint: Any, described: str) -> list[str]:
    metavar = field_metavar(field, hint)
    name = f"--{field.name.replace('_', '-')} {metavar}".strip()
    default = "" if "Default:" in described else _default(field)
    # What is code in the reference is a plain word on the terminal.
    return _columns(name, " ".join(described.replace("``", "").split()) + default)


def field_metavar(field: "Field[Any]", hint: Any) -> str:
    """What stands for the value of a flag: INT, FLOAT, TEXT, ...

    Args:
        field: of the settings.
        hint: its type.

    Returns:
        A word; with " ..." behind it where several values may be given.
    """
    if given := _metadata(field, "metavar"):
        return given
    kind, several = kind_of_values(hint)
    return METAVARS.get(kind, "PATH") + " ..." * several


def _metadata(field: "Field[Any]", name: str) -> str:
    """What a field's annotation says to the parser of the command line."""
    found = [getattr(one, name, None) for one in getattr(field.type, "__metadata__", ())]
    return next((str(one) for one in found if one), "")


def _default(field: "Field[Any]") -> str:
    value = field.default
    if value is MISSING or value is None or value is False or value == ():
        return " (needed)" if value is MISSING and field.default_factory is MISSING else ""
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f" (default: {shown})"


def _columns(name: str, described: str) -> list[str]:
    """A flag to the left, its description to the right."""
    margin = " " * (NAMES + 2)
    lines = textwrap.wrap(described, WIDTH - len(margin)) or [""]
    if len(name) > NAMES - 1:
        return [f"  {name}", *(margin + line for line in lines)]
    first = f"  {name:{NAMES}}{lines[0]}"
    return [first, *(margin + line for line in lines[1:])]


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the words of a command line ask for help."""
    return "-h" in arguments or "--help" in arguments

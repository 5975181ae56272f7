"""The questions, by name: ``python -m probes`` and the console script ``lora-dropout``.

python -m probes
python -m probes stability --p 0.1
lora-dropout stability --p 0.1
"""

import ast
import sys
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from probes.cli.early_interrupt import be_brief, finish

HERE = Path(__file__).parent
USAGE = "lora-dropout QUESTION [--help] [flags]"


def questions() -> dict[str, str]:
    """Return what each question asks, by name; nothing is imported."""
    places = {path.stem: path for path in HERE.glob("*.py") if not path.stem.startswith("_")}
    places |= {path.parent.name: path for path in HERE.glob("*/__main__.py")}
    return {name: _first_line(places[name]) for name in sorted(places)}


def main() -> NoReturn:
    """Run the question that the first word names, or list them all."""
    be_brief()
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "--version"):
        asked = words[:1] == ["--version"]
        # Who reads may have read enough, as ``head`` does.
        with suppress(BrokenPipeError):
            print(f"lora-dropout {version('lora-dropout')}" if asked else _listing(), flush=True)
        finish(0)
    name, known = words[0], questions()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
        print(f"error: there is no question {name!r}: {hint}", file=sys.stderr)
        sys.exit(2)
    if find_spec("pandas") is None or find_spec("tyro") is None:
        needed = "pip install 'lora-dropout[probes]'"
        print(f"error: measuring needs further packages: {needed}", file=sys.stderr)
        sys.exit(2)
    # Each question reads the words after its name.
    sys.argv = [f"lora-dropout {name}", *words[1:]]
    report = (HERE / name).is_dir()
    module = import_module(f"probes.{name}.__main__" if report else f"probes.{name}")
    (module.main if hasattr(module, "main") else module.PROBE.main)()
    raise AssertionError("a question ends the process")


def _listing() -> str:
    known = questions()
    width = max(map(len, known))
    lines = [f"{name:{width}}  {asked}" for name, asked in known.items()]
    return "\n".join([f"usage: {USAGE}", "", *lines])


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


if __name__ == "__main__":
    main()

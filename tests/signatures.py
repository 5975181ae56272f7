"""Write probes/cli/measures.py: the settings of every question, as an editor completes them.

python -m tests.signatures
"""

import inspect
import types
from importlib import import_module
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from probes.__main__ import questions

FILE = Path(__file__).parents[1] / "probes/cli/measures.py"
HEAD = '''"""``measure`` of every question, as an editor and a type checker know it.

Written by ``python -m tests.signatures`` from the settings; a test keeps both in step.
One value may stand for several.
"""

from collections.abc import Iterable
from os import PathLike
from typing import Any, Protocol, TypeVar

R_co = TypeVar("R_co", covariant=True)
'''


def written() -> str:
    """The file: a protocol a question."""
    names = [name for name in questions() if name != "report"]
    return HEAD + "".join(_protocol(name) for name in names)


def _protocol(name: str) -> str:
    measure = import_module(f"probes.{name}").PROBE.measure
    parameters = inspect.signature(measure).parameters.values()
    lines = [f"        {one.name}: {_words(one.annotation)}{_default(one)}," for one in parameters]
    return "\n".join(
        [
            "", "", f"class Measure{name.title().replace('_', '')}(Protocol[R_co]):",
            f'    """``probes.{name}.measure``."""', "", "    def __call__(", "        self,",
            "        *,", *lines, "    ) -> R_co:", '        """Measure."""', "",
        ]
    )  # fmt: skip


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return ""
    if isinstance(parameter.default, dict):
        return " = ..."  # A dictionary of its own for every call.
    value = parameter.default
    return f" = {repr(value) if not isinstance(value, str) else _quoted(value)}".replace("'", '"')


def _quoted(text: str) -> str:
    return f'"{text}"'


def _words(annotation: Any) -> str:
    """What a setting may be: one value where there may be several, text where there is a path."""
    if get_origin(annotation) in (Union, types.UnionType):
        return " | ".join(map(_words, get_args(annotation)))
    if get_origin(annotation) is tuple:
        one = _words(get_args(annotation)[0])
        return f"{one} | Iterable[{one}]"
    if get_origin(annotation) is dict:
        return "dict[str, Any]"
    known = {types.NoneType: "None", Path: "str | PathLike[str]", Any: "Any"}
    return known.get(annotation) or annotation.__name__


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")

"""What a job's numbers depend on, apart from its settings: the code that it reaches, and libraries.

Files of a job that was run by other code are not used: after a change of the trainer they would
hold old numbers. Code that only prints or draws numbers does not count, nor do comments, docstrings
and layout.
"""

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args, get_type_hints

#: The folder that this project's packages lie in.
ROOT = Path(__file__).parent.parent.parent
#: The packages of this project, and those of their rooms that determine no number.
PACKAGES = ("theory", "lora_dropout", "probes")
WITHOUT_NUMBERS = ("probes.jobs", "probes.results", "probes.cli", "probes.report")

_NAMED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def job_key(job: Any, code: str) -> str:
    """Name a job by all that its numbers depend on: equal jobs have one name.

    Args:
        job: a dataclass.
        code: fingerprint of the code that runs it.

    Returns:
        24 hexadecimal digits.
    """
    settings = [type(job).__name__, _settings(job)]
    known = json.dumps([settings, code, versions_of(job.libraries)], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()[:24]


def _settings(job: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON has them."""
    declared = _types(job.__class__)
    return {
        field.name: _as_named(getattr(job, field.name), declared[field.name])
        for field in fields(job)
    }


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _as_named(value: Any, declared: Any) -> Any:
    """A value as it stands in a name: 1 and 1.0 are one number where a number is asked for."""
    if is_dataclass(value):
        return _settings(value)
    if isinstance(value, tuple | list):
        return [_as_named(one, declared) for one in value]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Adding 0 makes of -0.0, which equals it, 0.0.
    return float(value) + 0.0 if number and _asks_for_a_float(declared) else value


def _asks_for_a_float(declared: Any) -> bool:
    kinds = get_args(declared)
    return declared is float or (int not in kinds and any(map(_asks_for_a_float, kinds)))


@cache
def versions_of(libraries: tuple[str, ...]) -> dict[str, str]:
    """Return the installed versions of distributions.

    Raises:
        importlib.metadata.PackageNotFoundError: one is not installed.
    """
    return {name: version(name) for name in libraries}


def code_fingerprint(run: Callable[..., Any]) -> str:
    """Hash the code of this project that a run reaches.

    Args:
        run: a function, a ``functools.partial`` of one, or an object of a class that is called.

    Returns:
        16 hexadecimal digits, the same for every layout of the same code.
    """
    reached = json.dumps(reached_code(run), sort_keys=True)
    return hashlib.sha256(reached.encode()).hexdigest()[:16]


def entries_from_outside() -> list[str]:
    """Name what was put into a table of this project, such as ``TASKS``, while it runs.

    No file of the project holds it, so that no fingerprint tells what it does.

    Returns:
        Table and key, such as ``TASKS['mine']``.
    """
    return [
        f"{table}[{key!r}]"
        for name, module in list(sys.modules.items())
        if _counts(name) and any(_is_table(*pair) for pair in vars(module).items())
        for table, written in _tables(Path(str(module.__file__))).items()
        for key in getattr(module, table)
        if key not in written
    ]


def _is_table(name: str, value: Any) -> bool:
    return name.isupper() and isinstance(value, dict)


@cache
def _tables(path: Path) -> dict[str, set[str]]:
    """The keys of every constant of a file that is a dictionary with its keys written out."""
    found: dict[str, set[str]] = {}
    for node in _tree(path).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            values = [getattr(key, "value", None) for key in node.value.keys]
            keys = {value for value in values if isinstance(value, str)}
            # Keys that are no texts, or are taken from another dictionary, are not written out.
            if values and len(keys) == len(values):
                found |= {name: keys for name in _binds(node) if name.isupper()}
    return found


def reached_code(run: Callable[..., Any]) -> dict[str, str]:
    """Find the code of this project that a run reaches.

    A question stands in one file with what it says of its numbers. So of the file that the run
    stands in only those definitions count that it uses; of all files that these import, everything.

    Args:
        run: as for :func:`code_fingerprint`.

    Returns:
        The code as Python's parser reads it, by file. The run's own file is called "".
    """
    while isinstance(run, partial):
        run = run.func
    start: Any = inspect.unwrap(run) if inspect.isroutine(run) else type(run)
    tree = _tree(Path(str(inspect.getsourcefile(start))))
    definitions, imported = _names_reached(tree, {start.__name__})
    if not definitions:
        raise ValueError(f"{start} must be defined at the top of a file")
    reached = {"": " ".join(ast.dump(node) for node in definitions)}
    for path, held in _closure(imported).items():
        reached[str(path.relative_to(ROOT))] = held
    return reached


def _closure(imported: Iterable[tuple[str, str]]) -> dict[Path, str]:
    """Return the files behind imported names, and behind what these import in turn, as text."""
    found: dict[Path, str] = {}
    waiting, seen = list(imported), set(imported)
    while waiting:
        module, name = waiting.pop()
        whole = _file_of(f"{module}.{name}")
        path = whole or _file_of(module)
        if path is None:
            continue
        more: list[tuple[str, str]] = []
        if path.name == "__init__.py" and whole is None:
            # Of what a package hands on, the one name counts, and not all that it lists.
            definitions, more = _names_reached(_tree(path), {name})
            if definitions:
                found[path], _ = _whole(path)
        elif path not in found:
            found[path], more = _whole(path)
        fresh = set(more) - seen
        seen |= fresh
        waiting += fresh
    return found


def _names_reached(
    tree: ast.Module, names: set[str]
) -> tuple[list[ast.stmt], list[tuple[str, str]]]:
    """Return the statements of a file that names reach, and the imports that those use.

    A statement is reached by a name that it binds. One that binds none may change what a name
    stands for: it is reached by any name that it uses.
    """
    told = [
        (node, _binds(node), _uses(node))
        for node in tree.body
        if not isinstance(node, ast.Import | ast.ImportFrom)
    ]
    reached, before, kept = set(names), -1, []
    while len(reached) > before:
        before = len(reached)
        kept = [one for one in told if reached & (one[1] or one[2])]
        reached |= set().union(*(used for _, _, used in kept))
    definitions = [node for node, _, _ in kept]
    within = [origin for node in definitions for origin in _imports(node)]
    brought = [pair for node in tree.body for pair in _bound(node)]
    return definitions, within + [origin for name, origin in brought if name in reached]


def _binds(node: ast.stmt) -> set[str]:
    """Names of a module that one of its statements, no import, binds."""
    if isinstance(node, _NAMED):
        return {node.name}
    within = list(ast.walk(node))
    stored = {one.id for one in within if isinstance(one, ast.Name) and _is_stored(one)}
    return stored | {one.name for one in within if isinstance(one, _NAMED)}


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _uses(node: ast.AST) -> set[str]:
    """Names that a statement uses, those in quoted annotations among them."""
    found: set[str] = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and not _is_stored(one):
            found.add(one.id)
        for quoted in (getattr(one, "annotation", None), getattr(one, "returns", None)):
            if isinstance(quoted, ast.Constant) and isinstance(quoted.value, str):
                found |= _uses(ast.parse(quoted.value, mode="eval"))
    return found


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield module and name of every import of this project that may change numbers."""
    for node in ast.walk(tree):
        for _, origin in _bound(node):
            yield origin
        if isinstance(node, ast.Call):
            yield from _called_for(node)


def _bound(node: ast.AST) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the names that an import binds, each with the module and the name behind it."""
    if isinstance(node, ast.Import):
        for one in node.names:
            if _counts(one.name):
                yield one.asname or one.name.partition(".")[0], (one.name, "")
    if isinstance(node, ast.ImportFrom) and node.module and _counts(node.module):
        for one in node.names:
            if _counts(f"{node.module}.{one.name}"):
                yield one.asname or one.name, (node.module, one.name)


def _called_for(call: ast.Call) -> Iterator[tuple[str, str]]:
    """Yield the module that ``import_module`` is called for: so are the kernels of a GPU."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name == "import_module" and call.args and isinstance(call.args[0], ast.Constant):
        module = str(call.args[0].value)
        if _counts(module):
            yield module, ""


def _counts(module: str) -> bool:
    ours = module.partition(".")[0] in PACKAGES
    return ours and not any(f"{module}.".startswith(f"{room}.") for room in WITHOUT_NUMBERS)


def _file_of(module: str) -> Path | None:
    place = ROOT.joinpath(*module.strip(".").split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _tree(path: Path) -> ast.Module:
    """Parse a file, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _statements(tree):
        for block in _blocks(node):
            block[:] = [one for one in block if not _is_text(one)]
    return tree


@cache
def _whole(path: Path) -> tuple[str, list[tuple[str, str]]]:
    """Return a file as Python's parser reads it, and what it imports."""
    tree = _tree(path)
    return ast.dump(tree), list(_imports(tree))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all statements within it; expressions, which are most of it, are no part."""
    yield node
    for block in _blocks(node):
        for one in block:
            yield from _statements(one)


def _blocks(node: ast.AST) -> Iterator[list[ast.AST]]:
    """Yield the lists of statements, handlers and cases that a statement holds."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )

"""A file of texts of one's own, made of what is installed: whose function does a sentence describe?

Texts are the first lines of docstrings, labels are packages. No network is needed, and no two texts
are equal. The numbers depend on the versions of the packages.

    python -m benchmarks.docstrings
    python -m probes.rivals --task text --data runs/docstrings.csv
"""

import ast
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from probes.cli.command_line import run_functions
from probes.jobs.atomic_files import write_whole
from probes.jobs.validation import check_count, require

PACKAGES = ("pandas", "scipy", "sklearn", "transformers")
#: Shorter lines say little, such as "Init."
LEAST_LETTERS = 30
#: Folders whose functions are left out.
TESTS = "tests"


def main(
    package: tuple[str, ...] = PACKAGES,
    each: int = 500,
    seed: int = 0,
    out: Path = Path("runs/docstrings.csv"),
) -> None:
    """Write as many texts of each package, in a random order.

    Args:
        package: names of installed packages, the labels.
        each: texts of a package.
        seed: of the choice.
        out: file with the columns text and label.
    """
    check_count("each", each)
    require(len(package) > 1, "package", "two or more", package)
    generator = np.random.default_rng(seed)
    parts = []
    for name, folder in {name: _folder(name) for name in package}.items():
        texts = sorted(set(summaries(folder)))
        require(len(texts) >= each, "each", f"at most {len(texts)}, all of {name}", each)
        parts.append(pd.DataFrame({"text": generator.choice(texts, each, False), "label": name}))
    table = pd.concat(parts).drop_duplicates("text", keep=False)
    table = table.sample(frac=1, random_state=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, partial(table.to_csv, index=False))
    print(f"{out}: {len(table)} texts")


def summaries(folder: Path) -> Iterator[str]:
    """Yield the first lines of the docstrings of all functions and classes but tests.

    Args:
        folder: of Python files, which are read and not run.
    """
    for file in sorted(folder.rglob("*.py")):
        if TESTS in file.parts:
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                first = (ast.get_docstring(node) or "").partition("\n")[0].strip()
                if len(first) >= LEAST_LETTERS:
                    yield first


def _folder(name: str) -> Path:
    spec = find_spec(name)
    require(spec is not None and bool(spec.origin), "package", "an installed one", name)
    return Path(str(spec.origin)).parent  # type: ignore[union-attr]


if __name__ == "__main__":
    run_functions(main)

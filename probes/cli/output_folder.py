"""A folder of results holds those of one run: another run is refused there, or has its own."""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import Any

from probes.jobs.engine_options import EngineOptions
from probes.jobs.manifest import MANIFEST
from probes.jobs.store import CELLS

#: Settings that change how a run is done, or how much of it, and no number that it found.
NO_MATTER = (
    "out", "max_memory", "minutes", "matrix", *(field.name for field in fields(EngineOptions))
)  # fmt: skip


def check_folder(folder: Path, question: str, settings: Mapping[str, Any]) -> None:
    """Refuse a folder that holds the results of another run.

    Args:
        folder: that the results would be written to; it need not be there.
        question: name of the question.
        settings: of the run, by name.

    Raises:
        ValueError: another question was answered there, or the same with other settings; the
            message says which, and how to write over it. Or its name holds bytes that are no text,
            which Parquet cannot be told.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise ValueError(f"out must be a path of Unicode characters; got {str(folder)!r}") from None
    difference = _difference(folder, question, settings)
    if difference:
        raise ValueError(
            f"out must be a folder of this run alone; {folder} holds another ({difference}): give "
            f"another --out, or remove {folder / MANIFEST} to have its results written over "
            "(finished cells are kept)"
        )


def own_folder(folder: Path, question: str, settings: Mapping[str, Any]) -> Path:
    """Return the folder itself, or the first of FOLDER-2, FOLDER-3, ... that is free or this run's.

    Args:
        folder: where results go if nothing is said.
        question: name of the question.
        settings: of the run, by name.

    Returns:
        A folder in which no other run's results are overwritten.
    """
    places = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    place = folder
    while _difference(place, question, settings):
        place = next(places)
    return place


def written_files(folder: Path) -> list[str]:
    """Names of the files that the run in a folder wrote, its manifest last."""
    return [*_files(folder), MANIFEST]


def remove_left_over(folder: Path, files: Collection[str]) -> None:
    """Remove what the same run wrote here before and does not write now.

    Args:
        folder: whose manifest is still that of before.
        files: names of those that were written now.
    """
    for name in _files(folder):
        if name not in files and Path(name).name == name:
            (folder / name).unlink(missing_ok=True)


@contextmanager
def nothing_left_of_a_refusal(folder: Path | None) -> Iterator[None]:
    """Remove the empty folders of a run that ends with a refused value.

    Args:
        folder: of the run; what was there before is left as it is.

    Yields:
        While the run writes there.
    """
    # Of a name that is too long a path itself would raise an error.
    within = (folder / CELLS, folder, *folder.parents) if folder else ()
    made = [one for one in within if not os.path.exists(one)]
    try:
        yield
    except (ValueError, OSError):
        own = folder if folder in made and os.path.isdir(folder) else None
        left = sorted(own.rglob("*"), reverse=True) if own else []
        for one in (*left, *made):
            with suppress(OSError):
                one.rmdir()
        raise


def _difference(folder: Path, question: str, settings: Mapping[str, Any]) -> str:
    """What is different in the run that a folder holds; nothing where it holds none, or this."""
    kept = _manifest(folder)
    if not kept:
        return ""
    if kept.get("question", question) != question:
        return f"of {kept['question']}"
    there, here = (_comparable(one) for one in (kept.get("settings", {}), settings))
    differing = [name for name in here if here[name] != there.get(name)]
    said = [f"{name} {_shown(there.get(name))} there, {_shown(here[name])} here"
            for name in differing]  # fmt: skip
    return "; ".join([*said[:2], *(["..."] if len(said) > 2 else [])])


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder; empty where there is none that can be read."""
    try:
        kept = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _files(folder: Path) -> list[str]:
    """Names of the files that the manifest of a folder lists; one of something else lists none."""
    named = _manifest(folder).get("files")
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def _comparable(settings: Any) -> dict[str, Any]:
    """Settings that matter, as a manifest has them; one of something else has none."""
    if not isinstance(settings, Mapping):
        return {}
    known = {name: value for name, value in settings.items() if name not in NO_MATTER}
    return dict(json.loads(json.dumps(known, default=str)))


def _shown(value: Any) -> str:
    words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return words if len(words) < 40 else f"{words[:37]}..."

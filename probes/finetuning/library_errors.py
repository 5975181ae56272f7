"""What transformers, PEFT and other libraries raise about a user's value, in one line."""

import json
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

#: Folders of what is installed: an error that is raised there is not one of this project's.
INSTALLED = re.compile(r"[/\\](site-packages|dist-packages|lib[/\\]python3\.\d+)[/\\]")
#: Packages that are libraries wherever they lie: people run these from a clone, and a model's own
#: code from the cache of the hub.
LIBRARIES = {"accelerate", "datasets", "peft", "torch", "transformers", "transformers_modules"}
#: Code of a model, of transformers or of the hub.
OF_MODELS = re.compile(r"[/\\](transformers[/\\]models|transformers_modules)[/\\].*?([^/\\]+\.py)$")
#: What is said of lengths that a model does not take, and what it may mean.
OF_LENGTHS = re.compile(r"shape|size|dimension|divisible|multiple")
LENGTHS = "; some models take texts of one length alone, or of its multiples"
#: Words of a value that are long enough to be found in a message by more than chance.
LEAST_LETTERS = 3
#: Of a part of such a word.
PART_LETTERS = 5
#: Flags that are named where a message speaks of none of them, at most.
MOST_NAMED = 5


@contextmanager
def one_line_of_libraries(doing: str, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Turn what libraries raise into one line that names the flags that it speaks of.

    Errors that are raised in this project's own code pass as they are, and so does missing memory.

    Args:
        doing: what fails, for the message.
        arguments: of the trainer, as the user gave them.

    Raises:
        ValueError: a library raised an error, which is its cause.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        if not _raised_by_library(error) or "allocate memory" in str(error):
            raise
        reason = _reason(error)
        flags = " ".join(flags_in(reason, arguments) or flags_near(reason, arguments))
        given = " ".join(_flag(*one) for one in list(arguments.items())[:MOST_NAMED])
        asked = f"{doing} with {given}" if given else doing
        raise ValueError(f"{flags or asked}: {reason}") from error


def flags_in(message: str, arguments: Mapping[str, Any]) -> list[str]:
    """Find the flags that a message speaks of, by their name or their value.

    Args:
        message: of a library.
        arguments: of the trainer, as the user gave them.

    Returns:
        Such as ``["--optim lomo"]``.
    """
    low = message.lower()
    return [
        _flag(name, value)
        for name, value in arguments.items()
        if re.search(rf"\b{name}\b", low) or any(word.lower() in low for word in _words(value))
    ]


def flags_near(message: str, arguments: Mapping[str, Any]) -> list[str]:
    """Find the flags that a message may speak of: by a part of their value, or by its number.

    Args:
        message: of a library.
        arguments: of the trainer, as the user gave them.

    Returns:
        As :func:`flags_in`.
    """
    low = message.lower()
    words = set(re.findall(r"[a-z]+|[-\d.e]*\d", low))
    found = []
    for name, value in arguments.items():
        parts = {part for word in _words(value) for part in re.findall("[a-z]+", word.lower())}
        parts = {part for part in parts if len(part) >= PART_LETTERS}
        number = {str(value)} if isinstance(value, float) else set()
        of_name = name.partition("_")[2]  # as in persistent_workers of dataloader_persist...
        if words & (parts | number) or ("_" in of_name and of_name in low):
            found.append(_flag(name, value))
    return found


def _flag(name: str, value: Any) -> str:
    return f"--{name} {value}"


def _words(value: Any) -> list[str]:
    """The texts in a value: itself, of a list each, of an object of JSON its keys."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = list(json.loads(value))
        except (ValueError, RecursionError):
            return []
    values = value if isinstance(value, list | tuple) else [value]
    return [one for one in values if isinstance(one, str) and len(one) >= LEAST_LETTERS]


def _raised_by_library(error: Exception) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames:
        return False
    package = str(frames[-1].f_globals.get("__name__")).partition(".")[0]
    return package in LIBRARIES or INSTALLED.search(frames[-1].f_code.co_filename) is not None


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else ""
    reason = said if isinstance(error, ValueError) and said else f"{type(error).__name__}: {said}"
    frames = traceback.extract_tb(error.__traceback__)
    passes = [frame.filename for frame in frames if frame.name == "forward"]
    of_model = [found[2] for file in passes if (found := OF_MODELS.search(file))]
    if not of_model:
        return reason
    lengths = LENGTHS if OF_LENGTHS.search(said.lower()) else ""
    return f"the model's own code ({of_model[-1]}) fails on a batch: {reason}{lengths}"
